// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab shell`.

use std::{
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg, Termios},
};
use signal_hook::{consts::SIGWINCH, iterator::Signals};

use super::options::GuestOptions;
use crate::{
    build,
    report::offload,
    session::{self, Cmd, Entered, Piece, Remote, Size},
    util::Layout,
};

/// A shell may stay open as long as one likes.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is told before the shell starts.
const HELP: &str = "\
The guest is 10.99.<card>.2 and fd99:<card>::2, the wire side 10.99.<card>.1 and fd99:<card>::1.
In a second terminal, on the wire side:    build/bin/lab wire redis-cli -h 10.99.0.2 ping
This checkout's build/ is /build on both sides. Leave the shell to end the session.";

/// Arguments of `lab shell`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: GuestOptions,
}

/// Boots a guest and runs a shell in it; returns the shell's exit code.
///
/// # Errors
///
/// The guest does not start, or broke down.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    args.options.check()?;
    if !session::is_inside() {
        build::ensure(layout)?;
    }
    if let Entered::Done(code) = session::enter(layout)? {
        return Ok(code);
    }
    eprintln!("lab: boot the guest ...");
    let session = args.options.builder("shell").start(layout)?;
    eprintln!("{HELP}\nConsole: {}", session.console().display());

    let shell = Cmd::new(["bash", "-l"]).dir("/root").timeout(FOR_EVER);
    offload::ask(&session, &args.options.offload.0)?;
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut process = session.guest().spawn(match terminal {
        true => shell.terminal(window_size()),
        false => shell.open_stdin(),
    })?;
    process.watch(|piece| {
        // If the terminal is gone, the session ends with it.
        let _ = match piece {
            Piece::Stdout(bytes) => io::stdout().lock().write_all(bytes),
            Piece::Stderr(bytes) => io::stderr().lock().write_all(bytes),
        };
        let _ = io::stdout().flush();
    });
    let raw = terminal.then(Raw::enter).transpose()?;
    if terminal {
        follow_size(process.remote())?;
    }
    feed(process.remote());
    let output = process.wait();
    drop(raw);
    let status = output?.status;
    session.shutdown()?;
    Ok(ExitCode::from(u8::try_from(status.code()).unwrap_or(1)))
}

/// Passes the standard input on.
fn feed(shell: Remote) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        loop {
            match io::stdin().lock().read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => {
                    if shell.write(&bytes[..length]).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // The guest may be gone already.
        let _ = shell.close_stdin();
    });
}

/// Tells the guest's terminal when the size of this one changes.
fn follow_size(shell: Remote) -> Result<()> {
    let mut signals = Signals::new([SIGWINCH]).context("SIGWINCH")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if shell.resize(window_size()).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Size of the terminal, or the usual one if it does not tell.
fn window_size() -> Size {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives until the call returns.
    let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCGWINSZ, &mut size) };
    match result {
        0 if size.ws_row > 0 && size.ws_col > 0 => Size {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        _ => Size {
            rows: 24,
            columns: 80,
        },
    }
}

/// The terminal in raw mode, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let before = tcgetattr(io::stdin()).context("terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).context("terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
