// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `--help` and the man page say behind the options.

use std::fmt;

/// A part of the manual.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// Lines, which are to stay lines.
    pub text: &'static str,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.title)?;
        self.text.lines().try_for_each(|line| match line {
            "" => writeln!(f),
            line => write!(f, "\n  {line}"),
        })
    }
}

/// All of them, in order.
pub const SECTIONS: [Section; 4] = [EXIT_STATUS, RULE_FILES, ACCESS_LISTS, JSON];

/// Exit statuses, for people.
pub const EXIT_STATUS: Section = Section {
    title: "Exit status",
    text: "\
0  all is done
1  something went wrong
2  the command line cannot be understood
3  the module acceltcp, or its netlink family, is not there
4  no permission: it needs root, or CAP_NET_ADMIN
5  doctor has found something that must be mended",
};

macro_rules! json {
    () => {
        "\
Later versions may add members, and names to those that are names;
nothing else changes. Numbers of network devices (ifindex) come with a
name (device), which is null for a device that has gone. What a card
or a rule does not have is null. Names are those of the family's
definition, Documentation/netlink/specs/acceltcp.yaml. Commands that
are not listed here write what they write without -j.

status        an object: devices, listeners, policy, rates (null
              without --rates)
  devices     ifindex, ifname, firmware, state, capabilities, flows,
              flow_credits, buffer_credits, pairs, pair_credits, rules,
              sram_bytes, tables
  tables      name, memory, used, capacity, high_water, entry_bytes,
              refused
  listeners   total, offloaded, by_application, by_policy, host (by
              reason, how many the host serves; those of which nobody
              asked for setup are not among them)
  policy      rules, hits, refused
  rates       ifindex (null for the host), device, name, value,
              per_second
stats         an array: ifindex, device, name, value
listeners     an array: address, port, ifindex, device, uid, user,
              offloads, reason, rules, policy, by_application
flows         an array: ifindex, device, family, peer, peer_port, local,
              local_port, state, vlan_outer, vlan_inner,
              unacknowledged (bytes), due_ms, retransmits
flows --count an object: a member for each state, and total
splices       an array: ifindex, device, id, ends (up to two: local,
              local_port, remote, remote_port; a connection is there
              as long as its socket is open)
policy list   an array: id, priority, port_first, port_last, address,
              prefix_len, device, uid, user, cgroup (its path), offloads,
              max_data, listeners, hits, refused, last_reason, pending
              (device, cgroup: what the rule names that is not there)
policy add    an object: id
policy load   an object: rules, added, removed, unchanged (how many),
              added_rules, removed_rules (as policy save writes them);
              with --check only rules
acl list      an array: ifindex, device, handle, priority, action,
              protocol, family (4, 6), source, source_len, destination,
              destination_len, source_port_first, source_port_last,
              destination_port_first, destination_port_last, vlan,
              untagged, frames, bytes, origin
acl add       an object: handle
limits        an object: sram_high, sram_low (per cent)
monitor       a line for each event: event (device, watermark, splice,
              or lost when events came too fast), and more
  device      the members of status' devices
  watermark   ifindex, table, above (whether new ones stay with the
              host now), used, capacity
  splice      ifindex, id, ends (as in splices), reason, bytes and
              segments (of each end, from its peer)
doctor        an array: level (ok, warn, fail), check, message, advice"
    };
}

#[doc = "What `-j` writes, for people.\n\n```text"]
#[doc = json!()]
#[doc = "```"]
pub const JSON: Section = Section {
    title: "JSON",
    text: json!(),
};

/// Files of rules, for people.
pub const RULE_FILES: Section = Section {
    title: "Files of rules",
    text: "\
policy load and policy save use one line for a rule, with the options
of policy add. Quotes and backslashes work as in a shell, # begins a
comment:

  # The web's clients speak first.
  --port 80 --uid www-data --offload setup,teardown,defer
  --address 10.0.0.0/8 --cgroup /system.slice/redis.service
  --offload none --priority 2000",
};

/// Rules of access lists, for people.
pub const ACCESS_LISTS: Section = Section {
    title: "Rules of access lists",
    text: "\
A rule is written in words, in any order; a frame must match all that
is said, and what is not said matches all frames:

  dev DEV           the card, by its network device
  allow | deny      what becomes of a frame that matches
  prio N            0 to 65535, 1000 unless given: the smallest is
                    looked at first, among equals the oldest
  proto NAME|N      tcp, udp, sctp, icmp, icmpv6, ... or a number
  from PREFIX|any   source address
  to PREFIX|any     destination address
  port N[-M]        port of what stands before it, from or to; that of
                    the destination where neither does
  family inet|inet6 IPv4 or IPv6 only
  vlan N|none       of this outer VLAN, or without a tag

  acceltcp acl add dev nic0 prio 10 deny proto tcp from 192.0.2.0/24 to any port 80-90

The first rule that matches decides, and what none matches is allowed.
Only IPv4 and IPv6 are looked at; IPv6 does not work without ICMPv6,
whose neighbour discovery a rule may deny as well.",
};

/// All of it, for `--help`.
pub fn epilogue() -> String {
    SECTIONS.map(|section| section.to_string()).join("\n\n")
}
