// SPDX-License-Identifier: GPL-2.0

//! Sysctls of the initial network namespace, and of each.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h)

use super::sock::NetId;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// Readable by all, writable by root.
const MODE_VALUE: u16 = 0o644;
/// Writable by root.
const MODE_TRIGGER: u16 = 0o200;

/// A number that the operator may set.
pub(crate) struct Value {
    value: Atomic<u32>,
    min: u32,
    max: u32,
}

impl Value {
    /// A number between `min` and `max`, both included, which is `default` at first.
    pub(crate) const fn new(default: u32, min: u32, max: u32) -> Self {
        Self {
            value: Atomic::new(default),
            min,
            max,
        }
    }

    /// The number.
    pub(crate) fn get(&self) -> u32 {
        self.value.load(Relaxed)
    }

    /// Whether it may be `number`.
    pub(crate) fn allows(&self, number: u32) -> bool {
        (self.min..=self.max).contains(&number)
    }

    /// Makes it `number`, which it [allows](Value::allows).
    pub(crate) fn set(&self, number: u32) {
        self.value.store(number, Relaxed);
    }
}

/// A sysctl of the initial namespace.
pub(crate) enum Kind {
    /// A number. Others than those allowed are refused with `EINVAL`.
    Value(&'static Value),
    /// Calls the function when 1 is written (process context); other numbers are refused with `EINVAL`.
    Trigger(fn()),
}

/// A name and what is behind it.
pub(crate) type Entry = (&'static CStr, Kind);

/// A number that each namespace has for itself.
pub(crate) struct Setting {
    /// Its name.
    pub(crate) name: &'static CStr,
    /// What it is at first.
    pub(crate) default: u32,
    /// The least that it may be. What is not allowed is refused with `EINVAL`.
    pub(crate) min: u32,
    /// The most that it may be.
    pub(crate) max: u32,
    /// Only who has `CAP_NET_ADMIN` in the initial user namespace may write it; others get `EPERM`. The rest may be written by
    /// root of the user namespace that the network namespace belongs to.
    pub(crate) limits_owner: bool,
}

/// Sysctls in a directory, until it is dropped. It keeps `O`, which has their values.
pub(crate) struct Registration<const N: usize, O: 'static = ()> {
    header: NonNull<bindings::ctl_table_header>,
    _table: KBox<[Opaque<bindings::ctl_table>; N]>,
    _owner: Option<Arc<O>>,
}

// SAFETY: It may be dropped by any thread that may sleep.
unsafe impl<const N: usize, O: Send + Sync> Send for Registration<N, O> {}
// SAFETY: It has no methods.
unsafe impl<const N: usize, O: Send + Sync> Sync for Registration<N, O> {}

impl<const N: usize> Registration<N> {
    /// Registers `entries` of the initial namespace in the directory `path`, such as `net/acceltcp`.
    pub(crate) fn new(path: &'static CStr, entries: &'static [Entry; N]) -> Result<Self> {
        let table = entries.each_ref().map(|(name, kind)| entry(name, kind));
        // SAFETY: What the entries point to is static.
        unsafe { Self::register(&raw mut bindings::init_net, path, table, None) }
    }
}

impl<const N: usize, O: Send + Sync> Registration<N, O> {
    /// Registers `settings` of `net` in the directory `path`. Their values are where `values` says, in the same order.
    ///
    /// # Safety
    ///
    /// `net` must be alive until this is dropped.
    pub(super) unsafe fn in_net(
        net: NetId,
        path: &'static CStr,
        settings: &'static [Setting; N],
        owner: Arc<O>,
        values: fn(&O) -> &[Atomic<u32>; N],
    ) -> Result<Self> {
        let mut table = settings.each_ref().map(number);
        for (entry, value) in table.iter_mut().zip(values(&owner)) {
            entry.data = value.as_ptr().cast();
        }
        // SAFETY: The values stay where they are, as we keep their owner; the rest is static.
        unsafe { Self::register(net.as_raw().cast_mut(), path, table, Some(owner)) }
    }

    /// # Safety
    ///
    /// What the entries point to and `net` must stay until this is dropped.
    unsafe fn register(
        net: *mut bindings::net,
        path: &'static CStr,
        table: [bindings::ctl_table; N],
        owner: Option<Arc<O>>,
    ) -> Result<Self> {
        let table = KBox::new(table.map(Opaque::new), GFP_KERNEL)?;
        // SAFETY: The path is static; the table stays where it is until it is unregistered.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net,
                path.as_char_ptr(),
                table.as_ptr().cast_mut().cast(),
                N,
            )
        };
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _table: table,
            _owner: owner,
        })
    }
}

impl<const N: usize, O> Drop for Registration<N, O> {
    fn drop(&mut self) {
        // SAFETY: Registered in `register()`. Waits for handlers that run.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}

fn named(name: &'static CStr) -> bindings::ctl_table {
    bindings::ctl_table {
        procname: name.as_char_ptr(),
        maxlen: core::mem::size_of::<u32>() as c_int,
        ..bindings::ctl_table::default()
    }
}

fn entry(name: &'static CStr, kind: &'static Kind) -> bindings::ctl_table {
    let mut entry = named(name);
    match kind {
        Kind::Value(value) => {
            entry.mode = MODE_VALUE;
            entry.data = value.value.as_ptr().cast();
            entry.extra1 = (&raw const value.min).cast_mut().cast();
            entry.extra2 = (&raw const value.max).cast_mut().cast();
            entry.proc_handler = Some(bindings::proc_douintvec_minmax);
        }
        Kind::Trigger(run) => {
            entry.mode = MODE_TRIGGER;
            entry.data = core::ptr::from_ref(run).cast_mut().cast();
            entry.proc_handler = Some(trigger);
        }
    }
    entry
}

fn number(setting: &'static Setting) -> bindings::ctl_table {
    let handler = match setting.limits_owner {
        true => limit,
        false => bindings::proc_douintvec_minmax,
    };
    bindings::ctl_table {
        mode: MODE_VALUE,
        extra1: (&raw const setting.min).cast_mut().cast(),
        extra2: (&raw const setting.max).cast_mut().cast(),
        proc_handler: Some(handler),
        ..named(setting.name)
    }
}

/// # Safety
///
/// To be called by the sysctl core only, for an entry of [`number`].
unsafe extern "C" fn limit(
    table: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    lenp: *mut usize,
    ppos: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: Process context; the rest is the caller's contract.
    unsafe {
        if write != 0 && !bindings::capable(bindings::CAP_NET_ADMIN as c_int) {
            return EPERM.to_errno();
        }
        bindings::proc_douintvec_minmax(table, write, buffer, lenp, ppos)
    }
}

/// # Safety
///
/// To be called by the sysctl core only, for an entry whose data is a `fn()`.
unsafe extern "C" fn trigger(
    table: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    lenp: *mut usize,
    ppos: *mut bindings::loff_t,
) -> c_int {
    static ONE: u32 = 1;
    let mut value = 0u32;
    // SAFETY: The entry is valid for the call. The copy reads and writes nothing but the local value.
    let (result, run) = unsafe {
        let mut local = core::ptr::read(table);
        let run = local.data.cast::<fn()>().read();
        local.data = core::ptr::from_mut(&mut value).cast();
        local.extra1 = (&raw const ONE).cast_mut().cast();
        local.extra2 = (&raw const ONE).cast_mut().cast();
        let result = bindings::proc_douintvec_minmax(&local, write, buffer, lenp, ppos);
        (result, run)
    };
    if result == 0 && write != 0 && value == ONE {
        run();
    }
    result
}
