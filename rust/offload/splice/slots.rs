// SPDX-License-Identifier: GPL-2.0

//! Numbers of pairs, and what the card has said of each.
//!
//! A pair's name is its number and a generation: a number is used again, and what is said late of its former owner is not meant for
//! the new one. Nothing here allocates but [`Room`], so that it may be used under a lock.

use acceltcp_abi::splice::{
    event,
    SpliceEvent, //
};
use kernel::prelude::*;

/// A number and its generation.
pub(super) type Name = (u32, u32);

/// The place of a pair.
struct Slot<P> {
    /// Which of the pairs of this number it was taken for last.
    generation: u32,
    pair: Option<P>,
    told: Option<SpliceEvent>,
    freed: bool,
    queued: bool,
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Self {
            generation: 0,
            pair: None,
            told: None,
            freed: false,
            queued: false,
        }
    }
}

/// Memory for slots.
pub(super) struct Room<P> {
    slots: KVVec<Slot<P>>,
    free: KVVec<u32>,
    queue: KVVec<u32>,
}

impl<P> Room<P> {
    const fn none() -> Self {
        Self {
            slots: KVVec::new(),
            free: KVVec::new(),
            queue: KVVec::new(),
        }
    }

    /// Room for `count` slots (process context).
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            slots: KVVec::with_capacity(count, GFP_KERNEL)?,
            free: KVVec::with_capacity(count, GFP_KERNEL)?,
            queue: KVVec::with_capacity(count, GFP_KERNEL)?,
        })
    }
}

/// All slots.
pub(super) struct Slots<P> {
    /// Which of the pairs of a number the next one is.
    generation: u32,
    /// The slots, numbers of those that are free, and of those of which something is told; the latter two have room for all.
    room: Room<P>,
}

impl<P: Clone> Slots<P> {
    pub(super) const fn new() -> Self {
        Self {
            generation: 0,
            room: Room::none(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.room.slots.len()
    }

    /// How many are taken.
    pub(super) fn used(&self) -> usize {
        self.len() - self.room.free.len()
    }

    /// The slot of this name.
    fn get(&mut self, (number, generation): Name) -> Option<&mut Slot<P>> {
        let slot = self.room.slots.get_mut(number as usize)?;
        (slot.generation == generation).then_some(slot)
    }

    /// Takes a number; `None` when all are taken.
    pub(super) fn take(&mut self) -> Option<Name> {
        let number = self.room.free.pop()?;
        self.generation = self.generation.wrapping_add(1);
        let slot = self.room.slots.get_mut(number as usize)?;
        *slot = Slot {
            generation: self.generation,
            ..Slot::default()
        };
        Some((number, self.generation))
    }

    /// Says whose the name is. False when it is not known any more.
    pub(super) fn put(&mut self, name: Name, pair: P) -> bool {
        let slot = self.get(name);
        let known = slot.is_some();
        if let Some(slot) = slot {
            slot.pair = Some(pair);
        }
        known
    }

    /// The first pair that is with the card from this number on.
    pub(super) fn next_from(&self, from: u32) -> Option<(u32, P)> {
        let slots = self.room.slots.iter().enumerate();
        slots
            .skip(from as usize)
            .find_map(|(number, slot)| Some((number as u32, slot.pair.clone()?)))
    }

    /// Whether the name is known.
    pub(super) fn knows(&mut self, name: Name) -> bool {
        self.get(name).is_some()
    }

    /// Gives back a name of which the card has never heard. Returns whose it was.
    pub(super) fn withdraw(&mut self, name: Name) -> Option<P> {
        let slot = self.get(name)?;
        let pair = slot.pair.take();
        // Nobody else has it until it is taken again.
        slot.generation = 0;
        let _ = self.room.free.push_within_capacity(name.0);
        pair
    }

    /// Keeps what the card says. False when it is of no pair.
    pub(super) fn keep(&mut self, told: &SpliceEvent) -> bool {
        let number = told.pair.get();
        let Some(slot) = self.get((number, told.generation.get())) else {
            return false;
        };
        if slot.pair.is_none() || slot.freed {
            return false;
        }
        slot.freed = match told.kind {
            event::FREED | event::TAKEN_BACK => true,
            event::ENDED => told.flags & event::FLAG_FREED != 0,
            _ => false,
        };
        if told.kind != event::FREED {
            slot.told = Some(*told);
        }
        if !core::mem::replace(&mut slot.queued, true) {
            // There is room for each slot once.
            let _ = self.room.queue.push_within_capacity(number);
        }
        true
    }

    /// The next pair of which something is told, and what.
    pub(super) fn next(&mut self) -> Option<(P, Option<SpliceEvent>)> {
        loop {
            let number = self.room.queue.pop()?;
            let Some(slot) = self.room.slots.get_mut(number as usize) else {
                continue;
            };
            slot.queued = false;
            let told = slot.told.take();
            let freed = core::mem::take(&mut slot.freed);
            let pair = if freed {
                slot.pair.take()
            } else {
                slot.pair.clone()
            };
            if freed {
                let _ = self.room.free.push_within_capacity(number);
            }
            if let Some(pair) = pair {
                return Some((pair, told));
            }
        }
    }

    /// Moves to `room`, of which at most `most` slots are used. Returns the memory that was used before.
    pub(super) fn grow(&mut self, mut room: Room<P>, most: usize) -> Room<P> {
        let used = self.len();
        for slot in self.room.slots.iter_mut() {
            let _ = room.slots.push_within_capacity(core::mem::take(slot));
        }
        for (to, from) in [
            (&mut room.free, &self.room.free),
            (&mut room.queue, &self.room.queue),
        ] {
            for number in from {
                let _ = to.push_within_capacity(*number);
            }
        }
        for number in (used..most.min(room.slots.capacity())).rev() {
            let _ = room.slots.push_within_capacity(Slot::default());
            let _ = room.free.push_within_capacity(number as u32);
        }
        core::mem::replace(&mut self.room, room)
    }

    /// Forgets all. Returns what there was.
    pub(super) fn clear(&mut self) -> Room<P> {
        core::mem::replace(&mut self.room, Room::none())
    }
}

impl<P> Room<P> {
    /// The pairs in it.
    pub(super) fn into_pairs(self) -> impl Iterator<Item = P> {
        self.slots.into_iter().filter_map(|slot| slot.pair)
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_splice_slots)]
mod tests {
    use super::*;
    use acceltcp_abi::splice::{
        reason,
        VERSION, //
    };

    fn slots(count: usize) -> Result<Slots<u8>> {
        let mut slots = Slots::new();
        drop(slots.grow(Room::new(count)?, count));
        Ok(slots)
    }

    fn event(kind: u8, (number, generation): Name, flags: u8) -> SpliceEvent {
        SpliceEvent {
            version: VERSION,
            kind,
            reason: if kind == event::ENDED {
                reason::CLOSED
            } else {
                0
            },
            flags,
            pair: number.into(),
            generation: generation.into(),
            ..SpliceEvent::default()
        }
    }

    #[test]
    fn numbers_are_used_again_under_another_name() -> Result {
        let mut slots = slots(2)?;
        let first = slots.take().ok_or(EINVAL)?;
        let second = slots.take().ok_or(EINVAL)?;
        assert!(slots.take().is_none() && slots.used() == 2);
        assert!(slots.put(first, 1) && slots.put(second, 2));
        assert!(slots.keep(&event(event::TAKEN_BACK, first, event::FLAG_FREED)));
        // It is over.
        assert!(!slots.keep(&event(event::ENDED, first, 0)));
        assert_eq!(slots.next().map(|(pair, _)| pair), Some(1));
        let third = slots.take().ok_or(EINVAL)?;
        assert!(third.0 == first.0 && third.1 != first.1);
        assert!(!slots.knows(first) && !slots.put(first, 9));
        // Late words of the first one are not about the third.
        assert!(slots.put(third, 3));
        assert!(!slots.keep(&event(event::ENDED, first, 0)));
        assert!(slots.withdraw(first).is_none());
        assert_eq!(slots.withdraw(third), Some(3));
        assert!(slots.withdraw(third).is_none() && slots.used() == 1);
        Ok(())
    }

    #[test]
    fn what_is_told_last_counts_and_is_told_once() -> Result {
        let mut slots = slots(2)?;
        let name = slots.take().ok_or(EINVAL)?;
        // It is nobody's yet.
        assert!(!slots.keep(&event(event::ENDED, name, 0)));
        assert!(slots.put(name, 7));
        assert!(slots.keep(&event(event::REFUSED, name, 0)));
        assert!(slots.keep(&event(event::ENDED, name, 0)));
        let (pair, told) = slots.next().ok_or(EINVAL)?;
        assert_eq!((pair, told.map(|told| told.kind)), (7, Some(event::ENDED)));
        assert!(slots.next().is_none() && slots.used() == 1);
        // The number is free later, and that is nothing to tell.
        assert!(slots.keep(&event(event::FREED, name, event::FLAG_FREED)));
        let (pair, told) = slots.next().ok_or(EINVAL)?;
        assert!(pair == 7 && told.is_none() && slots.used() == 0);
        for number in [2, u32::MAX] {
            assert!(!slots.keep(&event(event::ENDED, (number, name.1), 0)));
        }
        Ok(())
    }

    #[test]
    fn all_stays_when_there_is_more_room() -> Result {
        let mut slots = slots(2)?;
        let names = [slots.take(), slots.take()].map(|name| name.unwrap_or_default());
        for (name, pair) in names.into_iter().zip([1, 2]) {
            assert!(slots.put(name, pair));
        }
        assert!(slots.keep(&event(event::ENDED, names[1], 0)));
        drop(slots.grow(Room::new(8)?, 5));
        assert_eq!((slots.len(), slots.used()), (5, 2));
        assert!(names.into_iter().all(|name| slots.knows(name)));
        assert_eq!(slots.next().map(|(pair, _)| pair), Some(2));
        for _ in 0..3 {
            assert!(slots.take().is_some());
        }
        assert!(slots.take().is_none());
        assert_eq!(slots.clear().into_pairs().count(), 2);
        assert!(!slots.knows(names[0]) && slots.len() == 0);
        Ok(())
    }
}
