// SPDX-License-Identifier: GPL-2.0

//! The policy: what listening sockets get whose applications ask for nothing.
//!
//! A tracepoint says that a socket is about to listen, and a worker looks at it; a change of the rules has the worker look
//! at all sockets of the namespace. It waits for none that a user has locked, but comes back to it. A socket that the
//! application has given the ULP itself is never touched. Rules name devices and cgroups that need not exist: names are
//! resolved whenever a socket is looked at, and when devices come or are renamed. Each namespace has rules of its own
//! ([`Netns::policy`]), and none waits for those of another.
//!
//! Locks: a socket's, then the rules of its namespace; [`QUEUE`] is innermost.

mod rule;
mod set;

use rule::Subject;
pub(crate) use rule::{
    Prefix,
    Rule, //
};
pub(crate) use set::{
    Changes,
    Entry,
    Rules, //
};

use super::{
    accept,
    counters::{
        count,
        Counter, //
    },
    listen,
    netns::Netns,
    socket::{
        reason,
        Options, //
    }, //
};
use crate::net::{
    global::global,
    listening::{
        self,
        Listens,
        Watch, //
    },
    named::{
        self,
        Renames, //
    },
    netfilter,
    pernet::Net,
    retry::{
        Attempt,
        Retry, //
    },
    sock::{
        Locked,
        SockRef,
        Socket,
        State, //
    },
    ulp::{
        self,
        Has,
        TakenOff, //
    },
    work::{
        Job,
        Worker, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// What the worker has to look at.
struct Queue {
    /// Sockets that have begun to listen.
    sockets: KVec<SockRef>,
    /// All sockets of these namespaces.
    nets: KVec<Arc<Netns>>,
    /// There was no memory to say which: all sockets of all namespaces.
    all: bool,
    worker: Option<Arc<Worker<Look>>>,
    retry: Option<Arc<Retry<Parked>>>,
}

global! {
    static QUEUE: Spin<Queue> = Queue {
        sockets: KVec::new(),
        nets: KVec::new(),
        all: false,
        worker: None,
        retry: None,
    };
}

/// The policy, until it is dropped. There may be one.
pub(crate) struct Policy {
    _names: named::Watch,
    _watch: Watch,
}

impl Policy {
    /// Begins without rules.
    pub(crate) fn new() -> Result<Self> {
        let worker = Worker::new(pin_init!(Look {}))?;
        let retry = Retry::new()?;
        {
            let mut queue = QUEUE.lock();
            queue.worker = Some(worker);
            queue.retry = Some(retry);
        }
        let watch = Watch::new::<Look>().inspect_err(|err| {
            pr_err!(
                "the kernel has no tracepoint inet_sock_set_state ({:?})\n",
                err
            );
            stop();
        })?;
        let names = named::Watch::new::<Look>().inspect_err(|_| stop())?;
        Ok(Self {
            _names: names,
            _watch: watch,
        })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        stop();
    }
}

/// Ends the worker. Sockets that have the ULP keep the module, so that there are none when the module goes.
fn stop() {
    let worker = QUEUE.lock().worker.take();
    if let Some(worker) = &worker {
        worker.halt();
    }
    // The worker puts nothing there any more.
    let retry = QUEUE.lock().retry.take();
    if let Some(retry) = &retry {
        retry.halt();
    }
    drop(retry);
    let (sockets, nets) = {
        let mut queue = QUEUE.lock();
        (
            core::mem::take(&mut queue.sockets),
            core::mem::take(&mut queue.nets),
        )
    };
    drop((sockets, nets));
}

/// Adds a rule to a namespace and returns its number (process context).
///
/// # Errors
///
/// `ENOSPC` when there are too many.
pub(crate) fn add(netns: &Arc<Netns>, rule: Rule) -> Result<u32> {
    let rule = Arc::new(rule, GFP_KERNEL_ACCOUNT)?;
    let id = netns.policy().lock().add(rule)?;
    look_at_all(netns);
    Ok(id)
}

/// Replaces all rules of a namespace in one step (process context). Rules that say the same as before stay, with their
/// numbers, counters and listeners; sockets are looked at only if something has changed. In failure nothing has changed.
///
/// # Errors
///
/// `ENOSPC` when there are too many.
pub(crate) fn replace(netns: &Arc<Netns>, rules: &[Arc<Rule>]) -> Result<Changes> {
    let changes = netns.policy().lock().replace(rules)?;
    if changes.differs {
        look_at_all(netns);
    }
    Ok(changes)
}

/// Removes a rule of a namespace (process context).
///
/// # Errors
///
/// `ENOENT` when it is not there.
pub(crate) fn delete(netns: &Arc<Netns>, id: u32) -> Result {
    if netns.policy().lock().remove(|other| other == id) == 0 {
        return Err(ENOENT);
    }
    look_at_all(netns);
    Ok(())
}

/// Removes all rules of a namespace (process context).
pub(crate) fn flush(netns: &Arc<Netns>) {
    if netns.policy().lock().remove(|_| true) != 0 {
        look_at_all(netns);
    }
}

/// The rules of a namespace, in the order in which they are looked at, and the generation of the list (process
/// context).
pub(crate) fn list(netns: &Netns) -> Result<(KVVec<Entry>, u32)> {
    let rules = netns.policy().lock();
    let mut entries = KVVec::with_capacity(rules.entries().len(), GFP_KERNEL)?;
    for entry in rules.entries() {
        entries.push(entry.clone(), GFP_KERNEL)?;
    }
    Ok((entries, rules.generation()))
}

/// Has the worker look at all sockets of a namespace, and waits until it has.
fn look_at_all(netns: &Arc<Netns>) {
    if let Some(worker) = look_later(netns) {
        worker.wait();
    }
}

/// Has the worker look at all sockets of a namespace. Returns it, unless it has ended.
fn look_later(netns: &Arc<Netns>) -> Option<Arc<Worker<Look>>> {
    let worker = {
        let mut queue = QUEUE.lock();
        // Without a worker nobody would take it out again.
        let worker = queue.worker.clone()?;
        if queue.nets.push(netns.clone(), GFP_ATOMIC).is_err() {
            queue.all = true;
        }
        worker
    };
    worker.queue();
    Some(worker)
}

/// The worker.
#[pin_data]
struct Look {}

impl Listens for Look {
    fn listens(sk: SockRef) {
        let mut queue = QUEUE.lock();
        let Some(worker) = queue.worker.clone() else {
            drop(queue);
            return;
        };
        let failed = queue.sockets.push(sk, GFP_ATOMIC).is_err();
        queue.all |= failed;
        drop(queue);
        if failed {
            count(Counter::policy_no_memory);
        }
        worker.queue();
    }
}

impl Renames for Look {
    fn renamed(net: Net<'_>) {
        // A namespace that has no settings yet has no rules, nor sockets.
        let Ok(netns) = Netns::of_net(net) else {
            return;
        };
        let by_name = {
            let rules = netns.policy().lock();
            let mut entries = rules.entries().iter();
            entries.any(|entry| entry.rule.device.is_some())
        };
        if by_name {
            drop(look_later(&netns));
        }
    }
}

impl Job for Look {
    fn run(&self) {
        loop {
            let (sockets, nets, all) = {
                let mut queue = QUEUE.lock();
                (
                    core::mem::take(&mut queue.sockets),
                    core::mem::take(&mut queue.nets),
                    core::mem::take(&mut queue.all),
                )
            };
            if sockets.is_empty() && nets.is_empty() && !all {
                return;
            }
            let mut left = KVVec::new();
            for sk in sockets {
                left = look_or_keep(left, sk, true);
            }
            settle(left);
            if all {
                look_at_those(None);
            }
            for netns in nets {
                look_at_those(Some(&netns));
            }
        }
    }
}

fn look_at_those(netns: Option<&Netns>) {
    let Ok(sockets) = listening::all(netns.map(Netns::id)) else {
        count(Counter::policy_no_memory);
        return;
    };
    let mut left = KVVec::new();
    for sk in sockets {
        left = look_or_keep(left, sk, false);
    }
    settle(left);
    if let Some(netns) = netns {
        for entry in netns.policy().lock().entries_mut() {
            entry.fresh = false;
        }
    }
}

/// A socket that is to be looked at when its user lets go of it.
struct Parked {
    sk: SockRef,
    new: bool,
}

impl Attempt for Parked {
    fn attempt(&self) -> bool {
        look(&self.sk, self.new)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.sk.get().id() == other.sk.get().id()
    }
}

/// Looks at a socket, which is added to `left` if a user has it locked.
fn look_or_keep(mut left: KVVec<Parked>, sk: SockRef, new: bool) -> KVVec<Parked> {
    if !look(&sk, new) && left.push(Parked { sk, new }, GFP_KERNEL).is_err() {
        count(Counter::policy_no_memory);
    }
    left
}

/// Gives users a moment to let go of their sockets, and leaves those that do not for later.
fn settle(mut left: KVVec<Parked>) {
    const ATTEMPTS: u32 = 20;
    for _ in 0..ATTEMPTS {
        if left.is_empty() {
            return;
        }
        fsleep(Delta::from_millis(1));
        left.retain(|parked| !parked.attempt());
    }
    let retry = QUEUE.lock().retry.clone();
    for parked in left {
        Netns::count_in(parked.sk.get().namespace(), Counter::policy_stalled);
        let kept = retry.as_ref().ok_or(ENOENT);
        let kept = kept.and_then(|retry| retry.put(parked));
        if kept.is_err() {
            count(Counter::policy_no_memory);
        }
    }
}

/// What a rule says for a socket.
#[derive(Clone)]
struct Chosen {
    id: u32,
    rule: Arc<Rule>,
}

/// Looks at a socket, which has just begun to listen or not (process context). False when somebody has it locked, and it is to
/// be looked at again: that may be a user who keeps it so.
fn look(held: &SockRef, new: bool) -> bool {
    let sk = held.get();
    let Ok(netns) = Netns::of(sk) else {
        return true;
    };
    if new {
        // Who has begun to listen may be at it still, and has the lock then.
        match sk.try_with_lock(|sk| sk.state()) {
            Some(State::Listen) => {}
            Some(_) => return true,
            None => return false,
        }
    } else if is_settled(sk, &netns) {
        return true;
    }
    let offloads = choose(sk, &netns).map_or(0, |chosen| chosen.rule.offloads);
    // Needs memory and locks of namespaces, and so must not be waited for with the socket locked.
    if offloads != 0 && netfilter::Registration::<accept::Hook>::ensure(sk).is_err() {
        count(Counter::policy_no_memory);
        return true;
    }
    let taken_off = sk.try_with_lock(|mut sk| {
        // It may have been closed, or have been looked at, meanwhile.
        match sk.state() {
            State::Listen => apply(&mut sk, &netns, new),
            _ => None,
        }
    });
    // What was taken off is dropped here, not with the socket locked.
    taken_off.is_some()
}

/// Whether a socket that listens has what its rule says already, as far as can be seen without its lock: who holds that
/// is not waited for then.
fn is_settled(sk: Socket<'_>, netns: &Netns) -> bool {
    let chosen = choose(sk, netns);
    let wanted = chosen.as_ref().filter(|chosen| chosen.rule.offloads != 0);
    match (ulp::peek(sk, Options::policy), wanted) {
        (Some(own), Some(chosen)) => [0, chosen.id].contains(&own),
        (Some(own), None) => own == 0,
        (None, Some(_)) => false,
        (None, None) => {
            if let Some(chosen) = chosen {
                note(netns, chosen.id, reason::NONE, false);
            }
            true
        }
    }
}

/// The rule for a listening socket.
fn choose(sk: Socket<'_>, netns: &Netns) -> Option<Chosen> {
    let subject = Subject::new(sk);
    let rules = netns.policy().lock();
    let mut entries = rules.entries().iter();
    let entry = entries.find(|entry| entry.rule.matches(&subject))?;
    Some(Chosen {
        id: entry.id,
        rule: entry.rule.clone(),
    })
}

/// Gives a listening socket what its rule says. Returns what it had, if that is nothing any more.
fn apply(sk: &mut Locked<'_>, netns: &Netns, new: bool) -> Option<TakenOff<Options>> {
    let socket = **sk;
    let mut taken_off = None;
    let chosen = choose(socket, netns);
    let wanted = chosen.as_ref().filter(|chosen| chosen.rule.offloads != 0);
    let why = match (ulp::find::<Options>(sk), wanted) {
        // The application knows what it wants.
        (Has::This(own), _) if own.data().policy() == 0 => return None,
        (Has::This(mut own), Some(wanted)) => {
            if own.data().policy() == wanted.id {
                return None;
            }
            match Options::by_policy(socket, wanted.id, &wanted.rule) {
                Ok(options) => {
                    own.replace(options);
                    listen::update(&own);
                    reason::NONE
                }
                Err(_) => reason::NO_MEMORY,
            }
        }
        (Has::This(own), None) => {
            taken_off = Some(own.take_off(true));
            netns.count(Counter::policy_withdrawn);
            reason::NONE
        }
        (_, None) => reason::NONE,
        (_, Some(_)) if socket.is_mptcp() => reason::MPTCP,
        (Has::Other, Some(_)) => reason::OTHER_ULP,
        (Has::Nothing, Some(_)) if socket.listener_info().authenticated => reason::AUTHENTICATED,
        (Has::Nothing, Some(wanted)) => match Options::by_policy(socket, wanted.id, &wanted.rule) {
            Ok(options) => match ulp::attach(sk, options) {
                Ok(own) => {
                    listen::update(&own);
                    reason::NONE
                }
                Err(_) => reason::OTHER_ULP,
            },
            Err(_) => reason::NO_MEMORY,
        },
    };
    if let Some(chosen) = chosen {
        note(netns, chosen.id, why, new);
    }
    taken_off
}

/// Notes what has become of a socket whose rule is `id`. A refusal is noted once: when the socket or the rule is new.
fn note(netns: &Netns, id: u32, why: u32, new: bool) {
    let mut rules = netns.policy().lock();
    let mut entries = rules.entries_mut().iter_mut();
    let Some(entry) = entries.find(|entry| entry.id == id) else {
        return;
    };
    // A socket that is to be left alone is looked at again and again, too.
    let first = new || entry.fresh;
    if why == reason::NONE && (entry.rule.offloads != 0 || first) {
        entry.hits += 1;
        netns.count(Counter::policy_applied);
    } else if why != reason::NONE && first {
        entry.refused += 1;
        entry.last_reason = why;
        netns.count(Counter::policy_refused);
    }
}
