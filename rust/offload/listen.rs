// SPDX-License-Identifier: GPL-2.0

//! Listeners that want their connections set up by a card, and the rules that cards have for them.
//!
//! The list says what is wanted; each card compares it with what it has and makes up the difference, from its
//! own work item. So a card that comes, comes back or changes its namespace needs nothing special.

use super::{
    counters::{
        count,
        Counter, //
    },
    device::{
        self,
        Commands,
        OffloadDevice, //
    },
    socket::{
        flag,
        reason, //
    },
};
use crate::net::sock::{
    self,
    ListenerInfo,
    NetId,
    Socket, //
};
use acceltcp_abi::setup::{
    rule,
    ListenRule,
    NO_VLAN, //
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

/// Largest window scale (RFC 7323 section 2.3).
const MAX_WSCALE: u32 = 14;

/// A listener.
struct Listener {
    id: usize,
    net: NetId,
    bound_dev_if: i32,
    /// What it wants of a card in its namespace; MSS and window are the card's to fill in.
    wanted: KVec<ListenRule>,
    /// Why it wants nothing.
    reason: u32,
    /// Rules, also none, that each card which knows of it has for it, by number of the network device.
    installed: KVec<(i32, u32)>,
}

global_lock! {
    // SAFETY: Initialised in the module's init, before the first use.
    unsafe(uninit) static LISTENERS: SpinLock<KVec<Listener>> = KVec::new();
}

/// Grows with every change of the list.
static GENERATION: Atomic<u64> = Atomic::new(1);

/// Prepares the list.
///
/// # Safety
///
/// To be called once, before anything else here.
pub(crate) unsafe fn init() {
    // SAFETY: The safety requirement.
    unsafe { LISTENERS.init() };
}

/// Enters or updates a listener which asks for `flags`; takes it out when it asks for nothing.
pub(crate) fn update(sk: Socket<'_>, flags: u32) {
    let info = sk.listener_info();
    let why = ineligible(&info, flags);
    if why == reason::NOT_ASKED || why == reason::NOT_LISTENING {
        return remove(sk);
    }
    count_fallback(why);
    let mut wanted = KVec::new();
    if why == reason::NONE && rules(&info, flags, &mut wanted).is_err() {
        return;
    }
    let net = info.net();
    {
        let mut listeners = LISTENERS.lock();
        if let Some(old) = listeners.iter_mut().find(|l| l.id == sk.id()) {
            if old.reason == why && same_but_offset(&old.wanted, &wanted) {
                return;
            }
            old.wanted = wanted;
            old.reason = why;
            old.installed.clear();
        } else {
            let new = Listener {
                id: sk.id(),
                net,
                bound_dev_if: info.bound_dev_if,
                wanted,
                reason: why,
                installed: KVec::new(),
            };
            if listeners.push(new, GFP_ATOMIC).is_err() {
                return;
            }
        }
        GENERATION.add(1, Relaxed);
    }
    device::wake(net);
}

/// Takes a listener out.
pub(crate) fn remove(sk: Socket<'_>) {
    let removed = {
        let mut listeners = LISTENERS.lock();
        let position = listeners.iter().position(|l| l.id == sk.id());
        let removed = position.and_then(|position| listeners.remove(position).ok());
        if removed.is_some() {
            GENERATION.add(1, Relaxed);
        }
        removed
    };
    if let Some(listener) = removed {
        device::wake(listener.net);
    }
}

/// Why connections of a listener are set up by the host, and its rules on all cards.
pub(crate) fn status(sk: Socket<'_>, flags: u32) -> (u32, u32) {
    let why = ineligible(&sk.listener_info(), flags);
    if why != reason::NONE {
        return (why, 0);
    }
    let (wanted, cards, rules) = {
        let listeners = LISTENERS.lock();
        let Some(listener) = listeners.iter().find(|l| l.id == sk.id()) else {
            return (reason::PENDING, 0);
        };
        let installed = &listener.installed;
        let rules: u32 = installed.iter().map(|(_, rules)| rules).sum();
        (listener.wanted.len(), installed.len(), rules)
    };
    if !device::is_any_in(sk.net()) {
        (reason::NO_DEVICE, 0)
    } else if cards == 0 {
        (reason::PENDING, 0)
    } else if (rules as usize) < wanted {
        (reason::TABLE_FULL, rules)
    } else {
        (reason::NONE, rules)
    }
}

fn ineligible(info: &ListenerInfo, flags: u32) -> u32 {
    if flags & flag::SETUP == 0 {
        reason::NOT_ASKED
    } else if !info.listening {
        reason::NOT_LISTENING
    } else if info.mptcp {
        reason::MPTCP
    } else if info.authenticated {
        reason::AUTHENTICATED
    } else if !info.sysctl_syncookies {
        reason::SYNCOOKIES
    } else if info.any_address && info.forwarding {
        reason::FORWARDING
    } else {
        reason::NONE
    }
}

fn count_fallback(why: u32) {
    match why {
        reason::AUTHENTICATED => count(Counter::fallback_authenticated),
        reason::SYNCOOKIES => count(Counter::fallback_syncookies),
        reason::FORWARDING => count(Counter::fallback_forwarding),
        _ => {}
    }
}

/// Whether the rules are the same, but for their timestamps' random offset.
fn same_but_offset(old: &[ListenRule], new: &[ListenRule]) -> bool {
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| {
            let ts_offset = old.ts_offset;
            *old == ListenRule { ts_offset, ..*new }
        })
}

/// What a listener wants of a card.
fn rules(info: &ListenerInfo, flags: u32, to: &mut KVec<ListenRule>) -> Result {
    let mut options = 0;
    let on = |set, bit| if set { bit } else { 0 };
    options |= on(info.sysctl_window_scaling, rule::WSCALE);
    options |= on(info.sysctl_sack, rule::SACK);
    options |= on(info.sysctl_timestamps, rule::TIMESTAMPS);
    options |= on(info.sysctl_ecn, rule::ECN);
    let server_first = flags & flag::SERVER_FIRST != 0;
    let defer = (flags & flag::DEFER != 0 || info.defer) && !server_first;
    options |= on(defer, rule::DEFER);
    options |= on(server_first, rule::SERVER_FIRST);
    let template = ListenRule {
        port: info.port.into(),
        wscale: if info.sysctl_window_scaling {
            window_scale(info)
        } else {
            0
        },
        vlan_outer: NO_VLAN.into(),
        vlan_inner: NO_VLAN.into(),
        flags: options.into(),
        window: (info.full_space.min(u16::MAX.into()) as u16).into(),
        ttl: info.ttl,
        dscp: info.tos >> 2,
        ts_offset: u32::from_le_bytes(sock::random()).into(),
        ..ListenRule::default()
    };
    let with = |family, address: Option<&[u8]>| {
        let mut rule = ListenRule { family, ..template };
        match address {
            Some(bytes) => {
                for (to, from) in rule.address.iter_mut().zip(bytes) {
                    *to = *from;
                }
            }
            None => rule.flags = (options | rule::ANY_ADDRESS).into(),
        }
        rule
    };
    if let Some(address) = info.v4_address() {
        to.push(with(4, address.as_ref().map(|a| a.as_slice())), GFP_ATOMIC)?;
    }
    if info.takes_v6() {
        let address = (!info.any_address).then_some(info.address.as_slice());
        to.push(with(6, address), GFP_ATOMIC)?;
    }
    Ok(())
}

/// As `tcp_select_initial_window()` chooses it.
fn window_scale(info: &ListenerInfo) -> u8 {
    let space = if info.window_clamped {
        info.full_space
    } else {
        info.full_space.max(info.rmem_max)
    };
    space.max(1).ilog2().saturating_sub(15).min(MAX_WSCALE) as u8
}

/// The rules that a card has.
pub(crate) struct Installed {
    rules: KVec<(ListenRule, u32)>,
    seen: u64,
}

impl Installed {
    /// A card without rules.
    pub(crate) const fn new() -> Self {
        Self {
            rules: KVec::new(),
            seen: 0,
        }
    }

    /// The card has lost its rules.
    pub(crate) fn forget(&mut self) {
        self.rules.clear();
        self.seen = 0;
    }

    /// Gives the card the rules that are wanted (process context).
    pub(crate) fn sync(
        &mut self,
        device: &dyn OffloadDevice,
        commands: &mut dyn Commands,
    ) -> Result {
        let generation = GENERATION.load(Relaxed);
        if generation == self.seen {
            return Ok(());
        }
        let desired = desired(device)?;
        let mut index = 0;
        while let Some((rule, handle)) = self.rules.get(index).copied() {
            if desired.contains(&rule) {
                index += 1;
                continue;
            }
            commands.remove(handle)?;
            count(Counter::rules_removed);
            let _ = self.rules.remove(index);
        }
        for rule in &desired {
            if self.rules.iter().any(|(have, _)| have == rule) {
                continue;
            }
            self.rules.reserve(1, GFP_KERNEL)?;
            match commands.add(rule) {
                Ok(handle) => {
                    self.rules.push((*rule, handle), GFP_KERNEL)?;
                    count(Counter::rules_added);
                }
                Err(err) if err == ENOSPC => count(Counter::rules_table_full),
                // This rule only; the others are no worse for it.
                Err(err) if err == EINVAL => count(Counter::rules_failed),
                Err(err) => {
                    count(Counter::rules_failed);
                    return Err(err);
                }
            }
        }
        self.publish(device);
        self.seen = generation;
        Ok(())
    }

    /// Notes with the listeners what the card has for them.
    fn publish(&self, device: &dyn OffloadDevice) {
        let ifindex = device.ifindex();
        for listener in LISTENERS.lock().iter_mut() {
            listener.installed.retain(|(index, _)| *index != ifindex);
            if !serves(device, listener) {
                continue;
            }
            let has =
                |wanted: &&ListenRule| self.rules.iter().any(|(have, _)| same_key(have, wanted));
            let rules = listener.wanted.iter().filter(has).count() as u32;
            // Without memory the status says "pending" for ever; the rules are there all the same.
            let _ = listener.installed.push((ifindex, rules), GFP_ATOMIC);
        }
    }
}

fn serves(device: &dyn OffloadDevice, listener: &Listener) -> bool {
    listener.net == device.net()
        && (listener.bound_dev_if == 0 || listener.bound_dev_if == device.ifindex())
}

fn same_key(a: &ListenRule, b: &ListenRule) -> bool {
    a.family == b.family
        && a.port == b.port
        && a.address == b.address
        && a.vlan_outer == b.vlan_outer
        && a.vlan_inner == b.vlan_inner
        && (a.flags.get() ^ b.flags.get()) & rule::ANY_ADDRESS == 0
}

/// The rules that a card ought to have. Listeners that share a port (`SO_REUSEPORT`) share a rule, which
/// promises no more than each of them.
fn desired(device: &dyn OffloadDevice) -> Result<KVec<ListenRule>> {
    let (mss_v4, mss_v6) = device.mss();
    let mut desired: KVec<ListenRule> = KVec::new();
    for listener in LISTENERS.lock().iter() {
        if !serves(device, listener) {
            continue;
        }
        for wanted in &listener.wanted {
            let mss = if wanted.family == 6 { mss_v6 } else { mss_v4 };
            // The host rounds the window down to whole segments of the client's size.
            let window = wanted.window.get().saturating_sub(mss).max(mss);
            if let Some(have) = desired.iter_mut().find(|have| same_key(have, wanted)) {
                have.window = have.window.get().min(window).into();
                have.wscale = have.wscale.min(wanted.wscale);
                have.flags = (have.flags.get() & wanted.flags.get()).into();
                continue;
            }
            let rule = ListenRule {
                mss: mss.into(),
                window: window.into(),
                ..*wanted
            };
            desired.push(rule, GFP_ATOMIC)?;
        }
    }
    Ok(desired)
}
