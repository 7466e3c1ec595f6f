// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The plugin: QEMU's plugin API, version 7, as far as it is needed.
//!
//! The functions of QEMU are looked up when the plugin is installed instead of being linked, so
//! that the crate also links into programs that QEMU does not load.

use std::{
    ffi::{c_char, c_int, c_uint, c_void, CStr},
    fs::OpenOptions,
    os::fd::AsRawFd,
    ptr, slice,
    sync::{atomic::AtomicU64, OnceLock},
};

use crate::{
    counts::{Line, FILE_SIZE, MAX_VCPUS},
    profile::{Slots, PROFILE_SIZE},
    repeat::{Entry, MAX_INSN},
};

/// Version of the plugin API; QEMU refuses a plugin of a version that it does not support.
#[no_mangle]
pub static qemu_plugin_version: c_int = 7;

/// The callback touches no guest register (`QEMU_PLUGIN_CB_NO_REGS`).
const CB_NO_REGS: c_int = 0;

type TbCallback = extern "C" fn(tb: *mut c_void, data: *mut c_void);
type ExecCallback = extern "C" fn(vcpu: c_uint, data: *mut c_void);
type RegisterTbTrans = unsafe extern "C" fn(id: u64, callback: TbCallback, data: *mut c_void);
type RegisterTbExec =
    unsafe extern "C" fn(tb: *mut c_void, callback: ExecCallback, flags: c_int, data: *mut c_void);
type TbInsns = unsafe extern "C" fn(tb: *const c_void) -> usize;
type TbVaddr = unsafe extern "C" fn(tb: *const c_void) -> u64;
type TbInsn = unsafe extern "C" fn(tb: *const c_void, index: usize) -> *mut c_void;
type InsnVaddr = unsafe extern "C" fn(insn: *const c_void) -> u64;
type InsnData =
    unsafe extern "C" fn(insn: *const c_void, data: *mut c_void, length: usize) -> usize;

/// What the callbacks need.
struct Plugin {
    lines: &'static [Line; MAX_VCPUS],
    profile: Option<Slots<'static>>,
    tb_insns: TbInsns,
    tb_vaddr: TbVaddr,
    tb_insn: TbInsn,
    insn_vaddr: InsnVaddr,
    insn_data: InsnData,
    register_tb_exec: RegisterTbExec,
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

/// Called by QEMU once, before the guest starts. Returns 0, or -1 after a message on stderr.
///
/// # Safety
///
/// `argv` holds `argc` pointers to NUL-terminated strings, as QEMU's plugin API promises.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let args = (0..usize::try_from(argc).unwrap_or(0)).map(|index| {
        // SAFETY: The caller promises `argc` valid strings that outlive this call.
        unsafe { CStr::from_ptr(*argv.add(index)) }.to_string_lossy()
    });
    let (mut counters, mut profile) = (None, None);
    for arg in args {
        match arg.split_once('=') {
            Some(("counters", file)) => counters = Some(file.to_string()),
            Some(("profile", file)) => profile = Some(file.to_string()),
            _ => return fail(&format!("unknown argument {arg}")),
        }
    }
    let Some(counters) = counters else {
        return fail("counters=PATH is missing");
    };
    match install(id, &counters, profile.as_deref()) {
        Ok(()) => 0,
        Err(reason) => fail(&reason),
    }
}

fn fail(reason: &str) -> c_int {
    eprintln!("lab-count: {reason}");
    -1
}

fn install(id: u64, counters: &str, profile: Option<&str>) -> Result<(), String> {
    let lines = map(counters, FILE_SIZE)?;
    // SAFETY: The mapping is page-aligned, as long as the array and never unmapped. Any bytes are
    // valid atomics, and everything else that writes the file would only spoil the counts.
    let lines = unsafe { &*lines.cast::<[Line; MAX_VCPUS]>() };
    let profile = profile.map(slots).transpose()?;
    // SAFETY: The types are those of QEMU's `qemu-plugin.h` for API version 7, which QEMU has
    // checked against `qemu_plugin_version` before this call.
    let (plugin, register_tb_trans) = unsafe {
        let plugin = Plugin {
            lines,
            profile,
            tb_insns: symbol::<TbInsns>(c"qemu_plugin_tb_n_insns")?,
            tb_vaddr: symbol::<TbVaddr>(c"qemu_plugin_tb_vaddr")?,
            tb_insn: symbol::<TbInsn>(c"qemu_plugin_tb_get_insn")?,
            insn_vaddr: symbol::<InsnVaddr>(c"qemu_plugin_insn_vaddr")?,
            insn_data: symbol::<InsnData>(c"qemu_plugin_insn_data")?,
            register_tb_exec: symbol::<RegisterTbExec>(c"qemu_plugin_register_vcpu_tb_exec_cb")?,
        };
        let trans = symbol::<RegisterTbTrans>(c"qemu_plugin_register_vcpu_tb_trans_cb")?;
        (plugin, trans)
    };
    if PLUGIN.set(plugin).is_err() {
        return Err("loaded twice".into());
    }
    // SAFETY: `id` is QEMU's own and the callback lives as long as the library, which QEMU keeps.
    unsafe { register_tb_trans(id, translated, ptr::null_mut()) };
    Ok(())
}

/// Maps the profile file.
fn slots(path: &str) -> Result<Slots<'static>, String> {
    let words = map(path, PROFILE_SIZE)?.cast::<AtomicU64>();
    // SAFETY: As for the counter file.
    let words = unsafe { slice::from_raw_parts(words, PROFILE_SIZE / size_of::<AtomicU64>()) };
    Slots::new(words).ok_or_else(|| format!("{path}: no room for a slot"))
}

/// Maps the first `length` bytes of a file for good.
fn map(path: &str, length: usize) -> Result<*mut c_void, String> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| format!("{path}: {error}"))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    if size < length as u64 {
        return Err(format!("{path}: {size} bytes, not {length}"));
    }
    // SAFETY: A new mapping at an address of the kernel's choice touches no other memory.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(format!("{path}: {}", std::io::Error::last_os_error()));
    }
    Ok(address)
}

/// Finds a function of QEMU, which has loaded this library.
///
/// # Safety
///
/// `T` must be the function's pointer type.
unsafe fn symbol<T>(name: &CStr) -> Result<T, String> {
    const { assert!(size_of::<T>() == size_of::<*mut c_void>()) };
    // SAFETY: `name` is a NUL-terminated string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if address.is_null() {
        return Err(format!("QEMU has no {}", name.to_string_lossy()));
    }
    // SAFETY: The caller promises the type, and the sizes are equal as asserted above.
    Ok(unsafe { std::mem::transmute_copy(&address) })
}

/// A block was translated: have its executions counted.
extern "C" fn translated(tb: *mut c_void, _data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    // SAFETY: `tb` is the block that QEMU is translating; it is valid during this callback.
    let (address, insns) = unsafe { ((plugin.tb_vaddr)(tb), (plugin.tb_insns)(tb)) };
    let kernel = address >> 63 != 0;
    // A block has 512 instructions at most (QEMU's `TCG_MAX_INSNS`).
    let plain = ((insns as u32) << 1) | u32::from(kernel);
    let (callback, value): (ExecCallback, u32) = match &plugin.profile {
        Some(profile) if kernel => match profile.find(address, insns as u64) {
            Some(slot) => (profiled, slot),
            None => (lost, plain),
        },
        _ => (executed, plain),
    };
    let mut bytes = [0; MAX_INSN];
    // SAFETY: `tb` is valid during this callback, as above.
    let last = unsafe { plugin.last(tb, insns, &mut bytes) };
    let data = usize::from(Entry::new(value, last));
    // SAFETY: `tb` is valid during this callback. The data is a number and never followed as a
    // pointer.
    unsafe {
        (plugin.register_tb_exec)(tb, callback, CB_NO_REGS, ptr::without_provenance_mut(data));
    }
}

impl Plugin {
    /// Address and bytes of the last of a block's `insns` instructions.
    ///
    /// # Safety
    ///
    /// QEMU is translating the block `tb`.
    unsafe fn last<'a>(
        &self,
        tb: *const c_void,
        insns: usize,
        bytes: &'a mut [u8; MAX_INSN],
    ) -> Option<(u64, &'a [u8])> {
        // SAFETY: The caller promises a valid block.
        let insn = unsafe { (self.tb_insn)(tb, insns.checked_sub(1)?) };
        if insn.is_null() {
            return None;
        }
        // SAFETY: The instruction belongs to the block and is valid as long as that; the buffer has
        // the length that is given.
        let (address, length) = unsafe {
            (
                (self.insn_vaddr)(insn),
                (self.insn_data)(insn, bytes.as_mut_ptr().cast(), bytes.len()),
            )
        };
        Some((address, bytes.get(..length)?))
    }

    /// Counts a block of `instructions` in the line of `vcpu`, unless it only continues a repeated
    /// string instruction. Whether it counts.
    fn count(&self, vcpu: c_uint, entry: Entry, instructions: u64, kernel: bool) -> bool {
        let Some(line) = self.lines.get(vcpu as usize) else {
            return true;
        };
        let counts = !line.continues(entry, instructions);
        if counts {
            line.add(instructions, kernel);
        }
        counts
    }
}

/// A block is entered.
extern "C" fn executed(vcpu: c_uint, data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let entry = Entry::from(data.addr());
    let plain = entry.value();
    plugin.count(vcpu, entry, u64::from(plain >> 1), plain & 1 != 0);
}

/// A block of the kernel that has a slot is entered.
extern "C" fn profiled(vcpu: c_uint, data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let Some(profile) = &plugin.profile else {
        return;
    };
    let entry = Entry::from(data.addr());
    let instructions = profile.instructions(entry.value());
    if plugin.count(vcpu, entry, instructions, true) {
        profile.enter(entry.value());
    }
}

/// A block of the kernel that found no slot is entered.
extern "C" fn lost(vcpu: c_uint, data: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let Some(profile) = &plugin.profile else {
        return;
    };
    let entry = Entry::from(data.addr());
    let instructions = u64::from(entry.value() >> 1);
    if plugin.count(vcpu, entry, instructions, true) {
        profile.lose(instructions);
    }
}
