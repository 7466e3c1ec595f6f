// SPDX-License-Identifier: GPL-2.0

//! Connections that a card ends: `close()` hands them over and forgets them.
//!
//! Everything is decided before any state is given up: the connection, its way, the card's credits and the place in
//! its ring. Whatever is missing, the TCP stack closes as ever, and a counter says why.
//!
//! The socket is locked all the time, so that it does not change: segments that come in meanwhile wait behind
//! the lock, and are given to the card afterwards ([`late`]).

use super::{
    counters::{
        self,
        Counter, //
    },
    device,
    late,
    owners::Share,
    socket::Options,
    watermark, //
};
use crate::net::{
    closing::{
        Closing,
        Request,
        Stays, //
    },
    sock::{
        Locked,
        Socket, //
    },
    trace,
    ulp::UlpLocked, //
};
use acceltcp_abi::{
    meta::TxMeta,
    teardown::{
        hand_over,
        HandOver, //
    }, //
};
use kernel::prelude::*;

/// Bytes in front of the frame.
const METADATA: usize = TxMeta::MAX_WITH_TYPES;
/// Most bytes of data: a descriptor has 16 bits for the length of all.
const MAX_DATA: usize = u16::MAX as usize - METADATA - Closing::HEADERS;

/// Hands `sk`, which its last user closes, over to a card (process context). Returns whether the card has it: then the
/// host is to forget it at once.
pub(super) fn hand_over(sk: &UlpLocked<'_, Options>) -> bool {
    let result = try_hand_over(sk, sk.data());
    let acks = sk.data().acks();
    match Request::of(sk) {
        Request::OneSegment if result.is_ok() => acks.one_segment(),
        Request::MoreSegments => acks.more_segments(),
        Request::OneSegment | Request::None => {}
    }
    if let Err(why) = result {
        trace::not_handed_over(***sk, counters::name(why));
    }
    let counter = result.err().unwrap_or(Counter::teardown_handed_over);
    sk.data().netns().count(counter);
    result.is_ok()
}

/// Whether [`hand_over`] is of use for `sk` with `options`, which its last user closes (not locked):
/// not when its frames go somewhere else than to a card.
pub(super) fn may_hand_over(sk: Socket<'_>, options: &Options) -> bool {
    if device::may_be(sk.egress()) {
        return true;
    }
    let why = Counter::teardown_no_card;
    trace::not_handed_over(sk, counters::name(why));
    options.netns().count(why);
    false
}

fn try_hand_over(sk: &Locked<'_>, options: &Options) -> Result<(), Counter> {
    let closing = Closing::new(sk).map_err(reason)?;
    let len = closing.len as usize;
    let Some(card) = device::find(closing.device()) else {
        return Err(Counter::teardown_no_card);
    };
    let credits = card.credits();
    match credits.max_data() {
        0 => return Err(Counter::teardown_no_card),
        most if len > most.min(MAX_DATA).min(options.max_data()) => {
            return Err(Counter::teardown_too_large)
        }
        _ if !credits.has(len) => return Err(Counter::teardown_no_credit),
        _ => {}
    }
    let share = options.netns().share();
    let share = share.map_err(|_| Counter::teardown_quota)?;
    if share.is_some_and(|share| !credits.owners().is_on() || share.is_used_up()) {
        return Err(Counter::teardown_quota);
    }
    let admitted = credits.admits();
    watermark::tell_later(card.pairs());
    if !admitted {
        return Err(Counter::teardown_watermark);
    }
    let (frame, tracked) = closing.frame(METADATA, 0).map_err(reason)?;
    card.hand_over(frame, &message(&closing, options, share), len, share)
        .map_err(|err| match err {
            EDQUOT => Counter::teardown_quota,
            ENOSPC => Counter::teardown_no_credit,
            ENETDOWN => Counter::teardown_link_down,
            _ => Counter::teardown_no_room,
        })?;
    tracked.end();
    trace::handed_over(sk, &closing);
    late::remember(closing.key, closing.rcv_isn, closing.device());
    if closing.first_answer {
        options.forecast().ended();
    }
    if closing.held {
        options.netns().count(Counter::teardown_held_over);
    }
    Ok(())
}

fn message(closing: &Closing<'_>, options: &Options, share: Option<Share>) -> HandOver {
    let on = |set, bit| if set { bit } else { 0 };
    let [_, _, a, b, c, d, e, f] = closing.key.to_be_bytes();
    HandOver {
        version: HandOver::VERSION,
        flags: on(closing.peer_fin, hand_over::PEER_FIN)
            | on(closing.fin_sent, hand_over::FIN_SENT)
            | on(closing.fin_acked, hand_over::FIN_ACKED)
            | on(closing.closing, hand_over::CLOSING)
            | on(closing.ecn, hand_over::ECN)
            | on(closing.ack_due, hand_over::ACK_DUE),
        snd_wscale: closing.snd_wscale,
        retries: closing.retries,
        mss: closing.mss.into(),
        rto_max: closing.rto_max.into(),
        owner: share.map_or(0, Share::owner).into(),
        cookie: [a, b, c, d, e, f],
        snd_nxt: closing.snd_nxt.into(),
        snd_wnd: closing.snd_wnd.into(),
        snd_wl1: closing.snd_wl1.into(),
        max_wnd: closing.max_wnd.into(),
        rcv_wnd: closing.rcv_wnd.into(),
        cwnd: closing.cwnd.into(),
        rto_ms: closing.rto_ms.into(),
        fin_wait_ms: closing.fin_wait_ms.into(),
        time_wait_ms: options.netns().time_wait_ms().into(),
    }
}

fn reason(why: Stays) -> Counter {
    match why {
        Stays::State | Stays::Shut => Counter::teardown_state,
        Stays::Linger => Counter::teardown_linger,
        Stays::Unread => Counter::teardown_unread,
        Stays::OutOfOrder => Counter::teardown_out_of_order,
        Stays::Authenticated => Counter::teardown_authenticated,
        Stays::Options => Counter::teardown_options,
        Stays::Urgent => Counter::teardown_urgent,
        Stays::Route => Counter::teardown_route,
        Stays::OtherPath => Counter::teardown_other_path,
        Stays::Link => Counter::teardown_link_down,
        Stays::Queued => Counter::teardown_queued,
        Stays::Neighbour => Counter::teardown_neighbour,
        Stays::Filtered => Counter::teardown_filtered,
        Stays::Program => Counter::teardown_cgroup_bpf,
        Stays::NoMemory => Counter::teardown_no_memory,
    }
}
