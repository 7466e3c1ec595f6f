// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab bench profile`.

use anyhow::{bail, Context, Result};

use super::{
    super::{
        options::{offloads, Offloads},
        workloads::{all, Load, Service, SECONDS},
    },
    check, offload_name,
};
use crate::{
    report::{
        profile::{tables, Functions, Symbols},
        Measured, Meter, Ready, Server,
    },
    session::{Driver, Session},
    util::Layout,
};

/// Prints the functions of the guest's kernel; a fraction of what the file has.
pub(super) const SYMBOLS: &str = "grep -i ' [tw] ' /proc/kallsyms";

/// Arguments of `lab bench profile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Loads, such as redis-short or nginx-close
    #[arg(value_name = "LOAD", value_parser = load, default_values = ["redis-short", "nginx-close"])]
    loads: Vec<Named>,
    /// Offloads that the guest's listeners ask for; several times for columns side by side
    #[arg(long, value_name = "LIST", value_parser = offloads,
          default_values = ["", "setup,defer,teardown"])]
    offload: Vec<Offloads>,
    /// How many functions to print
    #[arg(long, default_value_t = 40, value_name = "N")]
    top: usize,
}

/// A load that was named, and its service.
#[derive(Clone, Copy, Debug)]
struct Named {
    service: &'static Service,
    load: &'static Load,
}

fn load(name: &str) -> Result<Named> {
    match all().find(|(_, load)| load.name == name) {
        Some((service, load)) => Ok(Named { service, load }),
        None => {
            let names: Vec<_> = all().map(|(_, load)| load.name).collect();
            bail!("known are {}", names.join(", "))
        }
    }
}

/// Runs the loads with all offloads in one guest and prints where its kernel's instructions went.
pub(super) fn run(args: &Args, layout: &Layout) -> Result<()> {
    eprintln!("lab: boot the guest ...");
    let session = Session::builder()
        .name("bench-profile")
        .driver(Driver::AccelTcp)
        .profile(true)
        .start(layout)?;
    session.wait_reachable()?;
    for named in &args.loads {
        let mut measured = Vec::new();
        for Offloads(offload) in &args.offload {
            let name = offload_name(offload);
            eprintln!("lab: {}: {name} ...", named.load.name);
            let one = measure(&session, *named, offload)
                .with_context(|| format!("{}, {name}", named.load.name))?;
            measured.push((name, one));
        }
        // After the loads: by then all modules are there that they need.
        let symbols = Symbols::parse(&session.guest().run_ok(SYMBOLS)?)?;
        let mut columns = Vec::new();
        for (name, Measured { row, profile, .. }) in &measured {
            let blocks = profile.as_ref().context("no profile")?;
            let transactions = row.transactions.context("no transactions")?;
            let net = row.kernel_insns_per_tx;
            columns.push(Functions::new(name, blocks, &symbols, transactions, net));
        }
        println!("{}\n\n{}\n", named.load.name, tables(&columns, args.top));
    }
    session.shutdown()
}

/// Runs one load.
fn measure(session: &Session, named: Named, offload: &[String]) -> Result<Measured> {
    let Named { service, load } = named;
    let ready = Ready::Port(service.port);
    let server = Server::start(session, service.server, offload, ready, |_| ())?;
    let meter = Meter::new(session, Driver::AccelTcp.name(), 1, true);
    let names: Vec<_> = offload.iter().map(String::as_str).collect();
    let measured = meter.measure(&service.client(load, &names, SECONDS), |_| ())?;
    check(load, &measured)?;
    server.stop()?;
    Ok(measured)
}
