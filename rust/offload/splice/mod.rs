// SPDX-License-Identifier: GPL-2.0

//! Connections that a card joins and relays.
//!
//! Everything is decided before any state is given up: both connections, their ways, the room on the card and
//! in its ring. What the peers have sent before is passed on; what they have not acknowledged yet goes to the card with
//! the connections. Whatever is missing, an errno says so, and both connections are as they were.
//!
//! * [`pair`]: a pair; [`pairs`]: those of a card; [`slots`]: their numbers; [`ended`]: those of which is to be told;
//!   [`stalled`]: those that have to wait for users.
//!
//! Lock order: a pair's own lock, then those of sockets by their addresses. The locks of [`pairs`] and of the list below
//! are innermost.

pub(crate) mod ended;
mod pair;
pub(crate) mod pairs;
mod slots;
mod stalled;

pub(crate) use self::stalled::Waker;

use self::pair::{
    Pair,
    Phase, //
};
use super::{
    counters::Counter,
    device,
    netns::{
        Netns,
        Quota, //
    },
    socket::Options,
    watermark, //
};
use crate::net::{
    closing::{
        Closing,
        Stays,
        Tracked, //
    },
    global::global,
    sock::Socket,
    splice::{
        self,
        NamedSocket, //
    },
    ulp::{
        Quiesced,
        UlpLocked, //
    }, //
};
use acceltcp_abi::{
    meta::TxMeta,
    splice::{
        kind,
        End,
        Splice,
        MAX_MS, //
    }, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// `ACCELTCP_SPLICE_NONBLOCK`.
const NONBLOCK: u32 = 1 << 0;
/// `ACCELTCP_SPLICE_DETACH`.
const DETACH: u32 = 1 << 1;
/// Bytes in front of the frame.
const METADATA: usize = TxMeta::MAX_WITH_TYPES;
/// Most bytes of data of both connections: a descriptor has 16 bits for the length of all.
const MAX_DATA: usize = u16::MAX as usize - METADATA - 2 * Closing::HEADERS;
/// How long a caller that waits does, for data that is on its way.
const PATIENCE: Delta = Delta::from_secs(2);
/// Bytes that are passed on at a time.
const CHUNK: usize = 16 * 1024;
/// How long segments are relayed after both FINs, in milliseconds.
const LINGER_MS: u32 = 5_000;

struct Tree(RBTree<usize, Arc<Pair>>);

// Nodes do not point to their tree.
impl Unpin for Tree {}

global! {
    /// Sockets that are, or were, spliced, by their numbers, until they are closed.
    static SPLICED: Spin<Tree> = Tree(RBTree::new());
}

fn find(sk: Socket<'_>) -> Option<Arc<Pair>> {
    SPLICED.lock().0.get(&sk.id()).cloned()
}

/// What [`ACCELTCP_SPLICE`](super::socket) says, as words: the other socket, flags, milliseconds, and zero.
pub(super) fn start(
    a: Socket<'_>,
    netns: &Arc<Netns>,
    [fd, flags, idle_ms, reserved]: [u32; 4],
) -> Result {
    if flags & !(NONBLOCK | DETACH) != 0 || reserved != 0 || idle_ms > MAX_MS {
        return Err(EINVAL);
    }
    let idle_ms = match idle_ms {
        0 => netns.splice_idle_ms(),
        own => own,
    };
    let other = NamedSocket::new(fd as c_int)?;
    let b = other.get();
    if a.id() == b.id() {
        return Err(EINVAL);
    }
    if !b.with_lock(|mut sk| UlpLocked::<Options>::new(&mut sk).is_some()) {
        return Err(ENOPROTOOPT);
    }
    if a.net() != b.net() {
        return Err(EXDEV);
    }
    let mut buffer = KVVec::from_elem(0u8, CHUNK, GFP_KERNEL)?;
    let begun = Instant::<Monotonic>::now();
    loop {
        let result = attempt(a, b, netns, flags, idle_ms, &mut buffer);
        match result {
            Err(err) if err == EAGAIN => {}
            Err(err) if err == EDQUOT => {
                netns.count(Counter::splice_quota);
                return result;
            }
            Err(_) => {
                netns.count(Counter::splice_not_possible);
                return result;
            }
            Ok(()) => {
                netns.count(Counter::splice_handed_over);
                return result;
            }
        }
        if flags & NONBLOCK != 0 || begun.elapsed() > PATIENCE {
            netns.count(Counter::splice_not_now);
            return result;
        }
        splice::pause()?;
    }
}

fn attempt(
    a: Socket<'_>,
    b: Socket<'_>,
    netns: &Arc<Netns>,
    flags: u32,
    idle_ms: u32,
    buffer: &mut [u8],
) -> Result {
    if [a, b].into_iter().any(is_active) {
        return Err(EBUSY);
    }
    for (from, to) in [(a, b), (b, a)] {
        splice::pass_on(from, to, buffer)?;
    }
    splice::with_both(a, b, |[mut a, mut b]| {
        let sockets = [UlpLocked::new(&mut a), UlpLocked::new(&mut b)];
        let [Some(a), Some(b)] = sockets else {
            return Err(ENOPROTOOPT);
        };
        hand_over([a, b], netns, flags, idle_ms)
    })
}

fn is_active(sk: Socket<'_>) -> bool {
    find(sk).is_some_and(|pair| pair.known().phase == Phase::Active)
}

fn hand_over(
    sockets: [UlpLocked<'_, Options>; 2],
    netns: &Arc<Netns>,
    flags: u32,
    idle_ms: u32,
) -> Result {
    let [a, b] = &sockets;
    let reason = |why| reason(why, netns);
    let closing = [
        Closing::spliced(a).map_err(reason)?,
        Closing::spliced(b).map_err(reason)?,
    ];
    if closing[0].device() != closing[1].device() {
        return Err(EXDEV);
    }
    let Some(card) = device::find(closing[0].device()) else {
        return Err(ENODEV);
    };
    check(&closing)?;
    let max_frame = match card.pairs().max_frame() {
        0 => return Err(ENODEV),
        most => most,
    };
    let data = closing.each_ref().map(|end| end.len as usize);
    let len = data[0] + data[1];
    if len > MAX_DATA || len + 2 * Closing::HEADERS > max_frame {
        return Err(EAGAIN);
    }
    let (frame, second, tracked) = splice::frame(&closing, METADATA).map_err(reason)?;
    let second = u16::try_from(second)?;
    let detach = flags & DETACH != 0;
    let place = Netns::take(netns, Quota::Pairs).ok_or(EDQUOT)?;
    let pair = card.pairs().enter(netns, |name| {
        Pair::new(card.clone(), name, [***a, ***b], &closing, detach, place)
    });
    watermark::tell_later(card.pairs());
    let pair = pair?;
    let message = Splice {
        idle_ms: idle_ms.into(),
        linger_ms: LINGER_MS.into(),
        second: second.into(),
        ends: closing.each_ref().map(end),
        ..pair.message(kind::INSTALL)
    };
    let give = |sockets| {
        let nodes = [
            RBTreeNode::new(pair.ids[0], pair.clone(), GFP_KERNEL)?,
            RBTreeNode::new(pair.ids[1], pair.clone(), GFP_KERNEL)?,
        ];
        let quiesced = quiesce(sockets)?;
        match card.splice(frame, &message, data) {
            Ok(()) => Ok((nodes, quiesced)),
            Err(err) => {
                quiesced.into_iter().for_each(Quiesced::resume);
                Err(err)
            }
        }
    };
    // What the card has no room for now it may have in a moment.
    let (nodes, quiesced) =
        give(sockets).inspect_err(|_| card.pairs().withdraw((pair.number, pair.generation)))?;
    // The card has them.
    pair.remember();
    pair.begun();
    quiesced.iter().for_each(splice::freeze);
    tracked.into_iter().for_each(Tracked::end);
    for node in nodes {
        let old = SPLICED.lock().0.insert(node);
        drop(old);
    }
    Ok(())
}

/// Nobody can write to both sockets any more. `EBUSY`, and nothing has happened, when a card relays one already.
fn quiesce<'a>([a, b]: [UlpLocked<'a, Options>; 2]) -> Result<[Quiesced<'a, Options>; 2]> {
    let a = a.quiesce().ok_or(EBUSY)?;
    match b.quiesce() {
        Some(b) => Ok([a, b]),
        None => {
            a.resume();
            Err(EBUSY)
        }
    }
}

/// Whether segments of one connection pass for those of the other.
fn check([a, b]: &[Closing<'_>; 2]) -> Result {
    if (a.wscale, a.sack, a.tstamp, a.ecn) != (b.wscale, b.sack, b.tstamp, b.ecn) {
        return Err(EOPNOTSUPP);
    }
    if a.peer_room > b.room || b.peer_room > a.room {
        return Err(EMSGSIZE);
    }
    Ok(())
}

fn end(from: &Closing<'_>) -> End {
    End {
        snd_wscale: from.snd_wscale,
        rcv_wscale: from.rcv_wscale,
        retries: from.retries,
        mss: from.mss.into(),
        snd_nxt: from.snd_nxt.into(),
        snd_wnd: from.snd_wnd.into(),
        cwnd: from.cwnd.into(),
        rto_ms: from.rto_ms.into(),
        max_rcv_wnd: from.max_rcv_wnd.into(),
        ..End::default()
    }
}

fn reason(why: Stays, netns: &Netns) -> Error {
    match why {
        Stays::State => ENOTCONN,
        Stays::Shut => EBUSY,
        Stays::Unread
        | Stays::OutOfOrder
        | Stays::Urgent
        | Stays::Queued
        | Stays::Neighbour
        | Stays::Linger => EAGAIN,
        Stays::Authenticated | Stays::Options => EOPNOTSUPP,
        Stays::Route | Stays::OtherPath => ENODEV,
        Stays::Link => ENETDOWN,
        Stays::Filtered => EPERM,
        Stays::Program => {
            netns.count(Counter::splice_bpf);
            EACCES
        }
        Stays::NoMemory => ENOBUFS,
    }
}

/// What [`ACCELTCP_UNSPLICE`](super::socket) asks for.
pub(super) fn take_back(sk: Socket<'_>) -> Result {
    find(sk).ok_or(EINVAL)?.take_back()
}

/// Writes `struct acceltcp_splice_info`, and returns its length.
pub(super) fn info(sk: Socket<'_>, to: &mut [u8; 64]) -> usize {
    let mut words = [0u64; 5];
    if let Some(pair) = find(sk) {
        let known = pair.known();
        let [(rx, tx), (rx_segments, tx_segments)] =
            [known.bytes, known.segments].map(|[first, second]| match pair.ids[0] == sk.id() {
                true => (first, second),
                false => (second, first),
            });
        let state = match known.phase {
            Phase::Active => 1,
            Phase::Ended => 2,
            Phase::Returned => 3,
        };
        // Two u32, in the host's order.
        let mut head = [0; 8];
        head[..4].copy_from_slice(&u32::to_ne_bytes(state));
        head[4..].copy_from_slice(&u32::from(known.reason).to_ne_bytes());
        words = [u64::from_ne_bytes(head), rx, tx, rx_segments, tx_segments];
    }
    for (to, word) in to.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    words.len() * 8
}

/// The last user closes `sk`, which is or was spliced (process context, not locked).
pub(super) fn parting(sk: Socket<'_>) {
    if let Some(pair) = find(sk) {
        pair.part(sk);
    }
    left(sk.id());
}

/// Nobody can ask any more what has become of the socket of this number (process context, not locked).
pub(super) fn left(id: usize) {
    let node = SPLICED.lock().0.remove_node(&id);
    drop(node);
}
