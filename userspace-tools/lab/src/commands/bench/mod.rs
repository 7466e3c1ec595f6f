// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab bench`.

mod nic;
mod profile;
mod relay;
mod splice;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};

use super::workloads::{owned, Load, Service, NGINX, REDIS, REDIS_SHORT, SECONDS};
use crate::{
    build,
    report::{comparison, Column, Machine, Measured, Meter, Ready, Report, Row, Server},
    session::{self, Driver, Entered, Session},
    setup,
    util::Layout,
};

/// The drivers side by side; the first one is the yardstick.
const DRIVERS: [Driver; 2] = [Driver::Nfp, Driver::AccelTcp];

/// The offloads side by side; the first one is the yardstick.
const OFFLOADS: [&[&str]; 5] = [
    &[],
    &["setup"],
    &["setup", "defer"],
    &["setup", "teardown"],
    &["setup", "defer", "teardown"],
];

/// Arguments of `lab bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All of them but the profile and the splicing proxies, if none is named
    #[command(subcommand)]
    bench: Option<Bench>,
}

/// The benches.
#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Kernel instructions per transaction of this driver and of the upstream one
    Driver(BenchArgs),
    /// Kernel instructions per transaction with connections set up and ended by the host and by the card
    Setup(BenchArgs),
    /// Kernel instructions and DMA per megabyte that is relayed: copied, spliced by the host, redirected by a
    /// sockmap, spliced by the card (`lab haproxy` builds the proxy, or this does)
    Splice(splice::Args),
    /// Kernel functions that a transaction's instructions are executed in, offloads side by side
    Profile(profile::Args),
    /// Time and instructions per packet in the card's stack, on this machine
    Nic {
        /// Where to write the figures; build/report/bench-nic.json without
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// Arguments of a bench.
#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// How often each driver, or offload, serves each load
    #[arg(long, default_value_t = BenchArgs::REPEAT, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Where to write the rows; build/report/bench-NAME.json without
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl BenchArgs {
    const REPEAT: u32 = 3;
}

impl Default for BenchArgs {
    fn default() -> Self {
        Self {
            repeat: Self::REPEAT,
            json: None,
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// The set-up or a load failed.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    if !session::is_inside() {
        build::ensure(layout)?;
        if matches!(args.bench, Some(Bench::Splice(_))) {
            setup::haproxy::ensure(layout, false)?;
        }
    }
    if let Entered::Done(code) = session::enter(layout)? {
        return Ok(code);
    }
    let packets = |path: Option<&Path>| {
        let default = layout.report().join("bench-nic.json");
        nic::run(layout, path.unwrap_or(&default))
    };
    match &args.bench {
        Some(Bench::Driver(args)) => drivers(args, layout)?,
        Some(Bench::Setup(args)) => offloads(args, layout)?,
        Some(Bench::Splice(args)) => splice::run(args, layout)?,
        Some(Bench::Profile(args)) => profile::run(args, layout)?,
        Some(Bench::Nic { json }) => packets(json.as_deref())?,
        None => {
            packets(None)?;
            drivers(&BenchArgs::default(), layout)?;
            offloads(&BenchArgs::default(), layout)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Both drivers in one guest, in turns, so that nothing else differs.
fn drivers(args: &BenchArgs, layout: &Layout) -> Result<()> {
    let mut report = Report::new(layout, Machine::this(false))?;
    eprintln!("lab: boot the guest ...");
    let session = Session::builder()
        .name("bench-driver")
        .driver(Driver::None)
        .count(true)
        .start(layout)?;
    let server = Server::start(&session, REDIS.server, &[], Ready::Port(REDIS.port), |_| ())?;
    for round in 1..=args.repeat {
        for driver in DRIVERS {
            eprintln!(
                "lab: round {round} of {}: {} ...",
                args.repeat,
                driver.name()
            );
            serve(&session, driver, &REDIS, &mut report.rows)
                .with_context(|| format!("round {round}, driver {}", driver.name()))?;
        }
    }
    server.stop()?;
    session.shutdown()?;
    let columns = DRIVERS.map(|driver| Column {
        name: driver.name().into(),
        driver: driver.name().into(),
        offload: Vec::new(),
    });
    finish(
        &report,
        &columns,
        args,
        &layout.report().join("bench-driver.json"),
    )
}

/// All offloads in one guest, in turns.
fn offloads(args: &BenchArgs, layout: &Layout) -> Result<()> {
    let driver = Driver::AccelTcp.name();
    let mut report = Report::new(layout, Machine::this(false))?;
    eprintln!("lab: boot the guest ...");
    let session = Session::builder()
        .name("bench-setup")
        .driver(Driver::AccelTcp)
        .count(true)
        .start(layout)?;
    session.wait_reachable()?;
    let meter = Meter::new(&session, driver, 1, true);
    for round in 1..=args.repeat {
        for offload in OFFLOADS {
            let name = offload_name(offload);
            eprintln!("lab: round {round} of {}: {name} ...", args.repeat);
            for service in [REDIS_SHORT, NGINX] {
                let ready = Ready::Port(service.port);
                let server =
                    Server::start(&session, service.server, &owned(offload), ready, |_| ())?;
                loads(&meter, offload, &service, &mut report.rows)
                    .with_context(|| format!("round {round}, {name}"))?;
                server.stop()?;
            }
        }
    }
    session.shutdown()?;
    let columns = OFFLOADS.map(|offload| Column {
        name: offload_name(offload),
        driver: driver.into(),
        offload: owned(offload),
    });
    finish(
        &report,
        &columns,
        args,
        &layout.report().join("bench-setup.json"),
    )
}

fn offload_name<S: AsRef<str>>(offload: &[S]) -> String {
    let names: Vec<_> = offload.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => "host".into(),
        names => names.join(","),
    }
}

/// Writes the rows and prints the comparison.
fn finish(report: &Report, columns: &[Column], args: &BenchArgs, path: &Path) -> Result<()> {
    let path = args.json.as_deref().unwrap_or(path);
    report.write(path)?;
    println!("{}", comparison(&report.rows, columns));
    println!("All rows: {}", path.display());
    Ok(())
}

/// All loads with one driver.
fn serve(session: &Session, driver: Driver, service: &Service, rows: &mut Vec<Row>) -> Result<()> {
    session.load_driver(driver, "")?;
    let meter = Meter::new(session, driver.name(), 1, true);
    loads(&meter, &[], service, rows)?;
    session.unload_driver(driver)
}

/// Runs all loads of a service that is up.
fn loads(
    meter: &Meter<'_>,
    offload: &[&str],
    service: &Service,
    rows: &mut Vec<Row>,
) -> Result<()> {
    for load in service.loads {
        let measured = meter.measure(&service.client(load, offload, SECONDS), |_| ())?;
        check(load, &measured)?;
        rows.push(measured.row);
    }
    Ok(())
}

/// A load that failed in part is no measurement.
fn check(load: &Load, Measured { row, output, .. }: &Measured) -> Result<()> {
    ensure!(
        output.status.success() && row.errors == Some(0),
        "{}: {}, {:?} errors\n{}{}",
        load.name,
        output.status,
        row.errors,
        output.stdout,
        output.stderr
    );
    Ok(())
}
