// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab demo`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{ensure, Context, Result};

use super::workloads::{Service, REDIS};
use crate::{
    build,
    report::{table, Machine, Measured, Meter, Ready, Report, Row, Server},
    session::{self, Driver, Entered, Session},
    setup::Facts,
    util::Layout,
};

/// Fewer transactions than this prove nothing.
const MIN_TRANSACTIONS: u64 = 5000;

/// One guest of the demo.
struct Variant {
    driver: Driver,
    offload: &'static [&'static str],
}

/// What is compared: each variant serves each load.
const VARIANTS: &[Variant] = &[
    Variant {
        driver: Driver::Nfp,
        offload: &[],
    },
    Variant {
        driver: Driver::AccelTcp,
        offload: &[],
    },
];

/// The services whose loads are run.
const SERVICES: &[Service] = &[REDIS];

/// Arguments of `lab demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write the rows; build/report/demo.json without
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this driver
    #[arg(long, value_enum)]
    driver: Option<Driver>,
}

/// Serves the loads by all variants, and prints and writes what that cost.
///
/// # Errors
///
/// The set-up failed. A variant that fails is told, and the exit status is 1.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    if !session::is_inside() {
        build::ensure(layout)?;
    }
    if let Entered::Done(code) = session::enter(layout)? {
        return Ok(code);
    }
    let mut report = Report::new(&Facts::load(layout)?, Machine::this(false));
    let mut failed = false;
    for variant in VARIANTS {
        if args.driver.is_some_and(|driver| driver != variant.driver) {
            continue;
        }
        let outcome = serve(variant, layout, &mut report.rows);
        if let Err(error) = outcome.with_context(|| format!("driver {}", variant.driver.name())) {
            eprintln!("lab: {error:#}");
            failed = true;
        }
    }
    let path = match &args.json {
        Some(path) => path.clone(),
        None => layout.report().join("demo.json"),
    };
    report.write(&path)?;
    println!("{}", table(&report.rows));
    println!(
        "Guest kernel {}, QEMU {}, {} x {}. Rows: {}",
        report.kernel,
        report.qemu,
        report.machine.cpus,
        report.machine.cpu,
        path.display()
    );
    Ok(ExitCode::from(u8::from(failed)))
}

/// Boots a guest and runs all loads; rows are added as they are measured.
fn serve(variant: &Variant, layout: &Layout, rows: &mut Vec<Row>) -> Result<()> {
    let driver = variant.driver.name();
    eprintln!("lab: boot a guest with driver {driver} ...");
    let session = Session::builder()
        .name(&format!("demo-{driver}"))
        .driver(variant.driver)
        .count(true)
        .start(layout)?;
    let meter = Meter::new(&session, driver, 1, true);
    for service in SERVICES {
        let server = Server::start(&session, service.server, Ready::Port(service.port), |_| ())?;
        for load in service.loads {
            eprintln!("lab: {} over {driver} ...", load.name);
            let measured = meter.measure(&service.client(load, variant.offload), |_| ())?;
            rows.push(measured.row.clone());
            check(&measured).with_context(|| load.name)?;
        }
        server.stop()?;
    }
    session.shutdown()
}

/// A load that failed in part is no measurement.
fn check(measured: &Measured) -> Result<()> {
    let (row, output) = (&measured.row, &measured.output);
    ensure!(
        output.status.success(),
        "{}: {}\n{}{}",
        row.client,
        output.status,
        output.stdout,
        output.stderr
    );
    ensure!(
        row.errors == Some(0) && row.transactions >= Some(MIN_TRANSACTIONS),
        "{:?} transactions with {:?} errors\n{}{}",
        row.transactions,
        row.errors,
        output.stdout,
        output.stderr
    );
    Ok(())
}
