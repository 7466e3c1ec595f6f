// SPDX-License-Identifier: GPL-2.0

//! Listeners that want their connections set up by a card.
//!
//! The list says what is wanted; each card compares it with what it has and makes up the difference, from its
//! own work item ([`super::rules`]). So a card that comes, comes back or changes its namespace needs nothing
//! special, nor does a sysctl or an option of a socket that changes.
//!
//! A listener that wants rules takes a place of its namespace's quota, and keeps it as long as it wants any; one that found none
//! tries again whenever it is looked at.

use super::{
    demux, device,
    netns::{
        Netns,
        Place,
        Quota, //
    },
    rules::{
        self,
        Key, //
    },
    socket::{
        reason,
        Options, //
    },
    template::{
        self,
        Rules, //
    },
};
use crate::net::{
    global::global,
    listeners::{
        Listeners,
        Tree, //
    },
    sock::{
        NetId,
        Socket, //
    },
    ulp::{
        self,
        UlpLocked, //
    },
    weak::Port, //
};
use acceltcp_abi::setup::ListenRule;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// A listener.
pub(crate) struct Listener {
    seen: Seen,
    place: Option<Place>,
}

/// What is known of a listener.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    net: NetId,
    bound_dev_if: i32,
    wanted: Rules,
    /// Why it wants nothing.
    reason: u32,
    /// The generation of the list in which it became what it is.
    since: u64,
}

global! {
    static TREE: Spin<Tree<Listener>> = Tree::new();
}

static LISTENERS: Listeners<Listener> = Listeners::new(&TREE);

/// Grows with every change of the list, and of the listeners in [`super::listen_table`].
static GENERATION: Atomic<u64> = Atomic::new(1);

/// The list.
pub(super) fn list() -> &'static Listeners<Listener> {
    &LISTENERS
}

impl Listener {
    /// A listener of which nothing is known.
    fn new(sk: Socket<'_>) -> Self {
        Self {
            seen: Seen {
                net: sk.net(),
                bound_dev_if: 0,
                wanted: [None; 2],
                reason: reason::NONE,
                since: 0,
            },
            place: None,
        }
    }

    /// Looks at the socket, which has `options`, and at the sysctls of its namespace. Returns whether something
    /// has changed.
    fn look(&mut self, sk: Socket<'_>, options: &Options) -> bool {
        let info = sk.listener_info();
        let old = self.seen;
        let mut new = old;
        new.bound_dev_if = info.bound_dev_if;
        new.reason = template::ineligible(&info, options);
        if new.reason != reason::NONE {
            self.place = None;
        } else if self.place.is_none() {
            self.place = Netns::take(options.netns(), Quota::Listeners);
            if self.place.is_none() {
                new.reason = reason::QUOTA;
            }
        }
        new.wanted = match new.reason {
            reason::NONE => template::rules(&info, options.asked()),
            _ => [None; 2],
        };
        if new.since != 0
            && (new.bound_dev_if, new.reason, new.wanted)
                == (old.bound_dev_if, old.reason, old.wanted)
        {
            return false;
        }
        if new.reason != old.reason {
            template::count_fallback(new.reason, options.netns());
        }
        new.since = GENERATION.fetch_add(1, Relaxed) + 1;
        self.seen = new;
        true
    }
}

impl Seen {
    /// The listener's network namespace.
    pub(super) fn net(&self) -> NetId {
        self.net
    }

    /// Why it wants no rules, a value of [`reason`].
    pub(super) fn reason(&self) -> u32 {
        self.reason
    }

    /// The rules that it wants, before a port completes them.
    pub(super) fn wanted(&self) -> &Rules {
        &self.wanted
    }

    /// What it wants of the frames that come out at `port`.
    pub(super) fn rules_at<'s>(
        &'s self,
        port: &'s Port,
    ) -> impl Iterator<Item = &'s ListenRule> + 's {
        let reaches = port.reaches(self.net, self.bound_dev_if);
        let wanted = self.wanted.iter().flatten();
        wanted.filter(move |rule| reaches && !rules::is_refused(rule, port))
    }

    /// Whether it could be reached by `port` if the host did not forward.
    fn is_refused_at(&self, port: &Port) -> bool {
        let mut wanted = self.wanted.iter().flatten();
        port.reaches(self.net, self.bound_dev_if)
            && wanted.any(|rule| rules::is_refused(rule, port))
    }
}

/// Enters or updates a listener which has `options`; takes it out when it asks for nothing (process context).
pub(crate) fn update(sk: &UlpLocked<'_, Options>) {
    let options = sk.data();
    let why = template::ineligible(&sk.listener_info(), options);
    if why == reason::NOT_ASKED || why == reason::NOT_LISTENING {
        if sk.remove_listener() {
            removed();
        }
        return;
    }
    let new = || Listener::new(***sk);
    // Without memory it stays with the host, until something changes or its status is asked for.
    let changed = sk.update_listener(new, |l| l.look(***sk, options));
    if let Ok(Some(true)) = changed {
        device::wake_all();
    }
}

/// A listener was taken out.
pub(crate) fn removed() {
    GENERATION.add(1, Relaxed);
    device::wake_all();
}

/// Looks at all listeners again, as sysctls and options may have changed that nobody tells of.
pub(super) fn refresh() {
    LISTENERS.for_each(|sk, listener| {
        ulp::peek(sk, |options: &Options| listener.look(sk, options));
    });
}

/// The generation of the list.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Relaxed)
}

/// Starts a new generation because listeners outside the list have changed. Returns it, or `before`
/// if the list has changed since the generation `before` was read.
pub(super) fn advance(before: u64) -> u64 {
    GENERATION
        .cmpxchg(before, before + 1, Relaxed)
        .map_or(before, |_| before + 1)
}

/// Calls `f` for all listeners (atomic).
pub(super) fn for_each(mut f: impl FnMut(&Seen)) {
    LISTENERS.for_each(|_, listener| f(&listener.seen));
}

/// Calls `f` with what is known of the socket whose [`Socket::id`] is `id`, if it is in the list
/// (atomic).
pub(super) fn with_id<R>(id: usize, f: impl FnOnce(&Seen) -> R) -> Option<R> {
    LISTENERS.with_id(id, |listener| f(&listener.seen))
}

/// Why connections of a listener are set up by the host, and its rules on all cards, as things are now (process
/// context).
pub(crate) fn status(sk: Socket<'_>, options: &Options) -> Result<(u32, u32)> {
    // Nobody is to wait for a user that has it locked.
    let updated = sk.try_with_lock(|mut sk| {
        if let Some(locked) = UlpLocked::new(&mut sk) {
            update(&locked);
        }
    });
    match updated {
        Some(()) => status_seen(sk, options),
        None => Ok((reason::PENDING, 0)),
    }
}

/// The same as far as devices were told, without a look at what has changed since: neither the socket is
/// locked nor a card woken.
pub(crate) fn status_seen(sk: Socket<'_>, options: &Options) -> Result<(u32, u32)> {
    let why = template::ineligible(&sk.listener_info(), options);
    if why != reason::NONE {
        return Ok((why, 0));
    }
    let Some(listener) = LISTENERS.with(sk, |listener| listener.seen) else {
        return Ok((reason::PENDING, 0));
    };
    if listener.reason == reason::QUOTA {
        return Ok((listener.reason, 0));
    }
    let cards = device::all()?;
    // It was not eligible when it was looked at last, which cards do every second.
    let old = listener.reason != reason::NONE && !cards.is_empty();
    let (mut wanted, mut have) = (0, 0);
    let (mut refused, mut pending, mut others) = (false, false, false);
    for card in &cards {
        let ports = card.ports()?;
        let mut own: KVec<Key> = KVec::new();
        for port in &ports {
            refused |= listener.is_refused_at(port);
            for rule in listener.rules_at(port) {
                own.push(Key::new(rule, port), GFP_KERNEL)?;
            }
        }
        let mut keys: KVec<Key> = KVec::new();
        let number = sk.listener_info().port;
        let generation = demux::for_each_target(&ports, Some(number), |target| {
            if own.contains(&target.key) {
                if target.rule.is_some() && target.includes(sk.id()) {
                    keys.push(target.key, GFP_KERNEL)?;
                } else {
                    others = true;
                }
            }
            Ok(())
        })?;
        wanted += keys.len();
        match card.published().count(&keys, listener.since, &ports) {
            Some(count) if generation >= listener.since => have += count,
            _ => pending |= !own.is_empty(),
        }
    }
    let why = match (wanted, pending) {
        (_, true) => reason::PENDING,
        (0, _) if others => reason::OTHER_LISTENER,
        (0, _) if refused => reason::FORWARDING,
        (0, _) if old => reason::PENDING,
        (0, _) => reason::NO_DEVICE,
        _ if have < wanted => reason::TABLE_FULL,
        _ => reason::NONE,
    };
    Ok((why, u32::try_from(have)?))
}
