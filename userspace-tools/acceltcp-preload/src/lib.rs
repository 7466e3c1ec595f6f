// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A library for `LD_PRELOAD` whose `listen()` asks for offloads first.
//!
//! The offloads are those of the environment variable `ACCELTCP_OFFLOAD`, a list such as
//! `setup,defer`. Only TCP sockets are touched. A server is never made to fail: when an offload is
//! refused, the first refusal is told on the standard error and the host does the work as ever.

use std::{
    env,
    ffi::{c_int, c_void, CStr},
    fmt::Display,
    io::{self, Write},
    mem::{size_of, transmute},
    os::fd::BorrowedFd,
    sync::{
        atomic::{AtomicBool, Ordering},
        OnceLock,
    },
};

use acceltcp_socket::{set_offload, status, Offload, Reason};

/// The environment variable with the list of offloads.
const VARIABLE: &str = "ACCELTCP_OFFLOAD";

type Listen = unsafe extern "C" fn(c_int, c_int) -> c_int;

/// The C library's `listen()`, with the offloads asked for before.
///
/// # Safety
///
/// As `listen()`, which has no preconditions.
#[no_mangle]
pub unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let asked = wanted().filter(|_| fd >= 0 && is_tcp(fd));
    if let Some(offload) = asked {
        // SAFETY: The caller's descriptor; were it closed meanwhile, the kernel would say so.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        if let Err(error) = set_offload(socket, offload) {
            tell(&format_args!("{offload} is refused: {error}"));
        }
    }
    // SAFETY: As the caller's.
    let result = unsafe { real_listen(fd, backlog) };
    if asked.is_some() && result == 0 {
        // SAFETY: As above.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        match status(socket).map(|status| status.reason) {
            // Refused and told, or all is well.
            Err(_) | Ok(Reason::None | Reason::Pending | Reason::NotAsked) => {}
            Ok(reason) => tell(&format_args!("the host sets connections up: {reason}")),
        }
    }
    result
}

/// What the environment asks for; looked at once.
fn wanted() -> Option<Offload> {
    static WANTED: OnceLock<Option<Offload>> = OnceLock::new();
    *WANTED.get_or_init(|| {
        let list = env::var(VARIABLE).ok()?;
        match list.parse::<Offload>() {
            Ok(offload) => Some(offload).filter(|offload| !offload.is_empty()),
            Err(error) => {
                tell(&format_args!("{VARIABLE}: {error}"));
                None
            }
        }
    })
}

/// Prints a line on the standard error, unless there was one already.
fn tell(what: &dyn Display) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        // In one piece, so that it is not torn. Without a standard error nobody is told.
        let line = format!("acceltcp: {what}\n");
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

fn is_tcp(fd: c_int) -> bool {
    socket_option(fd, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP)
        && matches!(
            socket_option(fd, libc::SO_DOMAIN),
            Some(libc::AF_INET | libc::AF_INET6)
        )
}

fn socket_option(fd: c_int, option: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    let to = std::ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: The kernel writes at most `len` bytes, which `value` has.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, to, &mut len) };
    (result == 0).then_some(value)
}

/// # Safety
///
/// As `listen()`.
unsafe fn real_listen(fd: c_int, backlog: c_int) -> c_int {
    const NAME: &CStr = c"listen";
    static REAL: OnceLock<Option<Listen>> = OnceLock::new();
    let real = REAL.get_or_init(|| {
        // SAFETY: The name is a C string.
        let symbol = unsafe { libc::dlsym(libc::RTLD_NEXT, NAME.as_ptr()) };
        // SAFETY: The next `listen` is that of the C library, or of one that does as we do.
        (!symbol.is_null()).then(|| unsafe { transmute::<*mut c_void, Listen>(symbol) })
    });
    match real {
        // SAFETY: The caller's.
        Some(real) => unsafe { real(fd, backlog) },
        // SAFETY: A system call without pointers.
        None => unsafe { libc::syscall(libc::SYS_listen, fd, backlog) as c_int },
    }
}
