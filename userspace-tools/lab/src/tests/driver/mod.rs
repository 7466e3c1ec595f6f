// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What every driver of the card must pass: the unmodified upstream one, which judges the card by
//! it, and this project's.

mod control;
mod faults;
mod probe;
mod traffic;

use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};

use super::{Context, LabTest};
use crate::session::{Cmd, Driver, Session};

/// One test for every driver.
struct Case {
    name: &'static str,
    about: &'static str,
    /// Seconds; several times what it takes on a small machine without KVM.
    limit: u64,
    run: fn(&Context<'_>) -> Result<()>,
}

const CASES: &[Case] = &[
    Case {
        name: "bind",
        about: "the driver binds to the card, has a link and tests itself",
        limit: 180,
        run: probe::bind,
    },
    Case {
        name: "ping",
        about: "packets of all sizes, both ways, IPv4 and IPv6",
        limit: 180,
        run: traffic::ping,
    },
    Case {
        name: "transfer",
        about: "every byte arrives as it was sent, with and without the card's offloads",
        limit: 300,
        run: traffic::transfer,
    },
    Case {
        name: "iperf3",
        about: "TCP and UDP streams both ways, and the card cuts large segments",
        limit: 300,
        run: traffic::iperf3,
    },
    Case {
        name: "queues",
        about: "several queue pairs on two vCPUs, and the card spreads connections over them",
        limit: 300,
        run: traffic::queues,
    },
    Case {
        name: "down-up",
        about: "the interface goes down and up again and again, also with traffic running",
        limit: 300,
        run: control::down_up,
    },
    Case {
        name: "carrier",
        about: "the driver follows the link of the wire",
        limit: 180,
        run: control::carrier,
    },
    Case {
        name: "rings",
        about: "rings of other sizes",
        limit: 300,
        run: control::rings,
    },
    Case {
        name: "address",
        about: "another MAC address and another MTU",
        limit: 180,
        run: control::address,
    },
    Case {
        name: "reload",
        about: "the module is unloaded and loaded again, and leaves nothing behind",
        limit: 300,
        run: probe::reload,
    },
    Case {
        name: "flr",
        about: "the card works after a function level reset",
        limit: 180,
        run: probe::flr,
    },
    Case {
        name: "two-cards",
        about: "two cards in one guest",
        limit: 180,
        run: probe::two_cards,
    },
    Case {
        name: "bad-wire",
        about: "loss, reordering, duplication and corruption on the wire harm no byte",
        limit: 300,
        run: faults::bad_wire,
    },
];

/// The cases for every driver.
pub(super) fn tests() -> Vec<LabTest> {
    [(Driver::Nfp, "upstream-nfp"), (Driver::AccelTcp, "driver")]
        .into_iter()
        .flat_map(|(driver, prefix)| {
            CASES.iter().map(move |case| LabTest {
                name: format!("{prefix}-{}", case.name),
                about: case.about,
                limit: Duration::from_secs(case.limit),
                driver,
                // These have guests of another kind.
                shares: !matches!(case.name, "queues" | "two-cards"),
                run: case.run,
            })
        })
        .collect()
}

/// Time for the ends of a transfer that itself has no limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a transfer goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    ToGuest,
    ToWire,
}

/// Sends echo requests of `size` bytes, all of which must be answered.
fn ping(session: &Session, way: Way, target: &str, size: u32) -> Result<()> {
    // One by one: behind its first answer, ping waits for the others no longer than two round trips.
    let line =
        format!("for i in 1 2 3; do ping -n -c 1 -W 10 -M do -s {size} {target} || exit 1; done");
    match way {
        Way::ToGuest => session.wire().run_ok(&line)?,
        Way::ToWire => session.guest().run_ok(&line)?,
    };
    Ok(())
}

/// The first card answers, both ways. Packets may be lost: under a flood, the kernel drops some
/// while it resolves a neighbour's address; and where it has not found one shortly before, ping ends early.
pub(super) fn alive(session: &Session) -> Result<()> {
    let line = |target| {
        format!(
            "for i in $(seq 29); do ping -n -q -c 5 -i 0.02 -w 30 {target} && exit 0; done
             ping -n -q -c 5 -i 0.02 -w 30 {target}"
        )
    };
    session.wire().run_ok(line("10.99.0.2"))?;
    session.guest().run_ok(line("10.99.0.1"))?;
    Ok(())
}

/// Sends `megabytes` of random bytes through a TCP connection and compares the hashes of both
/// ends.
fn transfer(session: &Session, way: Way, host: &str, megabytes: u32) -> Result<()> {
    const PORT: u16 = 7000;
    // The receiver's shell ends with the connection; the hash is its output.
    let receive = format!("socat -u TCP-LISTEN:{PORT},reuseaddr,pf=ip6,ipv6only=0 STDOUT | md5sum");
    let send = format!(
        "head -c {megabytes}M /dev/urandom > /tmp/sent && socat -u FILE:/tmp/sent TCP:{host}:{PORT} \
         && md5sum < /tmp/sent && rm /tmp/sent"
    );
    let receive = Cmd::from(receive).timeout(PATIENCE);
    let send = Cmd::from(send).timeout(PATIENCE);
    let (receiver, sent) = match way {
        Way::ToGuest => {
            let receiver = session.guest().spawn(receive)?;
            session.guest().wait_listening(PORT, PATIENCE)?;
            (receiver, session.wire().run_ok(send)?)
        }
        Way::ToWire => {
            let receiver = session.wire().spawn(receive)?;
            wait_wire_listening(session, PORT)?;
            (receiver, session.guest().run_ok(send)?)
        }
    };
    let received = receiver.wait_ok()?;
    ensure!(
        sent == received,
        "{way:?} {host}: other bytes arrived than were sent: {} and {}",
        received.trim(),
        sent.trim()
    );
    Ok(())
}

/// Waits until a port listens on the wire side.
fn wait_wire_listening(session: &Session, port: u16) -> Result<()> {
    let line = format!(
        "for i in $(seq 500); do ss -Hltn 'sport = :{port}' | grep -q . && exit 0; sleep 0.02; done; exit 1"
    );
    session
        .wire()
        .run_ok(&line)
        .map(drop)
        .with_context(|| format!("nobody listens on port {port} of the wire side"))
}

/// What of a driver is there, one thing a line: interfaces, interrupts, binding, module.
pub(super) fn left_behind(session: &Session) -> Result<String> {
    const PRESENT: &str = "ls /sys/class/net | grep -v -x lo; \
                           grep -E 'nfp|nic0|acceltcp' /proc/interrupts; \
                           ls -d /sys/bus/pci/drivers/nfp* /sys/bus/pci/drivers/acceltcp*; \
                           grep -E '^(nfp|acceltcp) ' /proc/modules; true";
    session.guest().run_ok(PRESENT)
}

/// Interrupts of the first card so far, one number a vector.
fn interrupts(session: &Session) -> Result<Vec<u64>> {
    let line = "cd /sys/class/net/nic0/device/msi_irqs && for irq in $(ls | sort -n); do \
                grep \"^ *$irq:\" /proc/interrupts || echo \"$irq: 0\"; done";
    let text = session.guest().run_ok(line)?;
    let counts: Vec<u64> = text
        .lines()
        .map(|line| {
            line.split_whitespace()
                .skip(1)
                .map_while(|word| word.parse::<u64>().ok())
                .sum()
        })
        .collect();
    if counts.is_empty() {
        bail!("the card has no interrupts");
    }
    Ok(counts)
}
