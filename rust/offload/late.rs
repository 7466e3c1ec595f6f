// SPDX-License-Identifier: GPL-2.0

//! Connections that were handed over lately, as frames of theirs may still be on their way through the host.
//!
//! The host has no socket for them any more: a copy of the first segment that the card has marked would bring a
//! second connection, and any other frame an RST. Both are given back to the card instead, as if they had come from the
//! wire just now: nothing is lost in the moment of a hand-over. The driver knows such a frame by its metadata, which
//! begins with a random number that only the module knows.
//!
//! The memory is a table of sets in which the oldest entry makes room. An entry is one word, so that it is never
//! torn: the client's initial sequence number, a tag, and the time, which comes round again after 65 s. Should two
//! connections look alike, or an entry look new again, a frame is dropped that would have been answered with RST, within
//! the short time that an entry counts.

use super::counters::{
    count,
    Counter, //
};
use crate::net::{
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

/// Gives a received frame back to its card; `sk` is given when it waited behind the lock of that socket.
pub(super) fn give_back(frame: SkBuff, sk: Option<Socket<'_>>) {
    let done = sock::give_back(frame, sk, &mark());
    count(match done {
        true => Counter::late_given_back,
        false => Counter::late_dropped,
    });
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

fn set(key: u64) -> &'static [Atomic<u64>] {
    let start = (key as usize & (SETS - 1)) * WAYS;
    TABLE.get(start..start + WAYS).unwrap_or(&[])
}

/// Remembers the connection of `key` whose client began with `isn`.
pub(super) fn remember(key: u64, isn: u32) {
    remember_at(key, isn, now());
}

fn remember_at(key: u64, isn: u32, now: u64) {
    let mut place = None;
    for word in set(key) {
        let value = word.load(Relaxed);
        let same = value >> TAG_SHIFT & TAG_MASK == tag(key);
        let age = match value {
            0 => TIME_MASK + 1,
            _ if same => TIME_MASK + 2,
            _ => age(value, now),
        };
        if place.is_none_or(|(oldest, _)| age > oldest) {
            place = Some((age, word));
        }
    }
    let isn = u64::from(isn) << ISN_SHIFT;
    if let Some((_, word)) = place {
        word.store(isn | tag(key) << TAG_SHIFT | now & TIME_MASK, Relaxed);
    }
    LAST.store(now, Relaxed);
}

/// Whether any connection is remembered.
pub(super) fn any() -> bool {
    let last = LAST.load(Relaxed);
    last != 0 && now().wrapping_sub(last) <= LIFE
}

/// With what the client of the connection of `key` began, if it is remembered.
pub(super) fn find(key: u64) -> Option<u32> {
    find_at(key, now())
}

fn find_at(key: u64, now: u64) -> Option<u32> {
    set(key)
        .iter()
        .map(|word| word.load(Relaxed))
        .find(|value| {
            *value != 0 && value >> TAG_SHIFT & TAG_MASK == tag(key) && age(*value, now) <= LIFE
        })
        .map(|value| (value >> ISN_SHIFT) as u32)
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_late)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_a_while() {
        remember_at(7, 100, 1000);
        assert_eq!(find_at(7, 1000 + LIFE), Some(100));
        assert_eq!(find_at(7, 1001 + LIFE), None);
        assert_eq!(find_at(7 | 1 << ISN_SHIFT, 1000), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        for number in 0..=WAYS as u64 {
            remember_at(5 | number << ISN_SHIFT, number as u32, 2000 + number);
        }
        assert_eq!(find_at(5, 2005), None);
        assert_eq!(find_at(5 | 1 << ISN_SHIFT, 2005), Some(1));
        // The same one again takes its own place.
        remember_at(5 | 2 << ISN_SHIFT, 9, 2006);
        assert_eq!(find_at(5 | 2 << ISN_SHIFT, 2006), Some(9));
        assert_eq!(find_at(5 | 1 << ISN_SHIFT, 2006), Some(1));
    }
}
