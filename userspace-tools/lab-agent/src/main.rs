// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Init and command server of the lab's guest.
//!
//! The kernel starts this program as process 1. It mounts what Debian's programs expect, makes the
//! read-only root writable with an overlay in memory, and starts itself a second time as the
//! server, so that process 1 has nothing else to do than to reap orphans. When the server ends,
//! for whatever reason, the guest is powered off.

mod init;
mod link;
mod listening;
mod process;
mod server;

use std::process::ExitCode;

use nix::unistd::getpid;

/// First argument of the second start.
const SERVE: &str = "serve";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return match server::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lab-agent: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if getpid().as_raw() != 1 {
        eprintln!("lab-agent: this is the init program of the lab's guest, nothing to run by hand");
        return ExitCode::FAILURE;
    }
    init::run()
}
