// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab run`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;

use super::{options::GuestOptions, output::Prefixed};
use crate::{
    build,
    report::{table, Client, Machine, Meter, Ready, Report, Server},
    session::{self, Entered, Piece},
    util::Layout,
};

/// A client without a time limit.
const FOR_EVER: u64 = 365 * 24 * 3600;

/// Arguments of `lab run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Command line of the server in the guest; only the client runs without. build/ is /build
    #[arg(long, value_name = "CMD")]
    guest: Option<String>,
    /// Command line of the client on the wire side, which is a program of the build root or below
    /// /build; the guest is 10.99.0.2 and fd99:0::2
    #[arg(long, value_name = "CMD")]
    wire: String,
    /// Name of the row
    #[arg(long, default_value = "run", value_name = "NAME")]
    workload: String,
    #[command(flatten)]
    options: GuestOptions,
    /// Write the measured row to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Start the client when this TCP port listens (0: at once), instead of any new one
    #[arg(long, value_name = "PORT")]
    ready: Option<u16>,
    /// Number of transactions, for a client whose output does not tell
    #[arg(long, value_name = "N")]
    transactions: Option<u64>,
    /// Time limit of the client in seconds
    #[arg(long, default_value_t = FOR_EVER, hide_default_value = true, value_name = "S")]
    timeout: u64,
}

/// Runs a server in the guest and a client on the wire side; returns the client's exit code.
///
/// # Errors
///
/// What failed besides the client.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    args.options.check()?;
    if !session::is_inside() {
        build::ensure(layout)?;
    }
    if let Entered::Done(code) = session::enter(layout)? {
        return Ok(code);
    }
    eprintln!("lab: boot the guest ...");
    let session = args.options.builder("run").start(layout)?;
    eprintln!(
        "lab: guest is up after {:.1} s",
        session.boot_time().as_secs_f32()
    );
    let ready = match args.ready {
        None => Ready::NewPort,
        Some(0) => Ready::AtOnce,
        Some(port) => Ready::Port(port),
    };
    let server = match &args.guest {
        Some(command) => {
            let mut out = Prefixed::new("guest| ");
            let sink = move |piece: Piece<'_>| out.write(piece);
            let offload = &args.options.offload.0;
            Some(Server::start(&session, command, offload, ready, sink)?)
        }
        None => None,
    };
    let client = Client {
        workload: args.workload.clone(),
        server: args.guest.clone().unwrap_or_default(),
        client: args.wire.clone(),
        warm_up: None,
        offload: args.options.offload.0.clone(),
        transactions: args.transactions,
        timeout: Duration::from_secs(args.timeout),
    };
    let options = &args.options;
    let meter = Meter::new(
        &session,
        options.driver.name(),
        options.vcpus,
        options.count,
    );
    let measured = meter.measure(&client, pass)?;
    if let Some(server) = server {
        server.stop()?;
    }
    let mut report = Report::new(layout, Machine::this(session.kvm()))?;
    report.rows.push(measured.row);
    eprintln!("{}", table(&report.rows));
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    session.shutdown()?;
    let code = measured.output.status.code();
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Passes the client's output on as it is.
fn pass(piece: Piece<'_>) {
    // A reader that has gone away does not stop the measurement.
    let _ = match piece {
        Piece::Stdout(bytes) => io::stdout().lock().write_all(bytes),
        Piece::Stderr(bytes) => io::stderr().lock().write_all(bytes),
    };
    let _ = io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn command_lines_are_checked() {
        let parse = |extra: &[&str]| {
            let line = ["lab", "run", "--wire", "true"];
            Cli::try_parse_from(line.iter().chain(extra))
        };
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--guest", "redis-server", "--cards", "2", "--driver", "nfp"]).is_ok());
        assert!(parse(&["--vcpus", "0"]).is_err());
        assert!(parse(&["--cards", "9"]).is_err());
        assert!(parse(&["--driver", "e1000"]).is_err());
        assert!(parse(&["--offload", ""]).is_ok());
        assert!(parse(&["--offload", "setup,defer"]).is_ok());
        assert!(parse(&["--offload", "magic"]).is_err());
    }
}
