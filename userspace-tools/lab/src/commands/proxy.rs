// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The demo's proxy: clients on the wire side, `l7proxy` in the guest, nginx on the wire side.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::libc::SIGTERM;

use super::{
    demo::{check, measure},
    workloads::owned,
};
use crate::{
    report::{offload, Client, Meter, Ready, Row, Said, Server},
    session::{Cmd, Driver, Process, Session},
    util::Layout,
};

/// Beginning of the names of the loads.
pub(super) const NAME: &str = "proxy-http";

/// The last one is none of the listener's: the proxy asks for it itself.
const SPLICE: &str = "splice";
const OFFLOADS: [&[&str]; 3] = [&[], &["setup", "teardown"], &["setup", "teardown", SPLICE]];

/// A body, and how many transactions prove something: large ones take their time.
struct Body {
    name: &'static str,
    size: &'static str,
    least: u64,
}

const BODIES: [Body; 3] = [
    Body {
        name: "proxy-http-64",
        size: "64",
        least: 500,
    },
    Body {
        name: "proxy-http-64k",
        size: "64K",
        least: 200,
    },
    Body {
        name: "proxy-http-1m",
        size: "1M",
        least: 50,
    },
];

/// The wire takes 5 ms for a frame. The guest's clock is many times slower than that of the wire side: without a delay an
/// answer, and the end of its connection, would be there before the guest has done anything else.
pub(super) const WIRE: &str = "delay=5";

/// Seconds that a client goes on at first.
const SECONDS: u32 = 8;
/// No load takes longer.
const LIMIT: Duration = Duration::from_secs(150);
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

const PORT: u16 = 8080;
/// On a port that no client is given: one in TIME-WAIT from an earlier row would keep it.
const NGINX: &str = r#"mkdir -p /tmp/www && cd /tmp/www &&
for size in 64 64K 1M; do head -c $size /dev/zero >$size || exit 1; done
cat >/tmp/nginx.conf <<'END' && echo ready && exec nginx -e stderr -c /tmp/nginx.conf
daemon off;
user root;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
    access_log off;
    sendfile on;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {
        listen 10.99.0.1:80 backlog=1024;
        root /tmp/www;
    }
}
END"#;

/// Boots a guest and runs all loads; rows are added as they are measured.
pub(super) fn serve(layout: &Layout, rows: &mut Vec<Row>) -> Result<()> {
    eprintln!("lab: boot a guest for the proxy ...");
    let session = Session::builder()
        .name("demo-proxy")
        .model_args(["--faults", WIRE])
        .count(true)
        .start(layout)?;
    let backend = backend(&session)?;
    let meter = Meter::new(&session, Driver::AccelTcp.name(), 1, true);
    for offloads in OFFLOADS {
        variant(&session, &meter, offloads, rows)?;
    }
    drop(backend);
    session.shutdown()
}

/// The web server that the proxy asks.
fn backend(session: &Session) -> Result<Process> {
    let mut process = session.wire().spawn(Cmd::from(NGINX).timeout(FOR_EVER))?;
    process.wait_for("ready")?;
    let listens = session.wire().run_ok(
        "for i in $(seq 1000); do ss -Hltn 'sport = :80' | grep -q . && exit 0; sleep 0.02; done; exit 1",
    );
    if listens.is_err() {
        process.signal(SIGTERM)?;
        bail!("nginx does not listen: {}", process.wait()?.stderr);
    }
    Ok(process)
}

fn variant(
    session: &Session,
    meter: &Meter<'_>,
    offloads: &[&str],
    rows: &mut Vec<Row>,
) -> Result<()> {
    let splices = offloads.contains(&SPLICE);
    let listener: Vec<&str> = offloads
        .iter()
        .copied()
        .filter(|name| *name != SPLICE)
        .collect();
    let mode = if splices { "splice" } else { "copy" };
    let line = format!(
        "exec /build/bin/l7proxy --quiet --mode {mode} --listen 0.0.0.0:{PORT} --offload '{}' \
         --backend 10.99.0.1:80",
        listener.join(",")
    );
    let said = Said::default();
    // It asks for offloads itself.
    let server = Server::start(session, &line, &[], Ready::Port(PORT), said.sink())?;
    if !listener.is_empty() {
        offload::wait_rule(session)?;
    }
    let mut transactions = 0;
    for Body { name, size, least } in &BODIES {
        eprintln!(
            "lab: {name} with {} ...",
            if offloads.is_empty() {
                "no offload".into()
            } else {
                offloads.join(", ")
            }
        );
        let wrk = |seconds: u32| {
            format!(
                "wrk -t 1 -c 16 -d {seconds} --timeout 60 -H 'Connection: close' http://10.99.0.2:{PORT}/{size}"
            )
        };
        let measured = measure(meter, *least, SECONDS, |seconds| Client {
            workload: (*name).into(),
            server: line.clone(),
            client: wrk(seconds),
            warm_up: Some(wrk(1)),
            offload: owned(offloads),
            transactions: None,
            timeout: LIMIT,
        })?;
        rows.push(measured.row.clone());
        check(&measured, *least).context(*name)?;
        transactions += measured.row.transactions.unwrap_or(0);
    }
    server.stop()?;
    let said = said.text();
    let spliced = said
        .lines()
        .find_map(|line| line.strip_prefix("spliced: ")?.parse::<u64>().ok());
    // Of small bodies some have come, and their connection is closed, before it can be spliced.
    ensure!(
        spliced.is_some_and(|spliced| if splices {
            2 * spliced >= transactions
        } else {
            spliced == 0
        }),
        "of {transactions} connections the card has relayed {spliced:?}: {said}"
    );
    Ok(())
}
