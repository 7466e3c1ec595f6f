// SPDX-License-Identifier: GPL-2.0

//! Sysctls of the initial network namespace.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
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
}

/// A sysctl.
pub(crate) enum Kind {
    /// A number. Others than those allowed are refused with `EINVAL`.
    Value(&'static Value),
    /// Calls the function when 1 is written (process context); other numbers are refused with `EINVAL`.
    Trigger(fn()),
}

/// A name and what is behind it.
pub(crate) type Entry = (&'static CStr, Kind);

/// Sysctls in a directory, until it is dropped.
pub(crate) struct Registration<const N: usize> {
    header: NonNull<bindings::ctl_table_header>,
    _table: KBox<[Opaque<bindings::ctl_table>; N]>,
}

// SAFETY: It may be dropped by any thread that may sleep.
unsafe impl<const N: usize> Send for Registration<N> {}
// SAFETY: It has no methods.
unsafe impl<const N: usize> Sync for Registration<N> {}

impl<const N: usize> Registration<N> {
    /// Registers `entries` in the directory `path`, such as `net/acceltcp`.
    pub(crate) fn new(path: &'static CStr, entries: &'static [Entry; N]) -> Result<Self> {
        let table = KBox::new(
            entries
                .each_ref()
                .map(|(name, kind)| Opaque::new(table_entry(name, kind))),
            GFP_KERNEL,
        )?;
        // SAFETY: The path is static; the table stays where it is until it is unregistered.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                &raw mut bindings::init_net,
                path.as_char_ptr(),
                table.as_ptr().cast_mut().cast(),
                N,
            )
        };
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _table: table,
        })
    }
}

impl<const N: usize> Drop for Registration<N> {
    fn drop(&mut self) {
        // SAFETY: Registered in `new()`. Waits for handlers that run.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}

fn table_entry(name: &'static CStr, kind: &'static Kind) -> bindings::ctl_table {
    let mut entry = bindings::ctl_table {
        procname: name.as_char_ptr(),
        maxlen: core::mem::size_of::<u32>() as c_int,
        ..bindings::ctl_table::default()
    };
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
