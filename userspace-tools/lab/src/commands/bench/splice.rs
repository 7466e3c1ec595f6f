// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab bench splice`: what an established connection through a proxy costs, whoever relays.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use comfy_table::{presets, Cell, CellAlignment, Table};

use super::{
    profile::SYMBOLS,
    relay::{Relay, Traffic},
    BenchArgs,
};
use crate::{
    report::{
        grouped, median,
        profile::{tables, Functions, Symbols},
        Client, Load, Machine, Meter, Profiled, Ready, Report, Row, Said, Server,
    },
    session::{Driver, Session},
    setup::haproxy,
    util::Layout,
};

/// Arguments of `lab bench splice`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    bench: BenchArgs,
    /// Print the functions of the guest's kernel that cost most, so many of them, too
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

/// What a span with traffic has left.
struct Done {
    row: Row,
    profile: Option<Profiled>,
}

/// Who relays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// haproxy, with this option.
    Haproxy(&'static str),
    /// The kernel, for `sockmap-proxy`.
    Sockmap,
}

/// With their names; the first one is the yardstick.
const MODES: [(&str, Mode); 4] = [
    ("copy", Mode::Haproxy("")),
    ("splice-auto", Mode::Haproxy("option splice-auto")),
    ("sockmap", Mode::Sockmap),
    ("splice-nic", Mode::Haproxy(SPLICE_NIC)),
];
const SPLICE_NIC: &str = "option splice-nic";

/// Of the proxy, and of the server.
const PORT: u16 = 5200;
const SERVER: u16 = 5201;
/// Its command line interface.
const SOCKET: &str = "/tmp/haproxy-bench.sock";

/// Each is measured for so long, all alike, the idle guest first.
const TRAFFIC: [Traffic; 3] = [Traffic::Idle, Traffic::Up, Traffic::Down];
const TIME: Duration = Duration::from_secs(5);
/// Before that, each way: windows have grown then, and haproxy has seen that splicing is worth it.
const WARM_UP: Duration = Duration::from_secs(1);
/// For the card to relay, and between two looks.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// All modes in one guest, in turns.
pub(super) fn run(args: &Args, layout: &Layout) -> Result<()> {
    let Args { bench, top } = args;
    let mut report = Report::new(layout, Machine::this(false))?;
    eprintln!("lab: boot the guest ...");
    let session = Session::builder()
        .name("bench-splice")
        .count(true)
        .profile(top.is_some())
        .start(layout)?;
    session.wait_reachable()?;
    let meter = Meter::new(&session, Driver::AccelTcp.name(), 1, true);
    let mut last = Vec::new();
    for round in 1..=bench.repeat {
        last.clear();
        for (name, mode) in MODES {
            eprintln!("lab: round {round} of {}: {name} ...", bench.repeat);
            let done = measure(&session, &meter, name, mode)
                .with_context(|| format!("round {round}, {name}"))?;
            report.rows.extend(done.iter().map(|done| done.row.clone()));
            last.extend(done);
        }
    }
    if let Some(top) = *top {
        functions(&session, &last, top)?;
    }
    session.shutdown()?;
    let default = layout.report().join("bench-splice.json");
    let path = bench.json.as_deref().unwrap_or(&default);
    report.write(path)?;
    println!("{}", table(&report.rows));
    println!("A megabyte's instructions are without those of the idle guest; a second's are all. Medians, least and most.");
    println!("All rows: {}", path.display());
    Ok(())
}

/// Where the instructions of the last round went.
fn functions(session: &Session, last: &[Done], top: usize) -> Result<()> {
    let symbols = Symbols::parse(&session.guest().run_ok(SYMBOLS)?)?;
    for traffic in [Traffic::Up, Traffic::Down] {
        let mut columns = Vec::new();
        for Done { row, profile } in last {
            let (Some(blocks), Some(megabytes)) = (profile, row.transactions) else {
                continue;
            };
            if row.workload == traffic.name() && megabytes > 0 {
                let (name, net) = (row.offload.concat(), row.kernel_insns_per_tx);
                columns.push(Functions::new(&name, blocks, &symbols, megabytes, net));
            }
        }
        println!("{}\n\n{}\n", traffic.name(), tables(&columns, top));
    }
    Ok(())
}

/// One mode, once; all is measured behind the beginning of the connection and before its end.
fn measure(session: &Session, meter: &Meter<'_>, name: &str, mode: Mode) -> Result<Vec<Done>> {
    let said = Said::default();
    let server = Server::start(
        session,
        &mode.command(),
        &[],
        Ready::Port(PORT),
        said.sink(),
    )?;
    let mut relay = Relay::open(session, PORT, SERVER)?;
    mode.wait_spliced(session)?;
    for traffic in [Traffic::Up, Traffic::Down] {
        relay.run(traffic, WARM_UP).context("warm up")?;
    }
    mode.check_before(session)?;
    let (mut idle, mut all) = (None, Vec::new());
    for traffic in TRAFFIC {
        let (bytes, span) = meter.span(|| relay.run(traffic, TIME))?;
        let megabytes = bytes / 1_000_000;
        let client = Client {
            workload: traffic.name().into(),
            server: mode.command(),
            client: format!("relay.py, {} {}", traffic.name(), TIME.as_secs()),
            warm_up: None,
            offload: vec![name.into()],
            transactions: (traffic != Traffic::Idle).then_some(megabytes),
            timeout: TIME,
        };
        let load = Load {
            errors: Some(0),
            ..Load::default()
        };
        let rates = idle.as_ref().unwrap_or(&span);
        all.push(Done {
            row: meter.row_of(&client, load, &span, rates),
            profile: span.profile(),
        });
        idle.get_or_insert(span);
    }
    relay.close()?;
    server.stop()?;
    mode.check_after(&said.text())?;
    Ok(all)
}

impl Mode {
    fn command(self) -> String {
        match self {
            Self::Haproxy(option) => format!(
                "cat >/tmp/haproxy-bench.cfg <<'END' && exec /build/bin/haproxy -db -f /tmp/haproxy-bench.cfg
global
    stats socket {SOCKET}
listen bench
    mode tcp
    {option}
    timeout connect 30s
    timeout client 10m
    timeout server 10m
    bind 10.99.0.2:{PORT}
    server s 10.99.0.1:{SERVER}
END"
            ),
            Self::Sockmap => format!(
                "exec /build/bin/sockmap-proxy --listen 10.99.0.2:{PORT} --backend 10.99.0.1:{SERVER}"
            ),
        }
    }

    /// Waits until the card relays, if it is to: data under way would put that off.
    fn wait_spliced(self, session: &Session) -> Result<()> {
        if self != Self::Haproxy(SPLICE_NIC) {
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        while spliced(session)? != Some(1) {
            ensure!(Instant::now() < end, "the card does not relay");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// What was not to be relayed by the card was not, and the other way round.
    fn check_before(self, session: &Session) -> Result<()> {
        let Self::Haproxy(option) = self else {
            return Ok(());
        };
        let spliced = spliced(session)?;
        ensure!(
            spliced == Some(u64::from(option == SPLICE_NIC)),
            "the card has relayed {spliced:?} connections"
        );
        Ok(())
    }

    /// What was to be redirected was.
    fn check_after(self, said: &str) -> Result<()> {
        let has = |line: &str| said.lines().any(|one| one == line);
        ensure!(
            self != Self::Sockmap
                || has("redirected: 1") && has("copied bytes: 0") && has("failed: 0"),
            "the proxy says: {said}"
        );
        Ok(())
    }
}

/// How many connections haproxy has had the card splice.
fn spliced(session: &Session) -> Result<Option<u64>> {
    let said = session.guest().run_ok(format!(
        "echo 'show activity' | socat -t 30 - UNIX-CONNECT:{SOCKET}"
    ))?;
    Ok(haproxy::activity(&said, "nic_spliced"))
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "traffic",
        "relayed by",
        "n",
        "kernel insns/MB",
        "/ copy",
        "kernel insns/s",
        "DMA bytes/MB",
    ]);
    for traffic in [Traffic::Up, Traffic::Down, Traffic::Idle] {
        let mut yardstick = None;
        for (name, _) in MODES {
            let mine: Vec<_> = rows
                .iter()
                .filter(|row| row.workload == traffic.name() && row.offload == [name])
                .collect();
            let values = |pick: fn(&Row) -> Option<f64>| -> Vec<f64> {
                mine.iter().copied().filter_map(pick).collect()
            };
            let per_tx = values(|row| row.kernel_insns_per_tx);
            let per_s = values(|row| row.kernel_insns_per_s);
            let dma =
                values(|row| Some(row.nic.rx_dma_bytes_per_tx? + row.nic.tx_dma_bytes_per_tx?));
            let middle = median(per_tx.iter().copied());
            yardstick = yardstick.or(middle);
            let ratio = middle
                .zip(yardstick)
                .map_or("-".into(), |(one, copy)| format!("{:.3}", one / copy));
            let numbers = [
                mine.len().to_string(),
                spread(&per_tx),
                ratio,
                spread(&per_s),
                spread(&dma),
            ];
            let numbers = numbers.map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
            table.add_row(
                [traffic.name(), name]
                    .map(Cell::new)
                    .into_iter()
                    .chain(numbers),
            );
        }
    }
    table.to_string()
}

/// Median, least and most.
fn spread(values: &[f64]) -> String {
    let all = || values.iter().copied();
    let (Some(middle), Some(least), Some(most)) = (
        median(all()),
        all().min_by(f64::total_cmp),
        all().max_by(f64::total_cmp),
    ) else {
        return "-".into();
    };
    let [middle, least, most] = [middle, least, most].map(signed);
    format!("{middle} ({least} .. {most})")
}

fn signed(value: f64) -> String {
    let rounded = value.round();
    let digits = grouped(rounded.abs() as u64);
    if rounded < 0.0 {
        format!("-{digits}")
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_may_be_below_zero() {
        assert_eq!(spread(&[-1200.4, 3.0, -5.0]), "-5 (-1,200 .. 3)");
        assert_eq!(spread(&[-0.2]), "0 (0 .. 0)");
        assert_eq!(spread(&[]), "-");
    }
}
