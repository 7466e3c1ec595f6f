// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Flower filters of tc in the access list.

use anyhow::{ensure, Context as _, Result};

use super::{
    super::observe::{guest_until, LOSSES},
    acl::{add, kept_out, rules, served, servers, stop, tool, FRIEND, PORTS, STRANGER},
    Context,
};
use crate::{
    report::offload::TOOL,
    session::{Action, Session},
};

/// Rules that the card has room for.
pub(super) const ROOM: usize = 16;

/// Adds a filter for IPv4 of this priority.
fn filter(session: &Session, priority: u32, rest: &str) -> Result<()> {
    session
        .guest()
        .run_ok(format!(
            "tc filter add dev nic0 ingress protocol ip pref {priority} flower skip_sw {rest}"
        ))
        .map(drop)
}

fn delete(session: &Session, priority: u32) -> Result<()> {
    let line = format!("tc filter del dev nic0 ingress pref {priority}");
    session.guest().run_ok(line).map(drop)
}

/// What tc tells of the filters.
fn shown(session: &Session) -> Result<String> {
    session.guest().run_ok("tc -s filter show dev nic0 ingress")
}

/// The only number in what tc tells that stands behind `word`.
fn number(text: &str, word: &str) -> Result<u64> {
    let mut words = text.split_whitespace().skip_while(|one| *one != word);
    let next = words.nth(1);
    next.and_then(|next| next.parse().ok())
        .with_context(|| format!("no number behind {word}: {text}"))
}

pub(super) fn tc(context: &Context<'_>) -> Result<()> {
    let room = ROOM.to_string();
    let session = context.start(context.session().cards(2).model_args(["--acl", &room]))?;
    let servers = servers(&session)?;
    let guest = session.guest();
    let features = guest.run_ok("ethtool -k nic0")?;
    ensure!(features.contains("hw-tc-offload: on\n"), "{features}");
    guest.run_ok("tc qdisc add dev nic0 clsact")?;

    drops(&session)?;
    order(&session)?;
    matches(&session)?;
    refusals(&session)?;
    full(&session)?;
    shared(&session)?;
    lasting(&session)?;

    // With the module they go.
    stop(&session, servers)?;
    session.unload_driver(context.driver)?;
    session.load_driver(context.driver, "")?;
    ensure!(rules(&session)?.is_empty(), "rules are left");
    served(&session, STRANGER, &[], true)?;
    context.finish(session)
}

/// One filter: it drops, is counted, is replaced, and goes.
fn drops(session: &Session) -> Result<()> {
    filter(session, 5, &format!("src_ip {STRANGER} action drop"))?;
    kept_out(session, STRANGER, &PORTS, true)?;
    served(session, FRIEND, &PORTS, true)?;
    let text = shown(session)?;
    ensure!(text.contains("in_hw") && text.contains("skip_sw"), "{text}");
    let line = text.lines().find(|line| line.contains("Sent hardware"));
    let line = line.with_context(|| format!("no counts of hardware: {text}"))?;
    let (bytes, frames) = (number(line, "hardware")?, number(line, "bytes")?);
    let all = rules(session)?;
    ensure!(
        all.len() == 1
            && all[0]["origin"] == "tc"
            && all[0]["priority"] == 5
            && all[0]["source"] == STRANGER
            && all[0]["source_len"] == 32
            && all[0]["untagged"] == true,
        "{all:?}"
    );
    // The denied may try again meanwhile.
    let told = all[0]["frames"].as_u64().context("no frames")?;
    ensure!(
        (3..=told).contains(&frames) && bytes >= frames * 42,
        "{frames} frames of {bytes} bytes in {text}, {told} by the card"
    );
    // It is tc's.
    let handle = &all[0]["handle"];
    let removed = tool(session, &format!("acl del dev nic0 handle {handle}"));
    ensure!(removed.is_err(), "a rule of tc was removed");
    tool(session, "acl flush dev nic0")?;
    let off = session.guest().run("ethtool -K nic0 hw-tc-offload off")?;
    ensure!(!off.status.success(), "switched off with filters");
    // The kernel remembers what was wanted last.
    session.guest().run_ok("ethtool -K nic0 hw-tc-offload on")?;
    ensure!(rules(session)?.len() == 1, "the filter's rule has gone");

    session.guest().run_ok(format!(
        "tc filter replace dev nic0 ingress protocol ip pref 5 handle 1 flower skip_sw src_ip {STRANGER} action pass"
    ))?;
    served(session, STRANGER, &PORTS, true)?;
    let all = rules(session)?;
    ensure!(all.len() == 1 && all[0]["action"] == "allow", "{all:?}");
    ensure!(all[0]["frames"] != 0, "what passes is not counted");
    delete(session, 5)?;
    ensure!(rules(session)?.is_empty(), "the rule outlives its filter");

    // Off without filters: the card takes none then.
    let guest = session.guest();
    guest.run_ok("ethtool -K nic0 hw-tc-offload off")?;
    let added = filter(session, 5, "action drop");
    ensure!(added.is_err(), "a filter while hw-tc-offload is off");
    guest.run_ok("ethtool -K nic0 hw-tc-offload on")?;
    Ok(())
}

/// By priority, and operators first.
fn order(session: &Session) -> Result<()> {
    filter(session, 20, "src_ip 10.99.0.48/28 action drop")?;
    kept_out(session, STRANGER, &PORTS, true)?;
    filter(
        session,
        10,
        &format!("ip_proto tcp src_ip {STRANGER} action pass"),
    )?;
    served(session, STRANGER, &PORTS, false)?;
    kept_out(session, STRANGER, &[], true)?;
    let operator = add(session, "prio 65535 deny proto tcp to any port 6380")?;
    served(session, STRANGER, &PORTS[..1], false)?;
    kept_out(session, STRANGER, &PORTS[1..], false)?;
    let origins: Vec<_> = rules(session)?
        .iter()
        .map(|rule| (rule["origin"].to_string(), rule["priority"].to_string()))
        .collect();
    let wanted = [("operator", "65535"), ("tc", "10"), ("tc", "20")];
    ensure!(
        origins
            .iter()
            .map(|(origin, priority)| (origin.trim_matches('"'), priority.as_str()))
            .eq(wanted),
        "{origins:?}"
    );
    tool(session, &format!("acl del dev nic0 handle {operator}"))?;
    delete(session, 10)?;
    delete(session, 20)?;
    served(session, STRANGER, &PORTS, true)
}

/// Each kind of match: its rule says the same.
fn matches(session: &Session) -> Result<()> {
    let cases = [
        (
            "ip flower skip_sw ip_proto tcp dst_port 6000-7000",
            "\"destination_port_first\":6000,\"destination_port_last\":7000",
        ),
        (
            "ip flower skip_sw ip_proto udp src_port 53",
            "\"source_port_first\":53,\"source_port_last\":53",
        ),
        (
            "ipv6 flower skip_sw ip_proto sctp dst_ip 2001:db8::/33",
            "\"protocol\":132,\"family\":6,\"source\":null,\"source_len\":null,\
             \"destination\":\"2001:db8::\",\"destination_len\":33",
        ),
        (
            "802.1q flower skip_sw vlan_id 7 vlan_ethtype ipv4 src_ip 192.0.2.0/24",
            "\"vlan\":7,\"untagged\":false",
        ),
    ];
    for (filter, wanted) in cases {
        session.guest().run_ok(format!(
            "tc filter add dev nic0 ingress pref 7 protocol {filter} action drop"
        ))?;
        let text = tool(session, "-j acl list")?;
        ensure!(text.contains(wanted), "{filter}: {text}");
        if filter.contains("6000") {
            kept_out(session, STRANGER, &PORTS, false)?;
        }
        delete(session, 7)?;
    }
    ensure!(rules(session)?.is_empty(), "rules are left");
    served(session, STRANGER, &PORTS, true)
}

/// What the card cannot do is refused with words, and stays in software where that is allowed.
fn refusals(session: &Session) -> Result<()> {
    let guest = session.guest();
    let cases = [
        ("ip", "ip_flags frag", "drop", "control"),
        ("ip", "ip_tos 0x10", "drop", "VLAN id only"),
        ("ip", "src_mac 02:00:00:00:00:01", "drop", "VLAN id only"),
        ("ip", "ip_proto icmp type 8", "drop", "VLAN id only"),
        ("ip", "", "mirred egress redirect dev lo", "drop and pass"),
        ("all", "", "drop", "IPv4 and IPv6"),
        ("arp", "", "drop", "IPv4 and IPv6"),
        (
            "802.1q",
            "vlan_prio 3 vlan_ethtype ipv4",
            "drop",
            "only the id",
        ),
        ("802.1q", "vlan_ethtype ipv4", "drop", "VLAN id"),
        ("802.1ad", "vlan_id 7 vlan_ethtype ipv4", "drop", "802.1Q"),
    ];
    for (protocol, rest, action, words) in cases {
        let line = |place: &str| {
            format!(
                "tc filter add dev nic0 ingress pref 7 protocol {protocol} flower {place} {rest} action {action}"
            )
        };
        let refused = guest.run(line("skip_sw"))?;
        ensure!(
            !refused.status.success() && refused.stderr.contains(words),
            "{protocol} {rest}: {}",
            refused.stderr
        );
        guest.run_ok(line(""))?;
        let text = shown(session)?;
        ensure!(text.contains("not_in_hw"), "{protocol} {rest}: {text}");
        ensure!(rules(session)?.is_empty(), "a rule for {rest}");
        delete(session, 7)?;
    }
    for line in [
        "tc filter add dev nic0 ingress chain 1 protocol ip flower skip_sw action drop",
        "tc filter add dev nic0 egress protocol ip flower skip_sw action drop",
        "tc filter add dev nic0 ingress protocol ip flower skip_sw action drop hw_stats disabled",
        "tc filter add dev nic0 ingress protocol ip matchall skip_sw action drop",
    ] {
        let refused = guest.run(line)?;
        ensure!(!refused.status.success(), "not refused: {line}");
    }
    ensure!(rules(session)?.is_empty(), "rules are left");
    Ok(())
}

/// What the card has no room for is refused, and stays in software where that is allowed.
fn full(session: &Session) -> Result<()> {
    for port in 0..ROOM {
        filter(
            session,
            7,
            &format!("ip_proto udp dst_port {} action drop", 9000 + port),
        )?;
    }
    let line = "tc filter add dev nic0 ingress pref 7 protocol ip flower skip_sw ip_proto udp dst_port 1 action drop";
    let refused = session.guest().run(line)?;
    ensure!(
        !refused.status.success() && refused.stderr.contains("no room"),
        "{}",
        refused.stderr
    );
    ensure!(tool(session, "acl add dev nic0 deny proto 253").is_err());
    session.guest().run_ok(line.replace("skip_sw", ""))?;
    ensure!(shown(session)?.contains("not_in_hw"));
    delete(session, 7)?;
    ensure!(rules(session)?.is_empty(), "rules are left");
    Ok(())
}

/// A block of filters for two cards, and a card that moves into another namespace.
fn shared(session: &Session) -> Result<()> {
    let guest = session.guest();
    let of = |device: &str| -> Result<Vec<String>> {
        let all = rules(session)?;
        let own = all.iter().filter(|rule| rule["device"] == device);
        Ok(own.map(|rule| rule["origin"].to_string()).collect())
    };
    guest.run_ok("tc qdisc del dev nic0 clsact")?;
    guest.run_ok("tc qdisc add dev nic0 ingress_block 22 clsact")?;
    guest.run_ok(format!(
        "tc filter add block 22 protocol ip pref 5 flower skip_sw src_ip {STRANGER} action drop"
    ))?;
    // It comes to a filter that is there.
    guest.run_ok("tc qdisc add dev nic1 ingress_block 22 clsact")?;
    let origin = ["\"tc\""];
    ensure!(of("nic0")? == origin && of("nic1")? == origin);
    kept_out(session, STRANGER, &PORTS, true)?;
    tool(session, "acl add dev nic1 deny proto 253")?;
    guest.run_ok("ip netns add y && ip link set nic1 netns y")?;
    ensure!(of("nic0")? == origin && rules(session)?.len() == 1);
    let told = guest.run_ok(format!("ip netns exec y {TOOL} -j acl list dev nic1"))?;
    ensure!(
        told.contains("\"operator\"") && !told.contains("\"tc\""),
        "{told}"
    );
    guest.run_ok("ip -n y link set nic1 netns 1 && ip netns del y")?;
    guest.run_ok("tc qdisc del dev nic0 clsact")?;
    ensure!(of("nic0")?.is_empty() && of("nic1")? == ["\"operator\""]);
    tool(session, "acl flush dev nic1")?;
    guest.run_ok("tc qdisc add dev nic0 clsact")?;
    Ok(())
}

/// Filters hold behind a loss of what the card has, and go with their qdisc.
fn lasting(session: &Session) -> Result<()> {
    filter(session, 5, &format!("src_ip {STRANGER} action drop"))?;
    for (name, lose) in LOSSES {
        lose(session)?;
        guest_until(session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
        served(session, FRIEND, &PORTS, true)?;
        kept_out(session, STRANGER, &PORTS, true).context(name)?;
    }
    let before = number(&shown(session)?, "hardware")?;
    kept_out(session, STRANGER, &[], true)?;
    let text = shown(session)?;
    ensure!(number(&text, "hardware")? > before, "{text}");
    // tc does not wait for a card that is dead; the card hears of it when it is back.
    session.card(0)?.action(Action::Die)?;
    delete(session, 5)?;
    ensure!(rules(session)?.is_empty(), "the rule outlives its filter");
    guest_until(session, "death", "grep -q 0 /sys/class/net/nic0/carrier")?;
    session.card(0)?.action(Action::Revive)?;
    guest_until(session, "carrier", "grep -q 1 /sys/class/net/nic0/carrier")?;
    served(session, STRANGER, &PORTS, true)?;

    filter(session, 5, "action drop")?;
    session.guest().run_ok("tc qdisc del dev nic0 clsact")?;
    ensure!(rules(session)?.is_empty(), "rules outlive their qdisc");
    served(session, STRANGER, &PORTS, true)?;
    // One is left for the end of the module.
    session.guest().run_ok("tc qdisc add dev nic0 ingress")?;
    filter(session, 5, &format!("src_ip {STRANGER} action drop"))?;
    kept_out(session, STRANGER, &[], true)
}
