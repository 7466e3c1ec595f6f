// SPDX-License-Identifier: GPL-2.0

//! Connections that were handed over lately, as frames of theirs may still be on their way through the host.
//!
//! The host has no socket for them any more: a copy of the first segment that the card has marked would bring a
//! second connection, and any other frame an RST. Both are given back to the card instead, as if they had come from the
//! wire just now: nothing is lost in the moment of a hand-over. What comes in by another network device, as the path has changed
//! since, is dropped: no card there knows the connection, and an RST of the host's would end it. The driver knows such a
//! frame by its metadata, which begins with a random number that only the module knows.
//!
//! The memory is a table of sets in which the oldest entry makes room. An entry is one word, so that it is never
//! torn: the client's initial sequence number, a tag, and the time, which comes round again after 65 s. Should two
//! connections look alike, or an entry look new again, a frame is dropped that would have been answered with RST, within
//! the short time that an entry counts.

use super::{
    counters::Counter,
    netns::Netns, //
};
use crate::net::{
    device::DeviceId,
    pernet::Net,
    skb::SkBuff,
    sock::{
        self,
        Socket, //
    }, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Bytes of the mark of a frame that goes back.
const MARK_SIZE: usize = 16;
static MARK: [Atomic<u64>; 2] = [const { Atomic::new(0) }; 2];

/// Sets of the table, a power of two.
const SETS: usize = 4096;
/// Entries of a set.
const WAYS: usize = 4;
/// Milliseconds of a unit of time.
const UNIT_MS: u32 = 64;
/// Units that an entry counts for: 2 s, far longer than frames take through the host.
const LIFE: u64 = 32;
const TIME_MASK: u64 = 0x3ff;
const TAG_SHIFT: u32 = 10;
const TAG_MASK: u64 = 0x3f_ffff;
const ISN_SHIFT: u32 = 32;

static TABLE: [Atomic<u64>; SETS * WAYS] = [const { Atomic::new(0) }; SETS * WAYS];
/// Numbers of the network devices of the cards that have the connections, see [`DeviceId::number`]. Who reads an entry that is
/// just replaced may find the other's device, and drops a frame.
static DEVICES: [Atomic<usize>; SETS * WAYS] = [const { Atomic::new(0) }; SETS * WAYS];
/// When something was remembered last, in units; 0 for never.
static LAST: Atomic<u64> = Atomic::new(0);

/// Prepares this part. To be called when the module is loaded.
pub(super) fn init() {
    for word in &MARK {
        word.store(u64::from_ne_bytes(sock::random()), Relaxed);
    }
}

fn mark() -> [u8; MARK_SIZE] {
    let mut mark = [0; MARK_SIZE];
    for (to, word) in mark.chunks_exact_mut(8).zip(&MARK) {
        to.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
    }
    mark
}

/// Gives a frame that `net` has received back to its card; `sk` is given when it waited behind the
/// lock of that socket.
pub(super) fn give_back(frame: SkBuff, net: Net<'_>, sk: Option<Socket<'_>>) {
    let done = sock::give_back(frame, sk, &mark());
    let counter = match done {
        true => Counter::late_given_back,
        false => Counter::late_dropped,
    };
    Netns::count_in(net, counter);
}

/// Whether a frame that is to be sent is one that goes back.
pub(crate) fn goes_back(frame: &mut SkBuff) -> bool {
    let goes = frame.metadata().is_some_and(|found| found == mark());
    if goes {
        frame.clear_metadata();
    }
    goes
}

fn now() -> u64 {
    (sock::coarse_ms() / UNIT_MS).max(1).into()
}

fn age(word: u64, now: u64) -> u64 {
    now.wrapping_sub(word) & TIME_MASK
}

fn tag(key: u64) -> u64 {
    key >> ISN_SHIFT & TAG_MASK
}

/// The entries, and their devices, of the set of a key.
fn set(key: u64) -> impl Iterator<Item = (&'static Atomic<u64>, &'static Atomic<usize>)> {
    let start = (key as usize & (SETS - 1)) * WAYS;
    let words = TABLE.get(start..start + WAYS).unwrap_or(&[]);
    words
        .iter()
        .zip(DEVICES.get(start..start + WAYS).unwrap_or(&[]))
}

/// Remembers the connection of `key` whose client began with `isn`, and whose card has the network device `device`.
pub(super) fn remember(key: u64, isn: u32, device: DeviceId) {
    remember_at(key, isn, device.number(), now());
}

fn remember_at(key: u64, isn: u32, device: usize, now: u64) {
    let mut place = None;
    for (word, at) in set(key) {
        let value = word.load(Relaxed);
        let same = value >> TAG_SHIFT & TAG_MASK == tag(key);
        let age = match value {
            0 => TIME_MASK + 1,
            _ if same => TIME_MASK + 2,
            _ => age(value, now),
        };
        if place.is_none_or(|(oldest, _, _)| age > oldest) {
            place = Some((age, word, at));
        }
    }
    let isn = u64::from(isn) << ISN_SHIFT;
    if let Some((_, word, at)) = place {
        at.store(device, Relaxed);
        word.store(isn | tag(key) << TAG_SHIFT | now & TIME_MASK, Relaxed);
    }
    LAST.store(now, Relaxed);
}

/// Whether any connection is remembered.
pub(super) fn any() -> bool {
    let last = LAST.load(Relaxed);
    last != 0 && now().wrapping_sub(last) <= LIFE
}

/// A connection that is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remembered {
    /// With what its client began.
    pub(super) isn: u32,
    /// Number of its card's network device.
    device: usize,
}

impl Remembered {
    /// Whether `device` is that of its card.
    pub(super) fn is_at(&self, device: DeviceId) -> bool {
        self.device == device.number()
    }
}

/// The connection of `key`, if it is remembered.
pub(super) fn find(key: u64) -> Option<Remembered> {
    find_at(key, now())
}

fn find_at(key: u64, now: u64) -> Option<Remembered> {
    set(key)
        .map(|(word, at)| (word.load(Relaxed), at.load(Relaxed)))
        .find(|(value, _)| {
            *value != 0 && value >> TAG_SHIFT & TAG_MASK == tag(key) && age(*value, now) <= LIFE
        })
        .map(|(value, device)| Remembered {
            isn: (value >> ISN_SHIFT) as u32,
            device,
        })
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_late)]
mod tests {
    use super::*;

    const DEVICE: usize = 3;

    fn isn_at(key: u64, now: u64) -> Option<u32> {
        let found = find_at(key, now)?;
        assert_eq!(found.device, DEVICE);
        Some(found.isn)
    }

    #[test]
    fn remembers_for_a_while() {
        remember_at(7, 100, DEVICE, 1000);
        assert_eq!(isn_at(7, 1000 + LIFE), Some(100));
        assert_eq!(isn_at(7, 1001 + LIFE), None);
        assert_eq!(isn_at(7 | 1 << ISN_SHIFT, 1000), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        for number in 0..=WAYS as u64 {
            remember_at(
                5 | number << ISN_SHIFT,
                number as u32,
                DEVICE,
                2000 + number,
            );
        }
        assert_eq!(isn_at(5, 2005), None);
        assert_eq!(isn_at(5 | 1 << ISN_SHIFT, 2005), Some(1));
        // The same one again takes its own place.
        remember_at(5 | 2 << ISN_SHIFT, 9, DEVICE, 2006);
        assert_eq!(isn_at(5 | 2 << ISN_SHIFT, 2006), Some(9));
        assert_eq!(isn_at(5 | 1 << ISN_SHIFT, 2006), Some(1));
    }

    #[test]
    fn each_has_its_own_device() {
        remember_at(11, 1, 1, 3000);
        remember_at(11 | 1 << ISN_SHIFT, 1, 2, 3000);
        assert_eq!(find_at(11, 3000).map(|found| found.device), Some(1));
        let other = find_at(11 | 1 << ISN_SHIFT, 3000);
        assert_eq!(other.map(|found| found.device), Some(2));
    }
}
