// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program that redirects, and its maps.
//!
//! A socket's cookie is the key in both maps:
//!
//! * `peers` has the socket that what this one receives is sent by;
//! * `readers` has the sockets whose received data the program sees, which is attached to this map.
//!
//! With one map for both, the first socket of a pair would be read before it is known where its data goes.

use std::{
    ffi::c_long,
    io,
    mem::size_of,
    net::TcpStream,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use socket2::SockRef;

/// Connections at a time, each with two sockets.
const MOST: u32 = 32_768;

/// Commands of bpf(2), and the rest of `linux/bpf.h` that is of use here.
const MAP_CREATE: c_long = 0;
const MAP_UPDATE_ELEM: c_long = 2;
const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const MAP_TYPE_SOCKHASH: u32 = 18;
const PROG_TYPE_SK_SKB: u32 = 14;
const SK_SKB_STREAM_VERDICT: u32 = 5;

/// `union bpf_attr` for `MAP_CREATE`; what is not there is 0.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// For `MAP_UPDATE_ELEM`.
#[repr(C)]
struct MapUpdate<'a> {
    map: RawFd,
    padding: u32,
    key: &'a u64,
    value: &'a RawFd,
    flags: u64,
}

/// For `PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: *const Insn,
    license: *const libc::c_char,
    log_level: u32,
    log_size: u32,
    log: *mut u8,
}

/// For `PROG_ATTACH`.
#[repr(C)]
struct ProgAttach {
    target: RawFd,
    program: RawFd,
    attach_type: u32,
    flags: u32,
}

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Insn {
    code: u8,
    /// The destination in the lower half, the source in the upper one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Registers: results, arguments, one that calls leave as it is, the frame.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const R6: u8 = 6;
const FP: u8 = 10;

const fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn {
        code,
        registers: from << 4 | to,
        offset,
        immediate,
    }
}

/// The names are those of `linux/filter.h`.
const fn mov_reg(to: u8, from: u8) -> Insn {
    insn(0xbf, to, from, 0, 0)
}
const fn mov_imm(to: u8, value: i32) -> Insn {
    insn(0xb7, to, 0, 0, value)
}
const fn add_imm(to: u8, value: i32) -> Insn {
    insn(0x07, to, 0, 0, value)
}
const fn load_u32(to: u8, base: u8, offset: i16) -> Insn {
    insn(0x61, to, base, offset, 0)
}
const fn store_u64(base: u8, offset: i16, from: u8) -> Insn {
    insn(0x7b, base, from, offset, 0)
}
const fn load_map([to, map]: [i32; 2]) -> [Insn; 2] {
    const PSEUDO_MAP_FD: u8 = 1;
    [
        insn(0x18, to as u8, PSEUDO_MAP_FD, 0, map),
        insn(0, 0, 0, 0, 0),
    ]
}
const fn jump_if_zero(what: u8, over: i16) -> Insn {
    insn(0x15, what, 0, over, 0)
}
const fn call(helper: i32) -> Insn {
    insn(0x85, 0, 0, 0, helper)
}
const EXIT: Insn = insn(0x95, 0, 0, 0, 0);

/// Has what a socket receives sent by its peer. `SK_DROP` is 0, and what there is without a peer.
fn redirect(peers: RawFd) -> [Insn; 14] {
    const GET_SOCKET_COOKIE: i32 = 46;
    const SK_REDIRECT_HASH: i32 = 72;
    const LEN: i16 = 0;
    const KEY: i16 = -8;
    let [map_low, map_high] = load_map([i32::from(R2), peers]);
    [
        mov_reg(R6, R1),
        mov_imm(R0, 0),
        // A FIN by itself: to send nothing is an error that would end the peer's connection.
        load_u32(R2, R1, LEN),
        jump_if_zero(R2, 9),
        call(GET_SOCKET_COOKIE),
        store_u64(FP, KEY, R0),
        mov_reg(R1, R6),
        map_low,
        map_high,
        mov_reg(R3, FP),
        add_imm(R3, i32::from(KEY)),
        mov_imm(R4, 0),
        call(SK_REDIRECT_HASH),
        EXIT,
    ]
}

/// The attached program. When it is dropped the sockets in the maps stay as they are.
#[derive(Debug)]
pub(crate) struct Redirect {
    peers: OwnedFd,
    readers: OwnedFd,
    _program: OwnedFd,
}

impl Redirect {
    /// Loads it.
    pub(crate) fn load() -> Result<Self> {
        let peers = map().context("sockhash")?;
        let readers = map().context("sockhash")?;
        let program = program(&redirect(peers.as_raw_fd()))?;
        let attr = ProgAttach {
            target: readers.as_raw_fd(),
            program: program.as_raw_fd(),
            attach_type: SK_SKB_STREAM_VERDICT,
            flags: 0,
        };
        // SAFETY: The attributes are those of the command, and have no pointers.
        unsafe { bpf(PROG_ATTACH, &attr) }.context("attach the program")?;
        Ok(Self {
            peers,
            readers,
            _program: program,
        })
    }

    /// Says where what `from` receives is to go. It does not go there yet.
    pub(crate) fn pair(&self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        update(&self.peers, from, to)
    }

    /// From now on what a socket receives goes to its peer: what it has received and nobody has read before all else,
    /// but not before it receives more, or is read.
    pub(crate) fn start(&self, from: &TcpStream) -> io::Result<()> {
        update(&self.readers, from, from)
    }
}

fn map() -> io::Result<OwnedFd> {
    let attr = MapCreate {
        map_type: MAP_TYPE_SOCKHASH,
        key_size: size_of::<u64>() as u32,
        value_size: size_of::<RawFd>() as u32,
        max_entries: 2 * MOST,
    };
    // SAFETY: The attributes are those of the command, and have no pointers. It returns a file descriptor that is ours.
    unsafe { bpf(MAP_CREATE, &attr).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

fn update(map: &OwnedFd, key: &TcpStream, value: &TcpStream) -> io::Result<()> {
    let attr = MapUpdate {
        map: map.as_raw_fd(),
        padding: 0,
        key: &SockRef::from(key).cookie()?,
        value: &value.as_raw_fd(),
        flags: 0,
    };
    // SAFETY: The attributes are those of the command; key and value are of the map's sizes.
    unsafe { bpf(MAP_UPDATE_ELEM, &attr) }.map(drop)
}

/// What the verifier says is in the error.
fn program(insns: &[Insn]) -> Result<OwnedFd> {
    let mut log = vec![0; 65_536];
    let attr = ProgLoad {
        prog_type: PROG_TYPE_SK_SKB,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr(),
        license: c"Dual MIT/GPL".as_ptr(),
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr(),
    };
    // SAFETY: The attributes are those of the command; instructions and log are as long as they say. It returns a file
    // descriptor that is ours.
    let loaded = unsafe { bpf(PROG_LOAD, &attr).map(|fd| OwnedFd::from_raw_fd(fd)) };
    loaded.with_context(|| {
        let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
        format!("load the program: {}", String::from_utf8_lossy(text))
    })
}

/// bpf(2).
///
/// # Safety
///
/// `attr` must be what the command takes, and its pointers valid.
unsafe fn bpf<T>(command: c_long, attr: &T) -> io::Result<RawFd> {
    let attr: *const T = attr;
    // SAFETY: The caller's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    match RawFd::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of_val;

    use super::*;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<Insn>(), 8);
        assert_eq!(size_of_val(&redirect(3)), 14 * 8);
        assert_eq!(size_of::<MapUpdate<'_>>(), 32);
        assert_eq!(size_of::<ProgLoad>(), 40);
    }

    #[test]
    fn empty_segments_end_the_program() {
        let insns = redirect(3);
        let jump = insns
            .iter()
            .position(|insn| insn.code == 0x15)
            .expect("a jump");
        let target = jump + 1 + insns[jump].offset as usize;
        assert_eq!(insns[target].code, EXIT.code);
    }
}
