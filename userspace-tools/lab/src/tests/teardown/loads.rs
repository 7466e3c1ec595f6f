// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Loads of servers that know nothing of the card, and what another program says of their connections.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use nix::libc::{SIGINT, SIGTERM};

use super::{
    super::observe::{counter_until, statistic, PATIENCE},
    judge::{arguments, judge, Verdict},
    pair::{card_is_free, host_is_free},
    Context,
};
use crate::{
    commands::workloads::{Service, NGINX, REDIS_SHORT},
    report::{load, Ready, Server},
    session::{Cmd, Process, Session},
};

/// Address of the guest.
const SERVER: &str = "10.99.0.2";
/// Clients at a time, as in `lab demo`.
const PARALLEL: u64 = 32;
/// Connections of each server of the short test.
const SHORT: u64 = 2000;
/// Connections of the long ones.
const LONG: u64 = 50_000;
/// One connection of so many may wait for a retransmission, for nothing but this machine's being busy.
const BUSY: u64 = 10;
/// No load takes longer.
const LIMIT: Duration = Duration::from_secs(1800);
/// TIME-WAIT of the last connection, and some more.
const TIME_WAIT: Duration = Duration::from_secs(90);

/// A session of a test, and where programs of its wire side put the capture; it stays there when something is wrong.
struct Judged<'a> {
    session: &'a Session,
    file: String,
}

impl<'a> Judged<'a> {
    fn new(context: &Context<'_>, session: &'a Session) -> Self {
        Self {
            session,
            file: format!("/build/log/{}.pcap", context.name),
        }
    }
}

/// Both servers, and not for long.
pub(super) fn judged(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    redis(&Judged::new(context, &session), SHORT)?;
    nginx(&Judged::new(context, &session), SHORT)?;
    context.finish(session)
}

/// Many connections that the client closes first.
pub(super) fn long_redis(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    redis(&Judged::new(context, &session), LONG)?;
    context.finish(session)
}

/// Many connections that the server closes first. Then the card is in TIME-WAIT for most, and gets over it.
pub(super) fn long_nginx(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    nginx(&Judged::new(context, &session), LONG)?;
    let deadline = std::time::Instant::now() + TIME_WAIT;
    loop {
        let used = session.card(0)?.counter("nic.table.time_wait.used")?;
        if used == 0 {
            break;
        }
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        ensure!(
            !left.is_zero(),
            "{used} are in TIME-WAIT after {TIME_WAIT:?}"
        );
        std::thread::sleep(left.min(Duration::from_millis(200)));
    }
    let count = |name: &str| session.card(0)?.counter(&format!("nic.time_wait.{name}"));
    let (entered, over, reused) = (count("entered")?, count("over")?, count("reused")?);
    ensure!(
        entered != 0 && entered == over + reused,
        "of {entered} connections in TIME-WAIT {over} waited to the end, {reused} were opened again"
    );
    context.finish(session)
}

fn redis(on: &Judged<'_>, count: u64) -> Result<()> {
    let client = format!("redis-benchmark -h 10.99.0.2 -k 0 -c {PARALLEL} -t get -n {count} --csv");
    let run = |session: &Session| {
        let process = session.wire().spawn(Cmd::from(&client).timeout(LIMIT))?;
        finish(process, &client)
    };
    serve(on, REDIS_SHORT, count, run).context("redis")
}

/// wrk goes by time, not by number, and resets what is under way at the end: this script has it send so many requests,
/// and wait with idle connections then.
fn nginx(on: &Judged<'_>, count: u64) -> Result<()> {
    let script = format!(
        "cat > /tmp/count.lua <<'END'
local left, idle = {count}, 0
function delay()
    if left > 0 then
        left = left - 1
        return 0
    end
    idle = idle + 1
    if idle == {PARALLEL} then
        print('all is answered')
        io.flush()
    end
    return 3600000
end
END"
    );
    on.session.wire().run_ok(script)?;
    let client = format!(
        "exec wrk -t 1 -c {PARALLEL} -d 3600 --timeout 60 -s /tmp/count.lua \
         -H 'Connection: close' http://10.99.0.2:8080/"
    );
    let run = |session: &Session| {
        let mut process = session.wire().spawn(Cmd::from(&client).timeout(LIMIT))?;
        process.wait_for("all is answered")?;
        process.signal(SIGINT)?;
        finish(process, &client)
    };
    serve(on, NGINX, count, run).context("nginx")
}

/// Transactions and errors of a load generator that has ended.
fn finish(process: Process, client: &str) -> Result<(u64, u64)> {
    let output = process.wait()?;
    ensure!(output.status.success(), "{client}: {}", output.status);
    let load = load::parse(client, &output.stdout, &output.stderr)
        .with_context(|| format!("{client}: {}{}", output.stdout, output.stderr))?;
    let both = load.transactions.zip(load.errors);
    both.with_context(|| format!("{client}: {}", output.stdout))
}

/// Serves a load, and judges it.
fn serve(
    on: &Judged<'_>,
    service: Service,
    count: u64,
    run: impl Fn(&Session) -> Result<(u64, u64)>,
) -> Result<()> {
    let session = on.session;
    let offload = ["setup", "teardown"].map(String::from);
    let ready = Ready::Port(service.port);
    let server = Server::start(session, service.server, &offload, ready, |_| ())?;
    let card = session.card(0)?;
    let before = card.counters()?;
    let handed_over = statistic(session, "teardown_handed_over")?;
    let late = dropped(session)?;
    let capture = capture(on, service.port)?;
    let watch = watch(session)?;

    let (transactions, errors) = run(session)?;
    ensure!(
        (transactions, errors) == (count, 0),
        "{transactions} transactions, {errors} errors"
    );
    card_is_free(session)?;
    host_is_free(session)?;
    host_was_free(session, watch)?;
    end_capture(capture)?;
    server.stop()?;

    let verdict = look(on)?;
    let mut taken = 0;
    for (name, value) in card.counters()? {
        let count = value.saturating_sub(before.get(&name).copied().unwrap_or(0));
        if name == "nic.teardown.taken" {
            taken = count;
        }
        if count != 0
            && (name.contains("teardown") || name.contains("time_wait") || name.contains("drop"))
        {
            eprintln!("{name}: {count}");
        }
    }
    let handed_over = statistic(session, "teardown_handed_over")? - handed_over;
    let late = dropped(session)? - late;
    eprintln!(
        "{} connections, {} answered, {} given up, {} with something sent again, {} overtaken",
        verdict.connections, verdict.answered, verdict.given_up, verdict.again, verdict.overtaken
    );
    ensure!(
        verdict.wrong.is_empty(),
        "{} times something was wrong: {}",
        verdict.wrong.len(),
        verdict.wrong[..verdict.wrong.len().min(8)].join("; ")
    );
    let Verdict {
        connections,
        answered,
        given_up,
        ..
    } = verdict;
    ensure!(answered >= count, "only {answered} connections");
    ensure!(given_up <= PARALLEL, "{given_up} clients gave up");
    ensure!(
        (taken, handed_over) == (connections, connections),
        "of {connections} connections the card has ended {taken}, the host has handed over {handed_over}"
    );
    let most = late + connections / BUSY;
    ensure!(
        verdict.again <= most,
        "in {} connections something was sent again, {late} frames have come to the host too late",
        verdict.again
    );
    ensure!(
        verdict.overtaken == 0,
        "in {} connections the card has overtaken the host",
        verdict.overtaken
    );
    session.wire().run_ok(format!("rm {}", on.file))?;
    counter_until(session, "nic.table.listeners.used", |used| used == 0)
}

/// Frames that came when the host had given their connection away, or did just that.
fn dropped(session: &Session) -> Result<u64> {
    Ok(statistic(session, "teardown_late")? + statistic(session, "teardown_backlog")?)
}

/// Captures what is on the wire, as its other end sees it.
fn capture(on: &Judged<'_>, port: u16) -> Result<Process> {
    let line = format!(
        "exec tcpdump -Z root -n -i wire0 --immediate-mode -s 128 -B 65536 -w {} tcp port {port} 2>&1",
        on.file
    );
    let mut capture = on.session.wire().spawn(line)?;
    capture.wait_for("listening on")?;
    Ok(capture)
}

/// The capture is whole.
fn end_capture(capture: Process) -> Result<()> {
    capture.signal(SIGINT)?;
    let said = capture.wait_ok()?;
    let number = |what: &str| {
        let line = said.lines().find(|line| line.ends_with(what));
        let word = line.and_then(|line| line.split(' ').next());
        word.and_then(|word| word.parse::<u64>().ok())
            .with_context(|| format!("tcpdump: {said}"))
    };
    let captured = number("captured")?;
    ensure!(
        captured == number("received by filter")? && number("dropped by kernel")? == 0,
        "the capture is not whole: {said}"
    );
    Ok(())
}

fn look(on: &Judged<'_>) -> Result<Verdict> {
    let text = on
        .session
        .wire()
        .run_ok(Cmd::new(arguments(&on.file)).timeout(LIMIT))?;
    judge(&text, SERVER)
}

/// Looks at the guest's sockets all the time.
fn watch(session: &Session) -> Result<Process> {
    session
        .guest()
        .spawn("while :; do cat /proc/net/sockstat; sleep 0.3; done")
}

/// No orphan and no TIME-WAIT was ever seen, and of those that nobody saw the stack has not counted the end.
fn host_was_free(session: &Session, watch: Process) -> Result<()> {
    watch.signal(SIGTERM)?;
    let seen = watch.limit(PATIENCE).wait()?.stdout;
    let mut looks = 0;
    for line in seen.lines().filter(|line| line.starts_with("TCP: ")) {
        ensure!(line.contains(" orphan 0 tw 0 "), "{line}");
        looks += 1;
    }
    ensure!(looks != 0, "nobody has looked");
    let ended = session
        .guest()
        .run_ok("nstat -asz TcpExtTW TcpExtTWRecycled TcpExtTWKilled")?;
    let counts: Vec<&str> = ended
        .lines()
        .filter(|line| line.starts_with("TcpExt"))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    ensure!(counts == ["0"; 3], "{ended}");
    Ok(())
}
