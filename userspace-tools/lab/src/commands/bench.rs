// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab bench`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{ensure, Context, Result};

use super::workloads::{Service, REDIS};
use crate::{
    build,
    report::{comparison, Machine, Meter, Ready, Report, Row, Server},
    session::{self, Driver, Entered, Session},
    setup::Facts,
    util::Layout,
};

/// The drivers side by side; the first one is the yardstick.
const DRIVERS: [Driver; 2] = [Driver::Nfp, Driver::AccelTcp];

/// Arguments of `lab bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

/// The benches.
#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Kernel instructions per transaction of this driver and of the upstream one
    Driver(DriverArgs),
}

/// Arguments of `lab bench driver`.
#[derive(Debug, clap::Args)]
struct DriverArgs {
    /// How often each driver serves each load
    #[arg(long, default_value_t = 3, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Where to write the rows; build/report/bench-driver.json without
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// The set-up or a load failed.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    if !session::is_inside() {
        build::ensure(layout)?;
    }
    if let Entered::Done(code) = session::enter(layout)? {
        return Ok(code);
    }
    let Bench::Driver(args) = &args.bench;
    drivers(args, layout)?;
    Ok(ExitCode::SUCCESS)
}

/// Both drivers in one guest, in turns, so that nothing else differs.
fn drivers(args: &DriverArgs, layout: &Layout) -> Result<()> {
    let mut report = Report::new(&Facts::load(layout)?, Machine::this(false));
    eprintln!("lab: boot the guest ...");
    let session = Session::builder()
        .name("bench-driver")
        .driver(Driver::None)
        .count(true)
        .start(layout)?;
    let server = Server::start(&session, REDIS.server, Ready::Port(REDIS.port), |_| ())?;
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
    let path = match &args.json {
        Some(path) => path.clone(),
        None => layout.report().join("bench-driver.json"),
    };
    report.write(&path)?;
    println!("{}", comparison(&report.rows, DRIVERS.map(Driver::name)));
    println!("All rows: {}", path.display());
    Ok(())
}

fn serve(session: &Session, driver: Driver, service: &Service, rows: &mut Vec<Row>) -> Result<()> {
    session.load_driver(driver, "")?;
    let meter = Meter::new(session, driver.name(), 1, true);
    for load in service.loads {
        let measured = meter.measure(&service.client(load, &[]), |_| ())?;
        let (row, output) = (measured.row, measured.output);
        ensure!(
            output.status.success() && row.errors == Some(0),
            "{}: {}, {:?} errors\n{}{}",
            load.name,
            output.status,
            row.errors,
            output.stdout,
            output.stderr
        );
        rows.push(row);
    }
    session.unload_driver(driver)
}
