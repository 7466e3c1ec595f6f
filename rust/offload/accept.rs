// SPDX-License-Identifier: GPL-2.0

//! Connections that a card has set up.
//!
//! The driver writes what the card said of the handshake in front of the frame, as metadata of the socket
//! buffer, which survives the way up (RPS, GRO, the bridge of conntrack and NAT). A hook behind all netfilter
//! rules reads it, and has the TCP stack create the connection. A random number that only the module knows
//! tells its metadata from that of XDP programs.

use super::{
    counters::{
        count,
        Counter, //
    },
    socket::{
        flag,
        Options, //
    },
};
use crate::net::{
    netfilter::{
        self,
        LocalIn,
        Verdict, //
    },
    pernet::NetExit,
    request_sock::{
        self,
        Owner, //
    },
    skb::SkBuff,
    sock::{
        self,
        Family,
        NetId,
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
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        global_lock, //
    },
};

/// Bytes of the metadata: the secret, the handshake, and padding to 8 bytes.
const MARK_SIZE: usize = 40;
/// Where the handshake is.
const MARK_HANDSHAKE: usize = 8;

static SECRET: Atomic<u64> = Atomic::new(0);

global_lock! {
    // SAFETY: Initialised in `init()`.
    unsafe(uninit) static HOOKS: Mutex<KVec<netfilter::Registration>> = KVec::new();
}

/// Prepares this part. To be called once, when the module is loaded.
pub(super) fn init() {
    // SAFETY: Called once.
    unsafe { HOOKS.init() };
    SECRET.store(u64::from_ne_bytes(sock::random()), Relaxed);
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

/// The hooks.
pub(super) struct Hooks;

impl LocalIn for Hooks {
    fn local_in(skb: &mut SkBuff, net: NetId, family: Family) -> Verdict {
        match take_mark(skb) {
            None => Verdict::Accept,
            Some(handshake) => deliver(skb, net, family, &handshake),
        }
    }
}

fn deliver(skb: &mut SkBuff, net: NetId, family: Family, found: &Handshake) -> Verdict {
    let has = |bit| found.flags & bit != 0;
    let tsval = has(handshake::TIMESTAMPS).then_some(found.tsval.get());
    // SAFETY: Netfilter hooks run in the RCU read section that the frame's way up lies in.
    let listener = match unsafe { skb.owner(net, family, tsval) } {
        Owner::Listener(listener) => listener,
        other => {
            count(match other {
                Owner::Connection => Counter::setup_existing,
                Owner::TimeWait => Counter::setup_time_wait,
                Owner::Malformed => Counter::setup_malformed,
                _ => Counter::setup_no_listener,
            });
            return Verdict::Accept;
        }
    };
    if !found.brings_connection() {
        count(Counter::setup_early);
        return Verdict::Drop;
    }
    if !asks_for_setup(listener) {
        count(Counter::setup_not_asked);
        return Verdict::Accept;
    }
    if listener.accept_queue_is_full() {
        count(Counter::setup_queue_full);
        return Verdict::Drop;
    }
    let options = request_sock::Options {
        ts_recent: tsval.unwrap_or(0),
        ts_off: if tsval.is_some() {
            found.clock.get().wrapping_sub(sock::clock_ms())
        } else {
            0
        },
        mss: found.mss.get(),
        snd_wscale: found.snd_wscale,
        rcv_wscale: found.rcv_wscale,
        wscale_ok: has(handshake::WSCALE),
        sack_ok: has(handshake::SACK),
        tstamp_ok: has(handshake::TIMESTAMPS),
        ecn_ok: has(handshake::ECN),
    };
    // SAFETY: As above; behind the last hook comes the TCP stack.
    match unsafe { skb.attach_request(listener, family, &options) } {
        Ok(()) => {
            count(Counter::setup_delivered);
            Verdict::Accept
        }
        Err(_) => {
            count(Counter::setup_no_memory);
            Verdict::Drop
        }
    }
}

fn asks_for_setup(listener: Socket<'_>) -> bool {
    ulp::data::<Options>(listener).is_some_and(|options| options.flags() & flag::SETUP != 0)
}

/// Registers the hooks in the namespace of `sk`, unless they are there (process context).
pub(super) fn ensure_hooks(sk: Socket<'_>) -> Result {
    let mut hooks = HOOKS.lock();
    if hooks.iter().any(|hooks| hooks.net() == sk.net()) {
        return Ok(());
    }
    hooks.reserve(1, GFP_KERNEL)?;
    // SAFETY: The socket keeps its namespace alive; `exit()` drops the hooks before the namespace goes.
    let registration = unsafe { netfilter::Registration::new::<Hooks>(sk.net())? };
    hooks.push(registration, GFP_KERNEL)?;
    Ok(())
}

/// Unregisters all hooks.
pub(super) fn remove_hooks() {
    HOOKS.lock().clear();
}

impl NetExit for Hooks {
    fn exit(net: NetId) {
        HOOKS.lock().retain(|hooks| hooks.net() != net);
    }
}
