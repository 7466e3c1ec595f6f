// SPDX-License-Identifier: GPL-2.0

//! What the operator of a network namespace may set, the rules of its policy, what its sockets have,
//! and its counters.
//!
//! Who looks often keeps a reference, as [`super::socket::Options`] does: a value is then two loads away. What is with a
//! card may outlive the namespace, and so may this.

use crate::net::{
    pernet::{
        self,
        Id,
        Net,
        NetSettings, //
    },
    sock::{
        NetId,
        Socket, //
    },
    sysctl::Setting, //
};
use acceltcp_abi::splice::MAX_MS;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

use super::{
    counters::{
        self,
        Counter,
        Counts,
        View, //
    },
    owners::{
        Number,
        Share, //
    },
    policy::Rules,
    socket::flag, //
};

/// No limit at all.
const UNLIMITED: u32 = u32::MAX;

const OFFLOADS: usize = 0;
const QUOTA_LISTENERS: usize = 1;
const QUOTA_PAIRS: usize = 2;
const QUOTA_TEARDOWN: usize = 3;
const SPLICE_IDLE: usize = 4;
const TEARDOWN_HOLD_US: usize = 5;
const TEARDOWN_MAX_BYTES: usize = 6;
const TEARDOWN_TIME_WAIT: usize = 7;
const UNPRIVILEGED: usize = 8;
const COUNT: usize = 9;

const fn setting(name: &'static CStr, default: u32, min: u32, max: u32) -> Setting {
    Setting {
        name,
        default,
        min,
        max,
        limits_owner: false,
    }
}

const fn quota(name: &'static CStr) -> Setting {
    Setting {
        limits_owner: true,
        ..setting(name, UNLIMITED, 0, UNLIMITED)
    }
}

/// In the order of the numbers above.
static SETTINGS: [Setting; COUNT] = [
    setting(c"offloads", flag::KINDS, 0, flag::KINDS),
    quota(c"quota_listeners"),
    quota(c"quota_pairs"),
    quota(c"quota_teardown"),
    setting(c"splice_idle", 0, 0, MAX_MS / 1000),
    setting(c"teardown_hold_us", 250, 0, 10_000),
    setting(c"teardown_max_bytes", 65_535, 0, 65_535),
    setting(c"teardown_time_wait", 60, 1, 600),
    setting(c"unprivileged", 1, 0, 1),
];

static ID: Id = Id::new();

/// What a namespace may have with cards.
#[derive(Clone, Copy)]
pub(crate) enum Quota {
    /// Sockets that listen.
    Listeners,
    /// Pairs of connections.
    Pairs,
}

/// The settings of a namespace.
#[pin_data]
pub(crate) struct Netns {
    id: NetId,
    /// The rules of its policy.
    #[pin]
    policy: Mutex<Rules>,
    values: [Atomic<u32>; COUNT],
    /// By [`Quota`].
    used: [Atomic<u32>; 2],
    /// Whose connections are those that cards end, once they are limited.
    owner: Number,
    /// It is the initial namespace, which sees the counters of the host.
    is_initial: bool,
    /// Counters of any other namespace.
    counts: Counts,
}

impl NetSettings<COUNT> for Netns {
    const PATH: &'static CStr = c"net/acceltcp";
    const SETTINGS: &'static [Setting; COUNT] = &SETTINGS;

    fn id() -> &'static Id {
        &ID
    }

    fn new(net: NetId, initial: Option<&Self>) -> Result<Arc<Self>> {
        let value = |index: usize| match initial {
            Some(initial) => initial.values[index].load(Relaxed),
            None => SETTINGS[index].default,
        };
        Arc::pin_init(
            pin_init!(Self {
                id: net,
                policy <- new_mutex!(Rules::new()),
                values: core::array::from_fn(|index| Atomic::new(value(index))),
                used: [const { Atomic::new(0) }; 2],
                owner: Number::new(),
                is_initial: initial.is_none(),
                counts: Counts::new(),
            }),
            GFP_KERNEL,
        )
    }

    fn gone(&self) {
        let rules = core::mem::replace(&mut *self.policy.lock(), Rules::new());
        drop(rules);
    }

    fn values(&self) -> &[Atomic<u32>; COUNT] {
        &self.values
    }
}

/// The settings of all namespaces, until it is dropped.
pub(super) fn register() -> Result<pernet::Registration> {
    pernet::Registration::of_settings::<Netns, COUNT>()
}

impl Netns {
    /// Those of the namespace of `sk`. `ENODEV` when it is about to go.
    pub(super) fn of(sk: Socket<'_>) -> Result<Arc<Self>> {
        Self::of_net(sk.namespace())
    }

    /// Those of `net`. `ENODEV` when it is about to go.
    pub(crate) fn of_net(net: Net<'_>) -> Result<Arc<Self>> {
        pernet::settings_of::<Self, COUNT>(net)
    }

    /// Those of `net`, without a reference. `None` when it is about to go. Any context.
    pub(crate) fn peek(net: Net<'_>) -> Option<&Self> {
        pernet::peek_settings::<Self, COUNT>(net).map(|netns| &**netns)
    }

    /// Counts an event of the namespace. Any context.
    pub(super) fn count(&self, counter: Counter) {
        counters::count(counter);
        if !self.is_initial {
            self.counts.add(counter, 1);
        }
    }

    /// Counts an event of `net`. Any context.
    pub(super) fn count_in(net: Net<'_>, counter: Counter) {
        match Self::peek(net) {
            Some(netns) => netns.count(counter),
            None => counters::count(counter),
        }
    }

    /// The counters that the namespace sees: the host's in the initial one, its own in any other.
    pub(crate) fn counters(&self) -> View<'_> {
        match self.is_initial {
            true => View::of_host(),
            false => View::of_namespace(&self.counts),
        }
    }

    /// Whose they are. The namespace may be gone.
    pub(super) fn id(&self) -> NetId {
        self.id
    }

    /// The rules of its policy.
    pub(super) fn policy(&self) -> &Mutex<Rules> {
        &self.policy
    }

    fn get(&self, index: usize) -> u32 {
        self.values[index].load(Relaxed)
    }

    /// Which offloads are used at all: bits [`flag::SETUP`], [`flag::TEARDOWN`] and [`flag::SPLICE`].
    pub(super) fn offloads(&self) -> u32 {
        self.get(OFFLOADS)
    }

    /// Milliseconds without a segment after which a pair ends whose caller has named none; 0 for never.
    pub(super) fn splice_idle_ms(&self) -> u32 {
        self.get(SPLICE_IDLE) * 1000
    }

    /// How long an answer is held back at most, in microseconds; 0 for not at all.
    pub(super) fn hold_us(&self) -> u32 {
        self.get(TEARDOWN_HOLD_US)
    }

    /// Most bytes of data with which a connection is handed over; what is more stays with the host.
    pub(super) fn max_bytes(&self) -> usize {
        self.get(TEARDOWN_MAX_BYTES) as usize
    }

    /// Milliseconds that a card keeps a connection in TIME-WAIT (RFC 9293 section 3.6.1).
    pub(super) fn time_wait_ms(&self) -> u32 {
        self.get(TEARDOWN_TIME_WAIT) * 1000
    }

    /// Whether applications may ask that may not administer the namespace.
    pub(super) fn is_open_to_all(&self) -> bool {
        self.get(UNPRIVILEGED) != 0
    }

    /// What the namespace may have with cards of connections that they end; `None` without a limit. `EDQUOT` when
    /// too many namespaces have limits.
    pub(super) fn share(&self) -> Result<Option<Share>> {
        match self.get(QUOTA_TEARDOWN) {
            UNLIMITED => Ok(None),
            most => self.owner.share(most).map(Some).ok_or(EDQUOT),
        }
    }

    /// Takes a place for one more of `what`. `None` when the quota is used up.
    pub(super) fn take(this: &Arc<Self>, what: Quota) -> Option<Place> {
        let most = this.get(match what {
            Quota::Listeners => QUOTA_LISTENERS,
            Quota::Pairs => QUOTA_PAIRS,
        });
        let used = &this.used[what as usize];
        loop {
            let now = used.load(Relaxed);
            if now >= most {
                return None;
            }
            if used.cmpxchg(now, now + 1, Full).is_ok() {
                return Some(Place {
                    netns: this.clone(),
                    what,
                });
            }
        }
    }
}

/// A place within a quota, which is given back when this is dropped (any context).
pub(crate) struct Place {
    netns: Arc<Netns>,
    what: Quota,
}

impl Place {
    /// The namespace whose quota it belongs to.
    pub(super) fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.netns.used[self.what as usize].fetch_sub(1, Full);
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_netns)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_once() -> Result {
        let netns = Netns::new(NetId::none(), None)?;
        netns.values[QUOTA_PAIRS].store(2, Relaxed);
        let first = Netns::take(&netns, Quota::Pairs);
        let second = Netns::take(&netns, Quota::Pairs);
        assert!(first.is_some() && second.is_some());
        assert!(Netns::take(&netns, Quota::Pairs).is_none());
        // Quotas do not share their places.
        assert!(Netns::take(&netns, Quota::Listeners).is_some());
        drop(first);
        assert!(Netns::take(&netns, Quota::Pairs).is_some());
        drop(second);
        assert_eq!(netns.used[Quota::Pairs as usize].load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_namespace_counts_for_itself() -> Result {
        let place = Counter::splice_not_told as usize;
        let value = |netns: &Netns| netns.counters().values().nth(place).unwrap_or(0);
        let initial = Netns::new(NetId::none(), None)?;
        let [one, other] = [(); 2].map(|()| Netns::new(NetId::none(), Some(&initial)));
        let (one, other) = (one?, other?);
        let before = value(&initial);
        one.count(Counter::splice_not_told);
        initial.count(Counter::splice_not_told);
        assert_eq!(value(&one), 1);
        assert_eq!(value(&other), 0);
        // Others may count, too, while this runs.
        assert!(value(&initial) >= before + 2);
        Ok(())
    }

    #[test]
    fn a_namespace_begins_with_what_the_initial_one_has() -> Result {
        let initial = Netns::new(NetId::none(), None)?;
        initial.values[TEARDOWN_TIME_WAIT].store(7, Relaxed);
        assert_eq!(
            Netns::new(NetId::none(), Some(&initial))?.time_wait_ms(),
            7000
        );
        assert_eq!(Netns::new(NetId::none(), None)?.time_wait_ms(), 60_000);
        Ok(())
    }
}
