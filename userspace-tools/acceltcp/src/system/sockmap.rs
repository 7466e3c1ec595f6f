// SPDX-License-Identifier: GPL-2.0 OR MIT

//! BPF maps of sockets, which take none that has an upper layer protocol (bpf(2)).

use std::{
    ffi::CStr,
    io::{Error, Result},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_long};

const BPF_MAP_GET_NEXT_ID: c_int = 12;
const BPF_MAP_GET_FD_BY_ID: c_int = 14;
const BPF_OBJ_GET_INFO_BY_FD: c_int = 15;
/// `BPF_MAP_TYPE_SOCKMAP` and `BPF_MAP_TYPE_SOCKHASH`.
const KINDS: [u32; 2] = [15, 18];

/// `union bpf_attr` of a command that begins with a number: that, and the next one, which comes back.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct ByDescriptor {
    fd: u32,
    len: u32,
    info: u64,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    /// Number, sizes of key and value, most entries, flags.
    numbers: [u32; 5],
    name: [u8; 16],
}

/// Names of all maps of sockets on this host. Empty, too, for a user that may not list them.
pub fn names() -> Vec<String> {
    let mut names = Vec::new();
    let mut id = 0;
    while let Ok(next) = next(id) {
        id = next;
        // It may be gone meanwhile.
        let Ok(info) = info(id) else { continue };
        if KINDS.contains(&info.kind) {
            let name = CStr::from_bytes_until_nul(&info.name).unwrap_or_default();
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names
}

fn bpf<T>(command: c_int, attributes: &mut T) -> Result<c_long> {
    // SAFETY: The attributes live for the call and have the size that is told; the kernel takes what is behind them for zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            core::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    (result >= 0)
        .then_some(result)
        .ok_or_else(Error::last_os_error)
}

fn next(id: u32) -> Result<u32> {
    let mut attributes = ById {
        id,
        ..ById::default()
    };
    bpf(BPF_MAP_GET_NEXT_ID, &mut attributes)?;
    Ok(attributes.next)
}

fn info(id: u32) -> Result<Info> {
    let mut attributes = ById {
        id,
        ..ById::default()
    };
    let fd = bpf(BPF_MAP_GET_FD_BY_ID, &mut attributes)?;
    let fd = c_int::try_from(fd).map_err(Error::other)?;
    // SAFETY: The descriptor is new, and nobody else has it.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = Info::default();
    let mut attributes = ByDescriptor {
        fd: map.as_raw_fd() as u32,
        len: size_of::<Info>() as u32,
        info: core::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}
