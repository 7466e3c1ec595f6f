// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab demo`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{ensure, Context, Result};

use super::{
    proxy,
    workloads::{owned, Service, NGINX, REDIS, REDIS_SHORT, SECONDS},
};
use crate::{
    build,
    report::{table, Client, Machine, Measured, Meter, Ready, Report, Row, Server},
    session::{self, Driver, Entered, Session},
    util::Layout,
};

/// Fewer transactions than this prove nothing.
const MIN_TRANSACTIONS: u64 = 500;

/// No client goes on for more seconds.
const MAX_SECONDS: u32 = 96;

/// The card's counter of SYNs that it has answered itself.
const ANSWERED: &str = "nic.syn.answered";

/// The card's counter of connections that it was given to end them.
const TAKEN: &str = "nic.teardown.taken";

/// What a guest of the demo serves.
struct Variant {
    offload: &'static [&'static str],
    service: Service,
}

/// The stack on its own.
const PLAIN: Variant = Variant {
    offload: &[],
    service: REDIS,
};

/// What is compared: a guest for each driver, in which the variants follow each other.
const GUESTS: &[(Driver, &[Variant])] = &[
    (Driver::Nfp, &[PLAIN]),
    (
        Driver::AccelTcp,
        &[
            PLAIN,
            Variant {
                offload: &["setup"],
                service: REDIS_SHORT,
            },
            Variant {
                offload: &["setup", "defer"],
                service: REDIS_SHORT,
            },
            Variant {
                offload: &["setup", "teardown"],
                service: REDIS_SHORT,
            },
            Variant {
                offload: &["setup", "defer", "teardown"],
                service: REDIS_SHORT,
            },
            Variant {
                offload: &[],
                service: NGINX,
            },
            Variant {
                offload: &["setup", "teardown"],
                service: NGINX,
            },
            Variant {
                offload: &["setup", "defer", "teardown"],
                service: NGINX,
            },
        ],
    ),
];

/// Arguments of `lab demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write the rows; build/report/demo.json without
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this driver
    #[arg(long, value_enum)]
    driver: Option<Driver>,
    /// Only loads whose names begin so
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    load: String,
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
    let mut report = Report::new(layout, Machine::this(false))?;
    let mut failed = false;
    for (driver, variants) in GUESTS {
        if args.driver.is_some_and(|only| only != *driver) {
            continue;
        }
        let wanted = |variant: &Variant| names(&variant.service).any(|name| args.wants(name));
        if !variants.iter().any(wanted) {
            continue;
        }
        let outcome = serve(*driver, variants, args, layout, &mut report.rows);
        failed |= is_told(outcome.with_context(|| format!("driver {}", driver.name())));
    }
    if args.driver.is_none_or(|only| only == Driver::AccelTcp) && args.wants(proxy::NAME) {
        let outcome = proxy::serve(layout, &mut report.rows);
        failed |= is_told(outcome.context(proxy::NAME));
    }
    let path = match &args.json {
        Some(path) => path.clone(),
        None => layout.report().join("demo.json"),
    };
    report.write(&path)?;
    println!("{}", table(&report.rows));
    if report
        .rows
        .iter()
        .any(|row| row.workload.starts_with(proxy::NAME))
    {
        println!(
            "{}: the wire has {}, in milliseconds.",
            proxy::NAME,
            proxy::WIRE
        );
    }
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

impl Args {
    fn wants(&self, load: &str) -> bool {
        load.starts_with(&self.load)
    }
}

fn names(service: &Service) -> impl Iterator<Item = &'static str> {
    service.loads.iter().map(|load| load.name)
}

/// Tells an error; whether there was one.
fn is_told(outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        eprintln!("lab: {error:#}");
    }
    outcome.is_err()
}

/// Boots a guest and runs all loads; rows are added as they are measured.
fn serve(
    driver: Driver,
    variants: &[Variant],
    args: &Args,
    layout: &Layout,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let name = driver.name();
    eprintln!("lab: boot a guest with driver {name} ...");
    let session = Session::builder()
        .name(&format!("demo-{name}"))
        .driver(driver)
        .count(true)
        .start(layout)?;
    session.wait_reachable()?;
    let meter = Meter::new(&session, name, 1, true);
    for Variant { offload, service } in variants {
        if !names(service).any(|name| args.wants(name)) {
            continue;
        }
        let ready = Ready::Port(service.port);
        let server = Server::start(&session, service.server, &owned(offload), ready, |_| ())?;
        for load in service.loads.iter().filter(|load| args.wants(load.name)) {
            let with = match offload {
                [] => String::new(),
                names => format!(" with {}", names.join(", ")),
            };
            eprintln!("lab: {} over {name}{with} ...", load.name);
            let answered = session.card(0)?.counter(ANSWERED)?;
            let taken = session.card(0)?.counter(TAKEN)?;
            let measured = measure(&meter, MIN_TRANSACTIONS, SECONDS, |seconds| {
                service.client(load, offload, seconds)
            })?;
            rows.push(measured.row.clone());
            check(&measured, MIN_TRANSACTIONS).with_context(|| load.name)?;
            let answered = session.card(0)?.counter(ANSWERED)? - answered;
            ensure!(
                offload.is_empty() || Some(answered) >= measured.row.transactions,
                "{}: the card has set up only {answered} connections",
                load.name
            );
            let taken = session.card(0)?.counter(TAKEN)? - taken;
            ensure!(
                !offload.contains(&"teardown") || Some(taken) >= measured.row.transactions,
                "{}: the card has ended only {taken} connections",
                load.name
            );
        }
        server.stop()?;
    }
    session.shutdown()
}

/// Measures a client that goes on for seconds: for twice as many as before, until it is served at least so many
/// transactions. A busy machine needs longer for them.
pub(super) fn measure(
    meter: &Meter<'_>,
    least: u64,
    mut seconds: u32,
    client: impl Fn(u32) -> Client,
) -> Result<Measured> {
    loop {
        let measured = meter.measure(&client(seconds), |_| ())?;
        let enough = measured.row.transactions >= Some(least);
        if enough || !measured.output.status.success() || 2 * seconds > MAX_SECONDS {
            return Ok(measured);
        }
        seconds *= 2;
    }
}

/// A load that failed in part is no measurement.
pub(super) fn check(measured: &Measured, least: u64) -> Result<()> {
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
        row.errors == Some(0) && row.transactions >= Some(least),
        "{:?} transactions with {:?} errors\n{}{}",
        row.transactions,
        row.errors,
        output.stdout,
        output.stderr
    );
    Ok(())
}
