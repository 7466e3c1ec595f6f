// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From the host's message and its two templates to a pair.

use super::pair::{flag, Hot, Last, Pair};
use super::residual::{Residual, Start};
use super::table::{key, Cold};
use super::ANSWER_EVERY_MS;
use crate::buffers::Data;
use crate::cookie::Tuple;
use crate::path::Path;
use crate::teardown::MAX_MSS;
use crate::wire::ipv6::Extensions;
use crate::wire::options::{Options, Timestamps};
use crate::wire::segment::{Content, Segment};
use acceltcp_abi::splice::{End, Splice};
use acceltcp_abi::teardown::buffers;

/// What the host left to be sent, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left<'f> {
    pub(super) data: &'f [u8],
    start: Start,
}

/// A pair that may be installed, without its data.
#[derive(Debug)]
pub(super) struct Plan<'f> {
    pub(super) pair: Pair,
    pub(super) cold: Cold,
    pub(super) left: [Left<'f>; 2],
    pub(super) tuples: [Tuple; 2],
}

/// What a template says.
struct Template<'f> {
    segment: Segment<'f>,
    path: Path,
    tuple: Tuple,
    timestamps: Option<Timestamps>,
    left: Left<'f>,
}

/// The two templates of an install.
fn split<'f>(message: &Splice, frame: &'f [u8]) -> Option<[&'f [u8]; 2]> {
    let (first, second) = frame.split_at_checked(message.second.get().into())?;
    Some([first, second])
}

/// Buffers that the host has spent on an install, as far as its templates can be read.
pub(super) fn spent(message: &Splice, frame: &[u8]) -> u32 {
    let data = |template: &[u8]| match Content::parse(template) {
        Ok(Content::Tcp(segment)) => buffers(segment.tcp.data.len()),
        _ => 0,
    };
    split(message, frame).map_or(0, |templates| {
        templates.map(data).iter().sum::<usize>() as u32
    })
}

fn template<'f>(end: &End, frame: &'f [u8]) -> Option<Template<'f>> {
    let Ok(Content::Tcp(segment)) = Content::parse(frame) else {
        return None;
    };
    let path = Path::of(&segment, frame.get(segment.ethernet.header_len()..)?)?;
    let sent = end.snd_nxt.get().wrapping_sub(segment.tcp.header.seq);
    let fits = sent as usize <= segment.tcp.data.len();
    if segment.ip.extensions != Extensions::Skipped || !fits {
        return None;
    }
    Some(Template {
        segment,
        path,
        tuple: path.tuple(),
        timestamps: Options::parse(segment.tcp.options).timestamps,
        left: Left {
            data: segment.tcp.data,
            start: Start {
                nxt: end.snd_nxt.get(),
                cwnd: end.cwnd.get(),
                rto_ms: end.rto_ms.get(),
                mss: end.mss.get().min(MAX_MSS),
                retries: end.retries,
            },
        },
    })
}

impl Left<'_> {
    /// The sender of it, when it is kept as `data`.
    pub(super) fn residual(&self, data: Data) -> Residual {
        Residual::new(&self.start, data)
    }
}

/// The pair that `message` and `frame` describe, as of `now`; `None` when they contradict the rules or each other.
pub(super) fn plan<'f>(message: &Splice, frame: &'f [u8], now: u32) -> Option<Plan<'f>> {
    if !message.is_valid() {
        return None;
    }
    let [first, second] = split(message, frame)?;
    let ends = &message.ends;
    let templates = [template(&ends[0], first)?, template(&ends[1], second)?];
    let [a, b] = &templates;
    if a.tuple == b.tuple || a.timestamps.is_some() != b.timestamps.is_some() {
        return None;
    }

    let both = |f: &dyn Fn(&Template<'_>) -> u32| [f(a), f(b)];
    let una = both(&|t| t.segment.tcp.header.seq);
    let received = both(&|t| t.segment.tcp.header.ack);
    let end = both(&|t| {
        let len = t.left.data.len() as u32;
        t.segment.tcp.header.seq.wrapping_add(len)
    });
    let value = both(&|t| t.timestamps.map_or(0, |times| times.value));
    let recent = both(&|t| t.timestamps.map_or(0, |times| times.echo));
    let cross =
        |to: &[u32; 2], from: &[u32; 2]| [to[1].wrapping_sub(from[0]), to[0].wrapping_sub(from[1])];
    let window = [0, 1].map(|end| {
        let window = u32::from(templates[end].segment.tcp.header.window);
        (window << ends[end].rcv_wscale).max(ends[end].max_rcv_wnd.get())
    });

    let [ttl, class] = {
        let fields = templates.each_ref().map(|t| t.path.ip_fields());
        [
            fields.map(|(ttl, _, _)| ttl),
            fields.map(|(_, class, _)| class),
        ]
    };
    let mut pair = Pair {
        hot: Hot {
            keys: templates.each_ref().map(|t| key(&t.tuple)),
            macs: templates
                .each_ref()
                .map(|t| [t.segment.ethernet.src, t.segment.ethernet.dst]),
            seq_delta: cross(&end, &received),
            ts_delta: cross(&value, &recent),
            acked: una,
            high: received,
            ttl,
            class,
            snd_wscale: ends.each_ref().map(|end| end.snd_wscale),
            rcv_wscale: ends.each_ref().map(|end| end.rcv_wscale),
            flags: if a.timestamps.is_some() {
                flag::TIMES
            } else {
                0
            },
            heard: now,
        },
        last: Last {
            ts: recent,
            wnd: ends.each_ref().map(|end| end.snd_wnd.get()),
            edge: [0, 1].map(|end| received[end].wrapping_add(window[end])),
            end,
            ..Last::default()
        },
    };
    for (end, template) in templates.iter().enumerate() {
        pair.set(flag::FLOOR, end, true);
        pair.set(flag::RESIDUAL, end, !template.left.data.is_empty());
        let wide =
            template.segment.ip.addresses.is_v6() || template.segment.ethernet.tags[0].is_some();
        pair.set(flag::WIDE, end, wide);
    }
    Some(Plan {
        pair,
        cold: Cold {
            paths: templates.each_ref().map(|t| t.path),
            residual: [Residual::default(); 2],
            generation: message.generation.get(),
            idle_ms: message.idle_ms.get(),
            linger_ms: message.linger_ms.get(),
            until: 0,
            due: 0,
            armed: 0,
            slot: 0,
            owed: 0,
            reason: 0,
            second: 0,
            reserved: [0; 3],
            answered: now.wrapping_sub(ANSWER_EVERY_MS),
        },
        left: templates.each_ref().map(|t| t.left),
        tuples: templates.each_ref().map(|t| t.tuple),
    })
}
