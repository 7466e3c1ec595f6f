// SPDX-License-Identifier: GPL-2.0

//! The policy: what listening sockets get whose applications ask for nothing.
//!
//! A socket that is about to listen is heard of by a tracepoint, and looked at by a worker, which waits for its lock;
//! a change of the rules has the worker look at all sockets of the namespace. A socket that the application has
//! given the ULP itself is never touched.
//!
//! Locks: a socket's, then [`RULES`]; [`QUEUE`] is innermost.

mod rule;

pub(crate) use rule::{
    Prefix,
    Rule, //
};

use super::{
    accept,
    counters::{
        count,
        Counter, //
    },
    listen,
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
    netfilter,
    pernet,
    sock::{
        Locked,
        NetId,
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
    sync::Arc, //
};

/// Most rules of a namespace.
const MOST: usize = 1024;

/// A rule and what it has done.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    net: NetId,
    /// Its number.
    pub(crate) id: u32,
    /// What it says.
    pub(crate) rule: Rule,
    /// Sockets that it was applied to.
    pub(crate) hits: u64,
    /// Sockets that it could not be applied to.
    pub(crate) refused: u64,
    /// Why that was so the last time.
    pub(crate) last_reason: u32,
    /// Not all sockets have been looked at since it was added.
    fresh: bool,
}

struct Rules {
    /// By priority, then by number.
    entries: KVVec<Entry>,
    last_id: u32,
    generation: u32,
}

/// What the worker has to look at.
struct Queue {
    /// Sockets that have begun to listen.
    sockets: KVec<SockRef>,
    /// All sockets of these namespaces.
    nets: KVec<NetId>,
    /// There was no memory to say which: all sockets of all namespaces.
    all: bool,
    worker: Option<Arc<Worker<Look>>>,
}

global! {
    static RULES: Sleeping<Rules> = Rules {
        entries: KVVec::new(),
        last_id: 0,
        generation: 1,
    };
}

global! {
    static QUEUE: Spin<Queue> = Queue {
        sockets: KVec::new(),
        nets: KVec::new(),
        all: false,
        worker: None,
    };
}

/// The policy, until it is dropped. There may be one.
pub(crate) struct Policy {
    // In this order: no new sockets, then none of namespaces that go.
    _watch: Watch,
    _pernet: pernet::Registration,
}

impl Policy {
    /// Begins without rules.
    pub(crate) fn new() -> Result<Self> {
        let worker = Worker::new(pin_init!(Look {}))?;
        QUEUE.lock().worker = Some(worker);
        let pernet = pernet::Registration::new::<Exit>().inspect_err(|_| stop())?;
        let watch = Watch::new::<Look>().inspect_err(|err| {
            pr_err!(
                "the kernel has no tracepoint inet_sock_set_state ({:?})\n",
                err
            );
            stop();
        })?;
        Ok(Self {
            _watch: watch,
            _pernet: pernet,
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
    let (sockets, nets) = {
        let mut queue = QUEUE.lock();
        (
            core::mem::take(&mut queue.sockets),
            core::mem::take(&mut queue.nets),
        )
    };
    drop((sockets, nets));
    let entries = core::mem::replace(&mut RULES.lock().entries, KVVec::new());
    drop(entries);
}

struct Exit;

impl pernet::NetExit for Exit {
    fn exit(net: NetId) {
        let _ = remove(net, |_| true);
        QUEUE.lock().nets.retain(|other| *other != net);
    }
}

/// Adds a rule to a namespace and returns its number (process context). `ENOSPC` when there are too many.
pub(crate) fn add(net: NetId, rule: Rule) -> Result<u32> {
    let id = {
        let mut rules = RULES.lock();
        if rules
            .entries
            .iter()
            .filter(|entry| entry.net == net)
            .count()
            >= MOST
        {
            return Err(ENOSPC);
        }
        let id = rules.last_id.checked_add(1).ok_or(ENOSPC)?;
        let entry = Entry {
            net,
            id,
            rule,
            hits: 0,
            refused: 0,
            last_reason: reason::NONE,
            fresh: true,
        };
        rules.entries.push(entry, GFP_KERNEL)?;
        rules.last_id = id;
        rules.generation = rules.generation.wrapping_add(1);
        let mut at = rules.entries.len() - 1;
        while at > 0 && rules.entries[at - 1].rule.priority > rule.priority {
            rules.entries.swap(at - 1, at);
            at -= 1;
        }
        id
    };
    look_at_all(net);
    Ok(id)
}

/// Removes rules of a namespace (process context). Returns how many.
fn remove(net: NetId, which: impl Fn(u32) -> bool) -> usize {
    let mut rules = RULES.lock();
    let before = rules.entries.len();
    rules
        .entries
        .retain(|entry| entry.net != net || !which(entry.id));
    rules.generation = rules.generation.wrapping_add(1);
    before - rules.entries.len()
}

/// Removes a rule of a namespace (process context). `ENOENT` when it is not there.
pub(crate) fn delete(net: NetId, id: u32) -> Result {
    if remove(net, |other| other == id) == 0 {
        return Err(ENOENT);
    }
    look_at_all(net);
    Ok(())
}

/// Removes all rules of a namespace (process context).
pub(crate) fn flush(net: NetId) {
    if remove(net, |_| true) != 0 {
        look_at_all(net);
    }
}

/// The rules of a namespace, in the order in which they are looked at, and the generation of the list (process
/// context).
pub(crate) fn list(net: NetId) -> Result<(KVVec<Entry>, u32)> {
    let rules = RULES.lock();
    let mut entries = KVVec::new();
    for entry in rules.entries.iter().filter(|entry| entry.net == net) {
        entries.push(*entry, GFP_KERNEL)?;
    }
    Ok((entries, rules.generation))
}

/// Has the worker look at all sockets of a namespace, and waits until it has.
fn look_at_all(net: NetId) {
    let worker = {
        let mut queue = QUEUE.lock();
        if queue.nets.push(net, GFP_ATOMIC).is_err() {
            queue.all = true;
        }
        queue.worker.clone()
    };
    if let Some(worker) = worker {
        worker.queue();
        worker.wait();
    }
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
            for sk in &sockets {
                look(sk, true);
            }
            drop(sockets);
            if all {
                look_at_those(None);
            }
            for net in nets {
                look_at_those(Some(net));
            }
        }
    }
}

fn look_at_those(net: Option<NetId>) {
    let Ok(sockets) = listening::all(net) else {
        count(Counter::policy_no_memory);
        return;
    };
    for sk in &sockets {
        look(sk, false);
    }
    let mut rules = RULES.lock();
    for entry in rules.entries.iter_mut() {
        entry.fresh &= net.is_some_and(|net| net != entry.net);
    }
}

/// Looks at a socket, which has just begun to listen or not (process context).
fn look(held: &SockRef, new: bool) {
    let sk = held.get();
    // Who has begun to listen may be at it still, and has the lock then.
    if sk.with_lock(|sk| sk.state()) != State::Listen {
        return;
    }
    let offloads = choose(sk).map_or(0, |entry| entry.rule.offloads);
    // Needs memory and locks of namespaces, and so must not be waited for with the socket locked.
    if offloads != 0 && netfilter::Registration::<accept::Hook>::ensure(sk).is_err() {
        count(Counter::policy_no_memory);
        return;
    }
    let taken_off = sk.with_lock(|mut sk| {
        // It may have been closed, or have been looked at, meanwhile.
        match sk.state() {
            State::Listen => apply(&mut sk, new),
            _ => None,
        }
    });
    // Not with the socket locked.
    drop(taken_off);
}

/// The rule for a listening socket.
fn choose(sk: Socket<'_>) -> Option<Entry> {
    let net = sk.net();
    let info = sk.listener_info();
    let rules = RULES.lock();
    let mut entries = rules.entries.iter();
    entries
        .find(|entry| entry.net == net && entry.rule.matches(sk, &info))
        .copied()
}

/// Gives a listening socket what its rule says. Returns what it had, if that is nothing any more.
fn apply(sk: &mut Locked<'_>, new: bool) -> Option<TakenOff<Options>> {
    let socket = **sk;
    let mut taken_off = None;
    let chosen = choose(socket);
    let wanted = chosen.filter(|entry| entry.rule.offloads != 0);
    let why = match (ulp::find::<Options>(sk), wanted) {
        // The application knows what it wants.
        (Has::This(own), _) if own.data().policy() == 0 => return None,
        (Has::This(mut own), Some(entry)) => {
            if own.data().policy() == entry.id {
                return None;
            }
            match Options::by_policy(socket, entry.id, &entry.rule) {
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
            count(Counter::policy_withdrawn);
            reason::NONE
        }
        (_, None) => reason::NONE,
        (_, Some(_)) if socket.is_mptcp() => reason::MPTCP,
        (Has::Other, Some(_)) => reason::OTHER_ULP,
        (Has::Nothing, Some(_)) if socket.listener_info().authenticated => reason::AUTHENTICATED,
        (Has::Nothing, Some(entry)) => match Options::by_policy(socket, entry.id, &entry.rule) {
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
    if let Some(entry) = chosen {
        note(entry.id, why, new);
    }
    taken_off
}

/// Notes what has become of a socket whose rule is `id`. A refusal is noted once: when the socket or the rule is new.
fn note(id: u32, why: u32, new: bool) {
    let mut rules = RULES.lock();
    let Some(entry) = rules.entries.iter_mut().find(|entry| entry.id == id) else {
        return;
    };
    // A socket that is to be left alone is looked at again and again, too.
    let first = new || entry.fresh;
    if why == reason::NONE && (entry.rule.offloads != 0 || first) {
        entry.hits += 1;
        count(Counter::policy_applied);
    } else if why != reason::NONE && first {
        entry.refused += 1;
        entry.last_reason = why;
        count(Counter::policy_refused);
    }
}
