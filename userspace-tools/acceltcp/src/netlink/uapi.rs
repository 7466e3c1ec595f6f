// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Numbers of `include/uapi/linux/acceltcp_netlink.h`, which the tests compare them with.

/// Name of the generic netlink family.
pub const FAMILY_NAME: &str = "acceltcp";
/// Group of `device-ntf`.
pub const GROUP_DEVICES: &str = "devices";
/// Group of `watermark-ntf`.
pub const GROUP_WATERMARKS: &str = "watermarks";
/// Group of `splice-ntf`.
pub const GROUP_SPLICES: &str = "splices";

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*

        /// All of them, by the header's names.
        #[cfg(test)]
        const ALL: &[(&str, u64)] = &[$((stringify!($name), $value)),*];
    };
}

numbers! {
    /// Version of the family.
    ACCELTCP_FAMILY_VERSION: u8 = 1;

    /// An offload: setup.
    ACCELTCP_OFFLOAD_FLAG_SETUP: u32 = 1;
    /// An offload: teardown.
    ACCELTCP_OFFLOAD_FLAG_TEARDOWN: u32 = 2;
    /// An offload: splice.
    ACCELTCP_OFFLOAD_FLAG_SPLICE: u32 = 4;
    /// An offload: defer.
    ACCELTCP_OFFLOAD_FLAG_DEFER: u32 = 8;
    /// An offload: server-first.
    ACCELTCP_OFFLOAD_FLAG_SERVER_FIRST: u32 = 16;
    /// An offload: no-hold.
    ACCELTCP_OFFLOAD_FLAG_NO_HOLD: u32 = 32;

    /// What a rule names that is not there: device.
    ACCELTCP_POLICY_PENDING_DEVICE: u32 = 1;
    /// What a rule names that is not there: cgroup.
    ACCELTCP_POLICY_PENDING_CGROUP: u32 = 2;

    /// Why the host sets connections up: none.
    ACCELTCP_HOST_REASON_NONE: u32 = 0;
    /// Why the host sets connections up: not-asked.
    ACCELTCP_HOST_REASON_NOT_ASKED: u32 = 1;
    /// Why the host sets connections up: not-listening.
    ACCELTCP_HOST_REASON_NOT_LISTENING: u32 = 2;
    /// Why the host sets connections up: no-device.
    ACCELTCP_HOST_REASON_NO_DEVICE: u32 = 3;
    /// Why the host sets connections up: table-full.
    ACCELTCP_HOST_REASON_TABLE_FULL: u32 = 4;
    /// Why the host sets connections up: authenticated.
    ACCELTCP_HOST_REASON_AUTHENTICATED: u32 = 5;
    /// Why the host sets connections up: mptcp.
    ACCELTCP_HOST_REASON_MPTCP: u32 = 6;
    /// Why the host sets connections up: syncookies.
    ACCELTCP_HOST_REASON_SYNCOOKIES: u32 = 7;
    /// Why the host sets connections up: forwarding.
    ACCELTCP_HOST_REASON_FORWARDING: u32 = 8;
    /// Why the host sets connections up: pending.
    ACCELTCP_HOST_REASON_PENDING: u32 = 9;
    /// Why the host sets connections up: other-ulp.
    ACCELTCP_HOST_REASON_OTHER_ULP: u32 = 10;
    /// Why the host sets connections up: disabled.
    ACCELTCP_HOST_REASON_DISABLED: u32 = 11;
    /// Why the host sets connections up: no-memory.
    ACCELTCP_HOST_REASON_NO_MEMORY: u32 = 12;
    /// Why the host sets connections up: quota.
    ACCELTCP_HOST_REASON_QUOTA: u32 = 13;
    /// Why the host sets connections up: other-listener.
    ACCELTCP_HOST_REASON_OTHER_LISTENER: u32 = 14;

    /// Memory of a card: sram.
    ACCELTCP_MEMORY_SRAM: u32 = 0;
    /// Memory of a card: dram.
    ACCELTCP_MEMORY_DRAM: u32 = 1;

    /// State of a card: down.
    ACCELTCP_DEVICE_STATE_DOWN: u32 = 0;
    /// State of a card: plain.
    ACCELTCP_DEVICE_STATE_PLAIN: u32 = 1;
    /// State of a card: attached.
    ACCELTCP_DEVICE_STATE_ATTACHED: u32 = 2;
    /// State of a card: dead.
    ACCELTCP_DEVICE_STATE_DEAD: u32 = 3;

    /// What becomes of a frame: allow.
    ACCELTCP_ACL_ACTION_ALLOW: u32 = 1;
    /// What becomes of a frame: deny.
    ACCELTCP_ACL_ACTION_DENY: u32 = 2;

    /// Who has made a rule of an access list: operator.
    ACCELTCP_ACL_ORIGIN_OPERATOR: u32 = 0;
    /// Who has made a rule of an access list: tc.
    ACCELTCP_ACL_ORIGIN_TC: u32 = 1;

    /// State of a connection that a card ends: fin-wait-1.
    ACCELTCP_FLOW_STATE_FIN_WAIT_1: u32 = 1;
    /// State of a connection that a card ends: fin-wait-2.
    ACCELTCP_FLOW_STATE_FIN_WAIT_2: u32 = 2;
    /// State of a connection that a card ends: closing.
    ACCELTCP_FLOW_STATE_CLOSING: u32 = 3;
    /// State of a connection that a card ends: last-ack.
    ACCELTCP_FLOW_STATE_LAST_ACK: u32 = 4;
    /// State of a connection that a card ends: time-wait.
    ACCELTCP_FLOW_STATE_TIME_WAIT: u32 = 5;

    /// What became of a spliced pair: returned.
    ACCELTCP_PAIR_END_RETURNED: u32 = 0;
    /// What became of a spliced pair: closed.
    ACCELTCP_PAIR_END_CLOSED: u32 = 1;
    /// What became of a spliced pair: reset.
    ACCELTCP_PAIR_END_RESET: u32 = 2;
    /// What became of a spliced pair: idle.
    ACCELTCP_PAIR_END_IDLE: u32 = 3;
    /// What became of a spliced pair: aborted.
    ACCELTCP_PAIR_END_ABORTED: u32 = 4;
    /// What became of a spliced pair: timeout.
    ACCELTCP_PAIR_END_TIMEOUT: u32 = 5;
    /// What became of a spliced pair: refused.
    ACCELTCP_PAIR_END_REFUSED: u32 = 6;
    /// What became of a spliced pair: lost.
    ACCELTCP_PAIR_END_LOST: u32 = 7;

    /// Attribute `ifindex` of a device.
    ACCELTCP_A_DEVICE_IFINDEX: u16 = 1;
    /// Attribute `ifname` of a device.
    ACCELTCP_A_DEVICE_IFNAME: u16 = 2;
    /// Attribute `firmware` of a device.
    ACCELTCP_A_DEVICE_FIRMWARE: u16 = 3;
    /// Attribute `state` of a device.
    ACCELTCP_A_DEVICE_STATE: u16 = 4;
    /// Attribute `capabilities` of a device.
    ACCELTCP_A_DEVICE_CAPABILITIES: u16 = 5;
    /// Attribute `table` of a device.
    ACCELTCP_A_DEVICE_TABLE: u16 = 6;
    /// Attribute `flows` of a device.
    ACCELTCP_A_DEVICE_FLOWS: u16 = 7;
    /// Attribute `flow-credits` of a device.
    ACCELTCP_A_DEVICE_FLOW_CREDITS: u16 = 8;
    /// Attribute `buffer-credits` of a device.
    ACCELTCP_A_DEVICE_BUFFER_CREDITS: u16 = 9;
    /// Attribute `pairs` of a device.
    ACCELTCP_A_DEVICE_PAIRS: u16 = 10;
    /// Attribute `pair-credits` of a device.
    ACCELTCP_A_DEVICE_PAIR_CREDITS: u16 = 11;
    /// Attribute `rules` of a device.
    ACCELTCP_A_DEVICE_RULES: u16 = 12;
    /// Attribute `sram-bytes` of a device.
    ACCELTCP_A_DEVICE_SRAM_BYTES: u16 = 13;

    /// Attribute `name` of a table.
    ACCELTCP_A_TABLE_NAME: u16 = 1;
    /// Attribute `memory` of a table.
    ACCELTCP_A_TABLE_MEMORY: u16 = 2;
    /// Attribute `used` of a table.
    ACCELTCP_A_TABLE_USED: u16 = 3;
    /// Attribute `capacity` of a table.
    ACCELTCP_A_TABLE_CAPACITY: u16 = 4;
    /// Attribute `high-water` of a table.
    ACCELTCP_A_TABLE_HIGH_WATER: u16 = 5;
    /// Attribute `entry-bytes` of a table.
    ACCELTCP_A_TABLE_ENTRY_BYTES: u16 = 6;
    /// Attribute `refused` of a table.
    ACCELTCP_A_TABLE_REFUSED: u16 = 7;

    /// Attribute `ifindex` of a counter.
    ACCELTCP_A_COUNTER_IFINDEX: u16 = 1;
    /// Attribute `name` of a counter.
    ACCELTCP_A_COUNTER_NAME: u16 = 2;
    /// Attribute `value` of a counter.
    ACCELTCP_A_COUNTER_VALUE: u16 = 3;

    /// Attribute `address` of a listener.
    ACCELTCP_A_LISTENER_ADDRESS: u16 = 1;
    /// Attribute `port` of a listener.
    ACCELTCP_A_LISTENER_PORT: u16 = 2;
    /// Attribute `ifindex` of a listener.
    ACCELTCP_A_LISTENER_IFINDEX: u16 = 3;
    /// Attribute `uid` of a listener.
    ACCELTCP_A_LISTENER_UID: u16 = 4;
    /// Attribute `offloads` of a listener.
    ACCELTCP_A_LISTENER_OFFLOADS: u16 = 5;
    /// Attribute `reason` of a listener.
    ACCELTCP_A_LISTENER_REASON: u16 = 6;
    /// Attribute `rules` of a listener.
    ACCELTCP_A_LISTENER_RULES: u16 = 7;
    /// Attribute `policy` of a listener.
    ACCELTCP_A_LISTENER_POLICY: u16 = 8;
    /// Attribute `by-application` of a listener.
    ACCELTCP_A_LISTENER_BY_APPLICATION: u16 = 9;

    /// Attribute `ifindex` of a pair.
    ACCELTCP_A_PAIR_IFINDEX: u16 = 1;
    /// Attribute `id` of a pair.
    ACCELTCP_A_PAIR_ID: u16 = 2;
    /// Attribute `end` of a pair.
    ACCELTCP_A_PAIR_END: u16 = 3;

    /// Attribute `local` of a connection.
    ACCELTCP_A_CONNECTION_LOCAL: u16 = 1;
    /// Attribute `local-port` of a connection.
    ACCELTCP_A_CONNECTION_LOCAL_PORT: u16 = 2;
    /// Attribute `remote` of a connection.
    ACCELTCP_A_CONNECTION_REMOTE: u16 = 3;
    /// Attribute `remote-port` of a connection.
    ACCELTCP_A_CONNECTION_REMOTE_PORT: u16 = 4;

    /// Attribute `id` of a policy.
    ACCELTCP_A_POLICY_ID: u16 = 1;
    /// Attribute `priority` of a policy.
    ACCELTCP_A_POLICY_PRIORITY: u16 = 2;
    /// Attribute `port-first` of a policy.
    ACCELTCP_A_POLICY_PORT_FIRST: u16 = 3;
    /// Attribute `port-last` of a policy.
    ACCELTCP_A_POLICY_PORT_LAST: u16 = 4;
    /// Attribute `address` of a policy.
    ACCELTCP_A_POLICY_ADDRESS: u16 = 5;
    /// Attribute `prefix-len` of a policy.
    ACCELTCP_A_POLICY_PREFIX_LEN: u16 = 6;
    /// Attribute `ifname` of a policy.
    ACCELTCP_A_POLICY_IFNAME: u16 = 7;
    /// Attribute `uid` of a policy.
    ACCELTCP_A_POLICY_UID: u16 = 8;
    /// Attribute `cgroup` of a policy.
    ACCELTCP_A_POLICY_CGROUP: u16 = 9;
    /// Attribute `offloads` of a policy.
    ACCELTCP_A_POLICY_OFFLOADS: u16 = 10;
    /// Attribute `max-data` of a policy.
    ACCELTCP_A_POLICY_MAX_DATA: u16 = 11;
    /// Attribute `listeners` of a policy.
    ACCELTCP_A_POLICY_LISTENERS: u16 = 12;
    /// Attribute `hits` of a policy.
    ACCELTCP_A_POLICY_HITS: u16 = 13;
    /// Attribute `refused` of a policy.
    ACCELTCP_A_POLICY_REFUSED: u16 = 14;
    /// Attribute `last-reason` of a policy.
    ACCELTCP_A_POLICY_LAST_REASON: u16 = 15;
    /// Attribute `pending` of a policy.
    ACCELTCP_A_POLICY_PENDING: u16 = 16;

    /// Attribute `rule` of a set of rules.
    ACCELTCP_A_POLICY_SET_RULE: u16 = 1;
    /// Attribute `added` of a set of rules.
    ACCELTCP_A_POLICY_SET_ADDED: u16 = 2;
    /// Attribute `removed` of a set of rules.
    ACCELTCP_A_POLICY_SET_REMOVED: u16 = 3;
    /// Attribute `unchanged` of a set of rules.
    ACCELTCP_A_POLICY_SET_UNCHANGED: u16 = 4;

    /// Attribute `ifindex` of a rule of an access list.
    ACCELTCP_A_ACL_IFINDEX: u16 = 1;
    /// Attribute `handle` of a rule of an access list.
    ACCELTCP_A_ACL_HANDLE: u16 = 2;
    /// Attribute `priority` of a rule of an access list.
    ACCELTCP_A_ACL_PRIORITY: u16 = 3;
    /// Attribute `action` of a rule of an access list.
    ACCELTCP_A_ACL_ACTION: u16 = 4;
    /// Attribute `protocol` of a rule of an access list.
    ACCELTCP_A_ACL_PROTOCOL: u16 = 5;
    /// Attribute `family` of a rule of an access list.
    ACCELTCP_A_ACL_FAMILY: u16 = 6;
    /// Attribute `source` of a rule of an access list.
    ACCELTCP_A_ACL_SOURCE: u16 = 7;
    /// Attribute `source-len` of a rule of an access list.
    ACCELTCP_A_ACL_SOURCE_LEN: u16 = 8;
    /// Attribute `destination` of a rule of an access list.
    ACCELTCP_A_ACL_DESTINATION: u16 = 9;
    /// Attribute `destination-len` of a rule of an access list.
    ACCELTCP_A_ACL_DESTINATION_LEN: u16 = 10;
    /// Attribute `source-port-first` of a rule of an access list.
    ACCELTCP_A_ACL_SOURCE_PORT_FIRST: u16 = 11;
    /// Attribute `source-port-last` of a rule of an access list.
    ACCELTCP_A_ACL_SOURCE_PORT_LAST: u16 = 12;
    /// Attribute `destination-port-first` of a rule of an access list.
    ACCELTCP_A_ACL_DESTINATION_PORT_FIRST: u16 = 13;
    /// Attribute `destination-port-last` of a rule of an access list.
    ACCELTCP_A_ACL_DESTINATION_PORT_LAST: u16 = 14;
    /// Attribute `vlan` of a rule of an access list.
    ACCELTCP_A_ACL_VLAN: u16 = 15;
    /// Attribute `untagged` of a rule of an access list.
    ACCELTCP_A_ACL_UNTAGGED: u16 = 16;
    /// Attribute `frames` of a rule of an access list.
    ACCELTCP_A_ACL_FRAMES: u16 = 17;
    /// Attribute `bytes` of a rule of an access list.
    ACCELTCP_A_ACL_BYTES: u16 = 18;
    /// Attribute `origin` of a rule of an access list.
    ACCELTCP_A_ACL_ORIGIN: u16 = 19;
    /// Attribute `ifindex` of a connection that a card ends.
    ACCELTCP_A_FLOW_IFINDEX: u16 = 1;
    /// Attribute `family` of a connection that a card ends.
    ACCELTCP_A_FLOW_FAMILY: u16 = 2;
    /// Attribute `states` of a connection that a card ends.
    ACCELTCP_A_FLOW_STATES: u16 = 3;
    /// Attribute `peer` of a connection that a card ends.
    ACCELTCP_A_FLOW_PEER: u16 = 4;
    /// Attribute `peer-prefix-len` of a connection that a card ends.
    ACCELTCP_A_FLOW_PEER_PREFIX_LEN: u16 = 5;
    /// Attribute `peer-port` of a connection that a card ends.
    ACCELTCP_A_FLOW_PEER_PORT: u16 = 6;
    /// Attribute `local` of a connection that a card ends.
    ACCELTCP_A_FLOW_LOCAL: u16 = 7;
    /// Attribute `local-port` of a connection that a card ends.
    ACCELTCP_A_FLOW_LOCAL_PORT: u16 = 8;
    /// Attribute `state` of a connection that a card ends.
    ACCELTCP_A_FLOW_STATE: u16 = 9;
    /// Attribute `vlan-outer` of a connection that a card ends.
    ACCELTCP_A_FLOW_VLAN_OUTER: u16 = 10;
    /// Attribute `vlan-inner` of a connection that a card ends.
    ACCELTCP_A_FLOW_VLAN_INNER: u16 = 11;
    /// Attribute `unacknowledged` of a connection that a card ends.
    ACCELTCP_A_FLOW_UNACKNOWLEDGED: u16 = 12;
    /// Attribute `due-ms` of a connection that a card ends.
    ACCELTCP_A_FLOW_DUE_MS: u16 = 13;
    /// Attribute `retransmits` of a connection that a card ends.
    ACCELTCP_A_FLOW_RETRANSMITS: u16 = 14;

    /// Attribute `sram-high` of the limits.
    ACCELTCP_A_LIMITS_SRAM_HIGH: u16 = 1;
    /// Attribute `sram-low` of the limits.
    ACCELTCP_A_LIMITS_SRAM_LOW: u16 = 2;

    /// Attribute `ifindex` of a watermark.
    ACCELTCP_A_WATERMARK_IFINDEX: u16 = 1;
    /// Attribute `table` of a watermark.
    ACCELTCP_A_WATERMARK_TABLE: u16 = 2;
    /// Attribute `above` of a watermark.
    ACCELTCP_A_WATERMARK_ABOVE: u16 = 3;
    /// Attribute `used` of a watermark.
    ACCELTCP_A_WATERMARK_USED: u16 = 4;
    /// Attribute `capacity` of a watermark.
    ACCELTCP_A_WATERMARK_CAPACITY: u16 = 5;

    /// Attribute `ifindex` of the end of a pair.
    ACCELTCP_A_SPLICE_IFINDEX: u16 = 1;
    /// Attribute `id` of the end of a pair.
    ACCELTCP_A_SPLICE_ID: u16 = 2;
    /// Attribute `end` of the end of a pair.
    ACCELTCP_A_SPLICE_END: u16 = 3;
    /// Attribute `reason` of the end of a pair.
    ACCELTCP_A_SPLICE_REASON: u16 = 4;
    /// Attribute `bytes` of the end of a pair.
    ACCELTCP_A_SPLICE_BYTES: u16 = 5;
    /// Attribute `segments` of the end of a pair.
    ACCELTCP_A_SPLICE_SEGMENTS: u16 = 6;

    /// Command `device-get`.
    ACCELTCP_CMD_DEVICE_GET: u8 = 1;
    /// Command `counter-get`.
    ACCELTCP_CMD_COUNTER_GET: u8 = 2;
    /// Command `counter-reset`.
    ACCELTCP_CMD_COUNTER_RESET: u8 = 3;
    /// Command `listener-get`.
    ACCELTCP_CMD_LISTENER_GET: u8 = 4;
    /// Command `pair-get`.
    ACCELTCP_CMD_PAIR_GET: u8 = 5;
    /// Command `policy-get`.
    ACCELTCP_CMD_POLICY_GET: u8 = 6;
    /// Command `policy-add`.
    ACCELTCP_CMD_POLICY_ADD: u8 = 7;
    /// Command `policy-del`.
    ACCELTCP_CMD_POLICY_DEL: u8 = 8;
    /// Command `policy-flush`.
    ACCELTCP_CMD_POLICY_FLUSH: u8 = 9;
    /// Command `key-rotate`.
    ACCELTCP_CMD_KEY_ROTATE: u8 = 10;
    /// Command `device-ntf`.
    ACCELTCP_CMD_DEVICE_NTF: u8 = 11;
    /// Command `acl-get`.
    ACCELTCP_CMD_ACL_GET: u8 = 12;
    /// Command `acl-add`.
    ACCELTCP_CMD_ACL_ADD: u8 = 13;
    /// Command `acl-del`.
    ACCELTCP_CMD_ACL_DEL: u8 = 14;
    /// Command `acl-flush`.
    ACCELTCP_CMD_ACL_FLUSH: u8 = 15;
    /// Command `flow-get`.
    ACCELTCP_CMD_FLOW_GET: u8 = 16;
    /// Command `limits-get`.
    ACCELTCP_CMD_LIMITS_GET: u8 = 17;
    /// Command `limits-set`.
    ACCELTCP_CMD_LIMITS_SET: u8 = 18;
    /// Command `watermark-ntf`.
    ACCELTCP_CMD_WATERMARK_NTF: u8 = 19;
    /// Command `splice-ntf`.
    ACCELTCP_CMD_SPLICE_NTF: u8 = 20;
    /// Command `policy-set`.
    ACCELTCP_CMD_POLICY_SET: u8 = 21;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HEADER: &str = include_str!("../../../../include/uapi/linux/acceltcp_netlink.h");

    /// Entries of all enumerations of the header, but for the marks of their ends.
    fn entries() -> BTreeMap<String, u64> {
        let mut entries = BTreeMap::new();
        let (mut inside, mut next) = (false, 0);
        for line in HEADER.lines() {
            if line.starts_with("enum") && line.ends_with('{') {
                (inside, next) = (true, 0);
            } else if line.starts_with('}') {
                inside = false;
            } else if inside && line.trim_start().starts_with("ACCELTCP_") {
                let entry = line.trim().trim_end_matches(',');
                let (name, value) = match entry.split_once(" = ") {
                    Some((name, value)) => (name, value.parse().ok()),
                    None => (entry, Some(next)),
                };
                let Some(value) = value else { continue };
                next = value + 1;
                if !name.ends_with("_MASK") {
                    entries.insert(name.to_string(), value);
                }
            }
        }
        entries
    }

    fn defined(name: &str) -> &'static str {
        let start = format!("#define {name}");
        let line = HEADER.lines().find(|line| line.starts_with(&start));
        line.unwrap()[start.len()..].trim().trim_matches('"')
    }

    #[test]
    fn numbers_agree_with_the_header() {
        let mut header = entries();
        assert!(header.len() > 80, "the header was not understood");
        header.insert(
            "ACCELTCP_FAMILY_VERSION".into(),
            defined("ACCELTCP_FAMILY_VERSION").parse().unwrap(),
        );
        let here: BTreeMap<String, u64> = ALL.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        assert_eq!(here, header);
    }

    #[test]
    fn names_agree_with_the_header() {
        assert_eq!(FAMILY_NAME, defined("ACCELTCP_FAMILY_NAME"));
        assert_eq!(GROUP_DEVICES, defined("ACCELTCP_MCGRP_DEVICES"));
        assert_eq!(GROUP_WATERMARKS, defined("ACCELTCP_MCGRP_WATERMARKS"));
        assert_eq!(GROUP_SPLICES, defined("ACCELTCP_MCGRP_SPLICES"));
    }
}
