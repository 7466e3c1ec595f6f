// SPDX-License-Identifier: GPL-2.0

//! How many connections of each namespace cards end (`acceltcp_abi::teardown`, "Owners").
//!
//! A namespace with a limit has a number, which goes with each of its connections to the card; the card says how many of that
//! number have ended. So there is nothing to allocate, to find or to free for a connection: one count of the namespace, and
//! one of the card, which says what is to come back when it loses its state. A namespace without a limit has no number and
//! costs nothing. Numbers are those of the module, the same on all cards. One is given again when its namespace is gone and
//! the last of its connections has come back.
//!
//! There are no locks.

use acceltcp_abi::teardown::OWNERS;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// What there is of a number.
struct Owner {
    /// A namespace has it.
    taken: Atomic<u32>,
    /// Connections with all cards.
    used: Atomic<u32>,
}

static OWNED: [Owner; OWNERS] = [const {
    Owner {
        taken: Atomic::new(0),
        used: Atomic::new(0),
    }
}; OWNERS];

/// The number of a namespace, which has none before it is asked for. It is given back when this is dropped.
pub(super) struct Number(Atomic<u32>);

impl Number {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The number, as a share of at most `most` connections. `None` when all numbers are in use.
    pub(super) fn share(&self, most: u32) -> Option<Share> {
        let owner = match self.0.load(Relaxed) {
            0 => self.acquire()?,
            owner => owner,
        };
        Some(Share {
            owner: u16::try_from(owner).ok()?,
            most,
        })
    }

    fn acquire(&self) -> Option<u32> {
        // 0 is nobody's.
        let mut all = OWNED.iter().zip(0u32..).skip(1);
        let (taken, number) = all.find(|(owner, _)| {
            if owner.used.load(Relaxed) != 0 || owner.taken.cmpxchg(0, 1, Full).is_err() {
                return false;
            }
            // Its last namespace may have come, used it and gone since.
            let unused = owner.used.load(Relaxed) == 0;
            if !unused {
                owner.taken.store(0, Relaxed);
            }
            unused
        })?;
        match self.0.cmpxchg(0, number, Full) {
            Ok(_) => Some(number),
            // Another thread was faster.
            Err(own) => {
                taken.taken.store(0, Relaxed);
                Some(own)
            }
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let number = self.0.load(Relaxed) as usize;
        if let Some(owner) = OWNED.get(number).filter(|_| number != 0) {
            owner.taken.store(0, Relaxed);
        }
    }
}

/// What a namespace may have with cards.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    owner: u16,
    most: u32,
}

impl Share {
    /// Its number.
    pub(super) fn owner(self) -> u16 {
        self.owner
    }

    fn of(self) -> Option<&'static Owner> {
        OWNED.get(usize::from(self.owner))
    }

    /// Whether nothing is left of it at this moment.
    pub(super) fn is_used_up(self) -> bool {
        self.of()
            .is_none_or(|of| of.used.load(Relaxed) >= self.most)
    }

    fn take(self) -> bool {
        let Some(of) = self.of() else {
            return false;
        };
        loop {
            let used = of.used.load(Relaxed);
            if used >= self.most {
                return false;
            }
            if of.used.cmpxchg(used, used + 1, Full).is_ok() {
                return true;
            }
        }
    }
}

/// What a card has of an owner.
struct Account {
    outstanding: Atomic<u32>,
    /// What the card has told, running freely.
    told: Atomic<u32>,
}

/// What a card has of all owners.
pub(crate) struct Accounts {
    /// It says whose connections have ended.
    on: Atomic<bool>,
    of: [Account; OWNERS],
}

impl Accounts {
    /// Of a card that has nothing.
    pub(super) const fn new() -> Self {
        Self {
            on: Atomic::new(false),
            of: [const {
                Account {
                    outstanding: Atomic::new(0),
                    told: Atomic::new(0),
                }
            }; OWNERS],
        }
    }

    /// The card has been attached, and says whose connections have ended, or not. Nobody may be taking.
    pub(crate) fn start(&self, on: bool) {
        self.stop();
        self.on.store(on, Relaxed);
    }

    /// The card has lost all connections. Nobody may be taking, nor the card telling.
    pub(super) fn stop(&self) {
        self.on.store(false, Relaxed);
        for (account, owner) in self.of.iter().zip(&OWNED) {
            account.told.store(0, Relaxed);
            let lost = account.outstanding.xchg(0, Full);
            owner.used.fetch_sub(lost, Full);
        }
    }

    /// Whether the card says whose connections have ended.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Takes one connection of `share`. False when that is used up, or the card does not count.
    pub(super) fn take(&self, share: Share) -> bool {
        let Some(account) = self.of.get(usize::from(share.owner)) else {
            return false;
        };
        let taken = self.is_on() && share.take();
        if taken {
            account.outstanding.fetch_add(1, Full);
        }
        taken
    }

    /// The card has not got the connection that was taken last.
    pub(super) fn give_back(&self, share: Share) {
        let place = usize::from(share.owner);
        let (Some(account), Some(owner)) = (self.of.get(place), OWNED.get(place)) else {
            return;
        };
        // Not if the card was lost meanwhile: then it is back already.
        loop {
            let outstanding = account.outstanding.load(Relaxed);
            if outstanding == 0 {
                return;
            }
            let less = outstanding - 1;
            if account.outstanding.cmpxchg(outstanding, less, Full).is_ok() {
                owner.used.fetch_sub(1, Full);
                return;
            }
        }
    }

    /// The card says how many of an owner have ended (one caller at a time). False when that cannot be.
    pub(crate) fn returned(&self, owner: u16, told: u32) -> bool {
        let place = usize::from(owner);
        let (Some(account), Some(owner)) = (self.of.get(place), OWNED.get(place)) else {
            return false;
        };
        let ended = told.wrapping_sub(account.told.load(Relaxed));
        // What others take meanwhile only adds to it.
        if !self.is_on() || ended > account.outstanding.load(Relaxed) {
            return false;
        }
        account.told.store(told, Relaxed);
        account.outstanding.fetch_sub(ended, Full);
        owner.used.fetch_sub(ended, Full);
        true
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_owners)]
mod tests {
    use super::*;
    use kernel::prelude::*;

    fn with(f: impl FnOnce(&Accounts)) -> Result {
        let accounts = KBox::new(Accounts::new(), GFP_KERNEL)?;
        accounts.start(true);
        f(&accounts);
        accounts.stop();
        Ok(())
    }

    #[test]
    fn a_share_is_all_that_there_is() -> Result {
        let number = Number::new();
        let Some(share) = number.share(2) else {
            return Err(ENOSPC);
        };
        assert!(share.owner() != 0);
        assert_eq!(number.share(9).map(Share::owner), Some(share.owner()));
        with(|card| {
            assert!(card.take(share) && card.take(share) && !card.take(share));
            assert!(share.is_used_up());
            // Another card counts for the same share.
            assert!(with(|other| assert!(!other.take(share))).is_ok());
            card.give_back(share);
            assert!(card.take(share));
            // What a lost card had is not given back a second time.
            card.start(true);
            card.give_back(share);
            assert!(card.take(share) && card.take(share) && !card.take(share));
            // Nothing comes back that was not given.
            assert!(!card.returned(share.owner(), 3) && !card.returned(share.owner(), u32::MAX));
            assert!(!card.returned(OWNERS as u16, 0));
            assert!(card.returned(share.owner(), 1) && card.take(share) && !card.take(share));
            assert!(card.returned(share.owner(), 1));
        })?;
        // What a card has lost is over.
        assert!(!share.is_used_up());
        Ok(())
    }

    #[test]
    fn a_number_stays_until_its_connections_are_over() -> Result {
        let number = Number::new();
        let Some(share) = number.share(1) else {
            return Err(ENOSPC);
        };
        with(|card| {
            assert!(card.take(share));
            drop(number);
            let others = [const { Number::new() }; 8];
            for other in &others {
                assert!(other.share(1).map(Share::owner) != Some(share.owner()));
            }
        })
    }

    #[test]
    fn a_card_that_does_not_count_takes_nothing() -> Result {
        let number = Number::new();
        let Some(share) = number.share(1) else {
            return Err(ENOSPC);
        };
        with(|card| {
            card.start(false);
            assert!(!card.take(share) && !card.returned(share.owner(), 0));
        })
    }
}
