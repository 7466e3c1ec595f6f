// SPDX-License-Identifier: GPL-2.0

//! Connections that a card has set up.
//!
//! The driver writes what the card said of the handshake in front of the frame, as metadata of the socket
//! buffer, which survives the way up (RPS, GRO, the bridge of conntrack and NAT). A hook behind all netfilter
//! rules reads it, and has the TCP stack create the connection. A random number that only the module knows
//! tells its metadata from that of XDP programs.

use super::{
    counters::Counter,
    late,
    netns::Netns,
    socket::{
        flag,
        Options, //
    },
};
use crate::net::{
    netfilter::{
        Incoming,
        LocalIn,
        Verdict, //
    },
    pernet::Net,
    request_sock::{
        self,
        Claim,
        Owner, //
    },
    skb::SkBuff,
    sock::{
        self,
        Socket, //
    },
    ulp,
};
use acceltcp_abi::setup::{
    handshake,
    Handshake, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Bytes of the metadata: the secret, the handshake, and padding to 8 bytes.
const MARK_SIZE: usize = 40;
/// Where the handshake is.
const MARK_HANDSHAKE: usize = 8;

static SECRET: Atomic<u64> = Atomic::new(0);

/// Prepares this part. To be called when the module is loaded.
pub(super) fn init() {
    SECRET.store(u64::from_ne_bytes(sock::random()), Relaxed);
    late::init();
}

/// Marks a received frame with what the card says of its handshake.
pub(crate) fn mark(skb: &mut SkBuff, handshake: &Handshake) {
    let mut mark = [0; MARK_SIZE];
    mark[..MARK_HANDSHAKE].copy_from_slice(&SECRET.load(Relaxed).to_ne_bytes());
    mark[MARK_HANDSHAKE..MARK_HANDSHAKE + Handshake::SIZE].copy_from_slice(handshake.as_bytes());
    skb.set_metadata(&mark);
}

/// Takes a mark off a frame.
fn take_mark(skb: &mut SkBuff) -> Option<Handshake> {
    let mark: [u8; MARK_SIZE] = skb.metadata()?;
    if mark[..MARK_HANDSHAKE] != SECRET.load(Relaxed).to_ne_bytes() {
        return None;
    }
    skb.clear_metadata();
    let (handshake, _) = Handshake::read_from_prefix(&mark[MARK_HANDSHAKE..]).ok()?;
    Some(handshake)
}

/// The hook.
pub(super) struct Hook;

impl LocalIn for Hook {
    fn stolen(frame: SkBuff, net: Net<'_>) {
        late::give_back(frame, net, None);
    }

    fn local_in(frame: &mut Incoming<'_>) -> Verdict {
        let handshake = take_mark(frame.skb());
        if late::any() {
            match late_one(frame, handshake.as_ref()) {
                Some(found) if frame.device().is_some_and(|device| found.is_at(device)) => {
                    return Verdict::Steal;
                }
                Some(_) => {
                    Netns::count_in(frame.namespace(), Counter::late_other_path);
                    return Verdict::Drop;
                }
                None => {}
            }
        }
        match handshake {
            None => Verdict::Accept,
            Some(handshake) => deliver(frame, &handshake),
        }
    }
}

/// The connection that the host has handed over before the frame came so far, if it belongs to one. It is not said again what
/// a card has marked since: that is a new connection.
fn late_one(frame: &mut Incoming<'_>, handshake: Option<&Handshake>) -> Option<late::Remembered> {
    if handshake.is_none() && frame.find_owner() {
        return None;
    }
    let (key, seq) = frame.key()?;
    let found = late::find(key)?;
    let late = match handshake {
        Some(of) => seq.wrapping_sub(of.skipped.get()).wrapping_sub(1) == found.isn,
        None => true,
    };
    if !late || frame.find_owner() {
        return None;
    }
    Netns::count_in(frame.namespace(), Counter::teardown_late);
    if handshake.is_some() {
        Netns::count_in(frame.namespace(), Counter::teardown_copies);
    }
    Some(found)
}

fn deliver(frame: &mut Incoming<'_>, found: &Handshake) -> Verdict {
    let has = |bit| found.flags & bit != 0;
    let net = frame.namespace();
    let count = |counter| Netns::count_in(net, counter);
    let claim = Claim {
        skipped: found.skipped.get(),
        tsval: found.tsval.get(),
        tstamp: has(handshake::TIMESTAMPS),
    };
    let (listener, replaced) = match frame.owner(&claim) {
        Owner::Listener { sk, replaced } => (sk, replaced),
        Owner::Busy => {
            count(Counter::setup_busy);
            return Verdict::Drop;
        }
        other => {
            count(match other {
                Owner::Connection => Counter::setup_existing,
                Owner::TimeWait => Counter::setup_time_wait,
                Owner::Malformed => Counter::setup_malformed,
                Owner::Ineligible => Counter::setup_ineligible,
                _ => Counter::setup_no_listener,
            });
            return Verdict::Accept;
        }
    };
    if replaced {
        count(Counter::setup_replaced);
    }
    if !found.brings_connection() {
        count(Counter::setup_early);
        return Verdict::Drop;
    }
    if listener.accept_queue_is_full() {
        count(Counter::setup_queue_full);
        return Verdict::Drop;
    }
    let options = request_sock::Options {
        ts_recent: if claim.tstamp { claim.tsval } else { 0 },
        ts_off: if claim.tstamp {
            found.clock.get().wrapping_sub(sock::clock_ms())
        } else {
            0
        },
        mss: found.mss.get(),
        snd_wscale: found.snd_wscale,
        rcv_wscale: found.rcv_wscale,
        wscale_ok: has(handshake::WSCALE),
        sack_ok: has(handshake::SACK),
        tstamp_ok: claim.tstamp,
        ecn_ok: has(handshake::ECN),
    };
    match frame.attach_request(listener, &options) {
        Ok(()) => {
            count(Counter::setup_delivered);
            if !asks_for_setup(listener) {
                count(Counter::setup_not_asked);
            }
            frame.trace_child();
            Verdict::Accept
        }
        Err(err) if err == EBUSY => {
            count(Counter::setup_rule_behind);
            Verdict::Accept
        }
        Err(_) => {
            count(Counter::setup_no_memory);
            Verdict::Drop
        }
    }
}

/// Whether the listener asks for setup. A member of a `SO_REUSEPORT` group in which others ask may
/// not, nor a listener that has stopped asking since the card answered the SYN.
fn asks_for_setup(listener: Socket<'_>) -> bool {
    ulp::peek(listener, |options: &Options| {
        options.flags() & flag::SETUP != 0
    })
    .unwrap_or(false)
}
