// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What few connections have and cards do not know: they stay with the host, whose statistics say why.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::{
        observe::{guest_until, statistic},
        peer::Peer,
    },
    pair::PORT,
    Context,
};
use crate::session::Session;

/// What both ends run.
const SCRIPT: &str = concat!(
    include_str!("ends.py"),
    include_str!("rare.py"),
    include_str!("../commands.py")
);
/// Offload of the listeners: teardown alone, as the card's handshake has none of this.
const TEARDOWN: u32 = 2;
/// Port of the listener with a key.
const AO_PORT: u16 = PORT + 1;
const GIVEN: &str = "teardown_handed_over";
const HOSTS: &[&str] = &["10.99.0.2", "fd99:0::2"];

/// What connections are made to have.
struct Kind {
    name: &'static str,
    /// Commands for this guest and for the other one.
    set_up: [&'static str; 2],
    undo: [&'static str; 2],
    /// Addresses of this guest.
    hosts: &'static [&'static str],
    /// The statistic that counts them.
    counter: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "microsecond timestamps",
        set_up: [
            "ip route change 10.99.0.0/24 dev nic0 src 10.99.0.2 features tcp_usec_ts && \
             ip -6 route change fd99::/64 dev nic0 metric 256 features tcp_usec_ts",
            "",
        ],
        undo: [
            "ip route change 10.99.0.0/24 dev nic0 src 10.99.0.2 && \
             ip -6 route change fd99::/64 dev nic0 metric 256",
            "",
        ],
        hosts: HOSTS,
        counter: "teardown_options",
    },
    Kind {
        name: "accurate ECN",
        set_up: ["sysctl -w net.ipv4.tcp_ecn=3"; 2],
        undo: ["sysctl -w net.ipv4.tcp_ecn=2"; 2],
        hosts: HOSTS,
        counter: "teardown_options",
    },
    Kind {
        name: "VRF",
        set_up: [
            "modprobe vrf && ip link add vrf0 type vrf table 10 && ip link set vrf0 up && \
             sysctl -w net.ipv4.tcp_l3mdev_accept=1 && ip link set nic0 master vrf0 && \
             ip address replace fd99:0::2/64 dev nic0 nodad",
            "",
        ],
        undo: [
            "ip link set nic0 nomaster && ip link delete vrf0 && \
             ip address replace fd99:0::2/64 dev nic0 nodad",
            "",
        ],
        hosts: HOSTS,
        counter: "teardown_route",
    },
    Kind {
        name: "a tunnel",
        set_up: [
            "modprobe ipip && ip link add t0 type ipip local 10.99.0.2 remote 10.99.0.3 && \
             ip address add 10.7.0.2/24 dev t0 && ip link set t0 up",
            "modprobe ipip && ip link add t0 type ipip local 10.99.0.3 remote 10.99.0.2 && \
             ip address add 10.7.0.3/24 dev t0 && ip link set t0 up",
        ],
        undo: ["ip link delete t0"; 2],
        hosts: &["10.7.0.2"],
        counter: "teardown_no_card",
    },
    Kind {
        name: "IPsec",
        set_up: [concat!(
            "near=10.99.0.2 far=10.99.0.3; address=$(ip -4 -o address show nic0); ",
            "case $address in *$near/*) out=out in=in ;; *) out=in in=out ;; esac; ",
            "for way in \"src $near dst $far\" \"src $far dst $near\"; do ",
            "ip xfrm state add $way proto esp spi 0x100 reqid 1 mode transport ",
            "aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128 || exit 1; done; ",
            "template='tmpl proto esp reqid 1 mode transport'; ",
            "ip xfrm policy add src $near dst $far dir $out $template && ",
            "ip xfrm policy add src $far dst $near dir $in $template"
        ); 2],
        undo: ["ip xfrm policy flush && ip xfrm state flush"; 2],
        hosts: &["10.99.0.2"],
        counter: "teardown_route",
    },
];

/// A listener in one guest, whose clients are in another: no machine's own kernel is asked for any of this.
struct Ends<'a> {
    near: &'a Session,
    host: Peer,
    peer: Peer,
}

impl Ends<'_> {
    /// A connection that the host closes, counted once by this statistic.
    fn counted(&mut self, connect: &Value, listener: &str, counter: &str) -> Result<()> {
        const SIZE: u32 = 20_000;
        let read = |name| statistic(self.near, name);
        let before = [read(GIVEN)?, read(counter)?];
        self.peer.ask(connect)?;
        self.peer
            .ask(&json!({"do": "send", "name": "s", "size": 500}))?;
        self.host
            .ask(&json!({"do": "accept", "name": "s", "listener": listener}))?;
        for step in [
            json!({"do": "receive", "name": "s", "size": 500}),
            json!({"do": "send", "name": "s", "size": SIZE}),
            json!({"do": "close", "name": "s"}),
        ] {
            self.host.ask(&step)?;
        }
        let end = self.peer.ask(&json!({"do": "end", "name": "s"}))?;
        ensure!(end == json!({"kind": "end", "bytes": SIZE}), "{end}");
        self.peer.ask(&json!({"do": "close", "name": "s"}))?;
        let given = read(GIVEN)? - before[0];
        let counted = read(counter)? - before[1];
        ensure!(
            counted == 1 && given == u64::from(counter == GIVEN),
            "{counter} {counted}, {GIVEN} {given}"
        );
        Ok(())
    }

    /// The same by way of these addresses.
    fn all_counted(&mut self, hosts: &[&str], counter: &str) -> Result<()> {
        for host in hosts {
            let connect = json!({"do": "connect", "name": "s", "host": host, "port": PORT});
            self.counted(&connect, "l", counter)
                .with_context(|| format!("to {host}"))?;
        }
        Ok(())
    }
}

pub(super) fn rare(context: &Context<'_>) -> Result<()> {
    let link = "unix:../link.sock";
    let near = context.start(context.session().wire(link))?;
    let other = context.session().name("teardown-rare-far");
    let far = context.start(other.wire(link).host(3))?;
    let run = |lines: &[&str; 2]| {
        for (session, line) in [&near, &far].into_iter().zip(lines) {
            session.guest().run_ok(*line)?;
            guest_until(session, "carrier", "ip link show nic0 | grep -q LOWER_UP")?;
        }
        anyhow::Ok(())
    };
    run(&["true"; 2])?;
    let mut ends = Ends {
        near: &near,
        host: Peer::guest_script(&near, SCRIPT)?,
        peer: Peer::guest_script(&far, SCRIPT)?,
    };
    ends.host
        .ask(&json!({"do": "listen", "name": "l", "port": PORT, "flags": TEARDOWN}))?;
    ends.all_counted(HOSTS, GIVEN)?;
    for kind in &KINDS {
        run(&kind.set_up).context(kind.name)?;
        ends.all_counted(kind.hosts, kind.counter)
            .context(kind.name)?;
        run(&kind.undo).context(kind.name)?;
        ends.all_counted(HOSTS, GIVEN)
            .with_context(|| format!("after {}", kind.name))?;
    }

    ends.host.ask(&json!({
        "do": "listen", "name": "ao", "port": AO_PORT, "flags": TEARDOWN, "host": "0.0.0.0",
    }))?;
    ends.host
        .ask(&json!({"do": "ao_key", "name": "ao", "peer": "10.99.0.3"}))?;
    let connect = json!({"do": "connect_ao", "name": "s", "host": "10.99.0.2", "port": AO_PORT});
    ends.counted(&connect, "ao", "teardown_authenticated")
        .context("TCP-AO")?;
    context.finish(near)?;
    context.finish(far)
}
