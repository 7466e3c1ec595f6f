// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What this project's driver must survive: cards that die, forget or lie, and being unloaded while
//! the wire is busy.

use std::time::{Duration, Instant};

use anyhow::{ensure, Context as _, Result};

use super::{
    driver::alive,
    observe::{guest_until, statistic, statistic_until, PATIENCE},
    Context, LabTest, LONG,
};
use crate::session::{Action, Cmd, Process, Session};

/// The tests of this file.
pub(super) fn tests() -> Vec<LabTest> {
    let case =
        |name: &str, about, limit, run| LabTest::ours(format!("driver-{name}"), about, limit, run);
    vec![
        case(
            "reload-again",
            "the module is unloaded and loaded again and again under traffic and leaves nothing behind",
            240,
            |context| reload(context, 4, 20),
        ),
        LabTest::ours(
            format!("{LONG}driver-reload"),
            "the same 100 times, with a finer look at what is left",
            420,
            |context| reload(context, 10, 90),
        ),
        case(
            "flr-traffic",
            "a function level reset under traffic: the datapath comes back by itself",
            180,
            flr_traffic,
        ),
        case(
            "card-death",
            "the firmware dies under traffic: a message, no hang, and recovery when it is back",
            240,
            card_death,
        ),
        case(
            "card-reset",
            "the card loses all state under traffic: the datapath comes back by itself",
            180,
            card_reset,
        ),
        case(
            "stall",
            "a TX queue that stands still: the watchdog tells, and traffic goes on when the card does",
            240,
            stall,
        ),
        case(
            "unload-dead",
            "the module can be unloaded while the card is dead",
            180,
            unload_dead,
        ),
        case(
            "hostile-card",
            "a minute of random descriptors, pointers and interrupts breaks nothing",
            300,
            hostile_card,
        ),
        case(
            "vlan",
            "tagged frames of all sizes pass, with checksums and segmentation by the card",
            300,
            vlan,
        ),
        case(
            "plain-card",
            "a card without AccelTCP is a plain NIC, and says so",
            120,
            plain_card,
        ),
    ]
}

/// Floods the guest with echo requests until dropped.
fn flood(session: &Session) -> Result<Process> {
    session
        .wire()
        .spawn(Cmd::from("ping -q -n -f -s 1000 10.99.0.2").timeout(Duration::from_secs(400)))
}

fn wait_carrier(session: &Session, up: bool) -> Result<()> {
    let line = format!(
        "for i in $(seq 50); do [ \"$(cat /sys/class/net/nic0/carrier)\" = {} ] && exit 0; sleep 0.02; done; exit 1",
        u8::from(up)
    );
    guest_until(session, &format!("carrier {up}"), &line)
}

/// Memory and objects of the kernel that a driver which leaks would take more and more of.
fn unreclaimable_kb(session: &Session) -> Result<u64> {
    let line = "echo 3 > /proc/sys/vm/drop_caches; \
                awk '/^(SUnreclaim|Percpu|KernelStack):/ { sum += $2 } END { print sum }' /proc/meminfo";
    let text = session.guest().run_ok(line)?;
    text.trim().parse().context("/proc/meminfo")
}

/// Unloads and loads the module as often as told, and takes the interface up with its address each time.
/// One process for all, as starting programs is what takes time in the guest.
const RELOAD: &str = r#"
import ctypes, fcntl, os, socket, struct, sys

DELETE_MODULE, FINIT_MODULE = 176, 313
SIOCSIFNAME, SIOCSIFADDR, SIOCSIFFLAGS = 0x8923, 0x8916, 0x8914
IFF_UP, O_NONBLOCK = 1, 0o4000
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def check(what, result):
    if result < 0:
        sys.exit(f"round {number}: {what}: {os.strerror(ctypes.get_errno())}")

for number in range(int(sys.argv[1])):
    check("delete_module", libc.syscall(DELETE_MODULE, b"acceltcp", O_NONBLOCK))
    if set(os.listdir("/sys/class/net")) != {"lo"}:
        sys.exit(f"round {number}: interfaces left")
    if "acceltcp" in open("/proc/interrupts").read():
        sys.exit(f"round {number}: interrupts left")
    module = os.open("/build/module/acceltcp.ko", os.O_RDONLY)
    check("finit_module", libc.syscall(FINIT_MODULE, module, b"", 0))
    os.close(module)
    name, = set(os.listdir("/sys/class/net")) - {"lo"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFNAME, struct.pack("16s16s", name.encode(), b"nic0"))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton("10.99.0.2"))
        fcntl.ioctl(s, SIOCSIFADDR, struct.pack("16s16s", b"nic0", address))
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"nic0", IFF_UP))
"#;

/// Reloads the module `first` times, so that the kernel's caches fill up, and then `count` times, after which the
/// kernel must not hold more than before.
fn reload(context: &Context<'_>, first: u32, count: u32) -> Result<()> {
    // With 90 rounds a leaked ring of the smallest kind, or a leaked socket buffer a round, is more than this.
    const LEAK_KB: u64 = 4096;
    let session = context.start(context.session().vcpus(2))?;
    alive(&session)?;
    // Not as fast as the wire can: grace periods would take seconds on a guest that only receives.
    let traffic = session.wire().spawn(
        Cmd::from("ping -q -n -i 0.005 -s 1000 10.99.0.2").timeout(Duration::from_secs(400)),
    )?;
    let rounds = |count: u32| {
        session.guest().run_ok(
            Cmd::new(["python3", "-c", RELOAD, &count.to_string()])
                .timeout(Duration::from_secs(400)),
        )
    };
    rounds(first)?;
    let before = unreclaimable_kb(&session)?;
    rounds(count)?;
    let after = unreclaimable_kb(&session)?;
    drop(traffic);
    ensure!(
        after < before + LEAK_KB,
        "the kernel holds {after} KiB, {before} KiB before {count} rounds"
    );
    session.configure()?;
    alive(&session)?;
    context.finish(session)
}

fn flr_traffic(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    for _ in 0..3 {
        let traffic = flood(&session)?;
        let before = statistic(&session, "restarts")?;
        session
            .guest()
            .run_ok("echo 1 > /sys/class/net/nic0/device/reset")?;
        // A restart in the middle of the reset is followed by another one.
        statistic_until(&session, "restarts", |restarts| restarts > before)?;
        wait_carrier(&session, true)?;
        // A slow kernel has no time for more than the flood.
        drop(traffic);
        alive(&session)?;
    }
    context.finish(session)
}

fn card_death(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let traffic = flood(&session)?;
    for deaths in 1..=2 {
        session.card(0)?.action(Action::Die)?;
        wait_carrier(&session, false)?;
        ensure!(statistic(&session, "card_deaths")? == deaths);
        // Nothing that an administrator does meanwhile may hang.
        session.guest().run("ip link set nic0 promisc on")?;
        session.guest().run("ip link set nic0 promisc off")?;
        session.guest().run_ok("ip -s link show nic0")?;
        session.card(0)?.action(Action::Revive)?;
        wait_carrier(&session, true)?;
        alive(&session)?;
    }
    drop(traffic);
    let log = session.guest().run_ok("dmesg")?;
    ensure!(log.contains("card does not answer"), "no message:\n{log}");
    ensure!(log.contains("card answers again"), "no message:\n{log}");
    context.finish(session)
}

fn card_reset(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let traffic = flood(&session)?;
    session.card(0)?.action(Action::Reset)?;
    guest_until(
        &session,
        "restart after reset",
        "for i in $(seq 50); do ethtool -S nic0 | grep -qx ' *restarts: 1' && exit 0; sleep 0.05; done; exit 1",
    )?;
    wait_carrier(&session, true)?;
    alive(&session)?;
    drop(traffic);
    context.finish(session)
}

fn stall(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.card(0)?.action(Action::Stall)?;
    let traffic = session
        .guest()
        .spawn(Cmd::from("ping -q -n -f -s 1400 10.99.0.1").timeout(Duration::from_secs(300)))?;
    // A restart does not mend this card, so the watchdog barks again.
    statistic_until(&session, "tx_timeouts", |timeouts| timeouts >= 2)?;
    statistic_until(&session, "restarts", |restarts| restarts >= 2)?;
    ensure!(statistic(&session, "card_deaths")? == 0);
    session.card(0)?.action(Action::Resume)?;
    alive(&session)?;
    drop(traffic);
    context.finish(session)
}

fn unload_dead(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    let traffic = flood(&session)?;
    session.card(0)?.action(Action::Die)?;
    session.unload_driver(context.driver)?;
    // A card that does not answer is refused, without waiting for ever.
    let output = session.guest().run("insmod /build/module/acceltcp.ko")?;
    ensure!(output.status.success(), "{}", output.stderr);
    let bound = session
        .guest()
        .run("ls /sys/bus/pci/drivers/acceltcp/*/net")?;
    ensure!(!bound.status.success(), "bound to a dead card");
    session.guest().run_ok("rmmod acceltcp")?;
    session.card(0)?.action(Action::Revive)?;
    session.load_driver(context.driver, "")?;
    session.configure()?;
    alive(&session)?;
    drop(traffic);
    context.finish(session)
}

fn hostile_card(context: &Context<'_>) -> Result<()> {
    const SECONDS: u64 = 60;
    let session = context.start(context.session().vcpus(2))?;
    session.guest().run_ok("ethtool -L nic0 combined 2")?;
    session.configure()?;
    let traffic = flood(&session)?;
    let guest_traffic = session
        .guest()
        .spawn(Cmd::from("ping -q -n -f -s 1000 10.99.0.1").timeout(Duration::from_secs(300)))?;
    session.card(0)?.action(Action::Garbage)?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(SECONDS) {
        // The guest goes on doing things; what the card makes of them does not matter.
        session.guest().run("ethtool -S nic0")?;
        session
            .guest()
            .run("ip link set nic0 down; ip link set nic0 up")?;
        session.guest().run_ok("ip link show nic0")?;
    }
    let done = session.card(0)?.counter("fault.garbage")?;
    ensure!(done > 1000, "the card did only {done} hostile things");
    let refused = statistic(&session, "rx0_bad_descriptor")?
        + statistic(&session, "rx0_bad_metadata")?
        + statistic(&session, "rx1_bad_descriptor")?
        + statistic(&session, "rx1_bad_metadata")?;
    ensure!(refused > 100, "only {refused} descriptors were refused");
    drop((traffic, guest_traffic));
    session.card(0)?.action(Action::Resume)?;
    session.unload_driver(context.driver)?;
    session.load_driver(context.driver, "")?;
    session.configure()?;
    wait_carrier(&session, true)?;
    alive(&session)?;
    context.finish(session)
}

fn vlan(context: &Context<'_>) -> Result<()> {
    // Two guests back to back, as not every machine's own kernel knows VLANs.
    let link = "unix:../link.sock";
    let near = context.start(context.session().wire(link))?;
    let far = context.start(context.session().name("driver-vlan-far").wire(link))?;
    for (session, address) in [(&near, "10.98.0.1/24"), (&far, "10.98.0.2/24")] {
        wait_carrier(session, true)?;
        session.guest().run_ok(format!(
            "ip link add link nic0 name v7 type vlan id 7 && ip address add {address} dev v7 && ip link set v7 up"
        ))?;
    }
    for size in [56, 1000, 1472] {
        near.guest().run_ok(format!(
            "ping -n -c 3 -i 0.05 -W 5 -M do -s {size} 10.98.0.2"
        ))?;
    }
    send_between(&near, &far, "10.98.0.2")?;
    send_between(&far, &near, "10.98.0.1")?;
    for session in [&near, &far] {
        // Guests with several CPUs have several queues.
        let sum = |name: &str| {
            session.guest().run_ok(format!(
                "ethtool -S nic0 | awk '/[0-9]_{name}:/ {{n += $2}} END {{print n}}'"
            ))
        };
        ensure!(
            sum("lso")?.trim() != "0",
            "no frame was segmented by the card"
        );
        ensure!(sum("csum_error")?.trim() == "0");
    }
    context.finish(near)?;
    context.finish(far)
}

/// Sends random bytes from one guest to another and compares the hashes of both ends.
fn send_between(from: &Session, to: &Session, address: &str) -> Result<()> {
    let receiver = to.guest().spawn(
        Cmd::from("socat -u TCP-LISTEN:7000,reuseaddr STDOUT | sha256sum").timeout(PATIENCE),
    )?;
    to.guest().wait_listening(7000, PATIENCE)?;
    let sent = from.guest().run_ok(
        Cmd::from(
            format!(
                "head -c 2M /dev/urandom > /tmp/sent && socat -u FILE:/tmp/sent TCP:{address}:7000 && sha256sum < /tmp/sent"
            )
            .as_str(),
        )
        .timeout(PATIENCE),
    )?;
    let received = receiver.wait_ok()?;
    ensure!(sent == received, "other bytes arrived than were sent");
    Ok(())
}

fn plain_card(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session().model_args(["--plain".to_owned()]))?;
    alive(&session)?;
    let log = session.guest().run_ok("dmesg")?;
    ensure!(log.contains("no AccelTCP: a plain NIC"), "{log}");
    context.finish(session)
}
