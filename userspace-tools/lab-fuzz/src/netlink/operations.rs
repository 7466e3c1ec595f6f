// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What may be asked of the family (include/uapi/linux/acceltcp_netlink.h).

use super::message::{Attribute, Value};

/// An operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) cmd: u8,
    pub(crate) dump: bool,
    pub(crate) attributes: &'static [Attribute],
}

const fn always(number: u16, value: Value) -> Attribute {
    one_in(number, value, 1)
}

const fn one_in(number: u16, value: Value, once_in: usize) -> Attribute {
    Attribute {
        number,
        value,
        once_in,
    }
}

/// Numbers of network devices: mostly the card; the loopback, and one that is not there.
const DEVICES: Value = Value::U32(&[2, 2, 2, 2, 1, 77]);
const ADDRESSES: Value = Value::Bytes(&[
    &[10, 99, 0, 1],
    &[0; 4],
    &[0; 16],
    &[0xfd, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    &[1, 2, 3],
]);
const LENGTHS: Value = Value::U8(&[0, 8, 24, 32, 64, 128]);
const PORTS: Value = Value::U16(&[0, 1, 80, 7300, 7315, 65535]);

const RULE: &[Attribute] = &[
    one_in(2, Value::U32(&[0, 1, 1000, u32::MAX]), 2),
    one_in(3, Value::U16(&[1, 7300, 7310]), 2),
    one_in(4, Value::U16(&[7315, 65535]), 3),
    one_in(5, ADDRESSES, 6),
    one_in(6, LENGTHS, 8),
    one_in(7, Value::Text(&["lo", "nic0", "veth9", ""]), 4),
    one_in(8, Value::U32(&[0, 65534, u32::MAX]), 4),
    one_in(9, Value::Text(&["/", "/a", "/a/b", "a", "/.."]), 4),
    always(10, Value::U32(&[0, 1, 2, 3, 9, 35, 64])),
    one_in(11, Value::U32(&[0, 1, 4096, u32::MAX]), 8),
];

const ACL: &[Attribute] = &[
    always(1, DEVICES),
    one_in(3, Value::U16(&[0, 1, 65535]), 2),
    always(4, Value::U32(&[1, 2, 3])),
    one_in(5, Value::U8(&[0, 1, 6, 17]), 2),
    one_in(6, Value::U8(&[4, 6, 5]), 3),
    one_in(7, ADDRESSES, 4),
    one_in(8, LENGTHS, 8),
    one_in(9, ADDRESSES, 4),
    one_in(10, LENGTHS, 8),
    one_in(11, PORTS, 4),
    one_in(12, PORTS, 8),
    one_in(13, PORTS, 4),
    one_in(14, PORTS, 8),
    one_in(15, Value::U16(&[1, 4094, 4095]), 8),
    one_in(16, Value::Flag, 8),
];

const FLOWS: &[Attribute] = &[
    one_in(1, DEVICES, 2),
    one_in(2, Value::U8(&[4, 6]), 3),
    one_in(3, Value::U32(&[0, 2, 0x3e, u32::MAX]), 3),
    one_in(4, ADDRESSES, 4),
    one_in(5, LENGTHS, 8),
    one_in(6, PORTS, 4),
    one_in(7, ADDRESSES, 4),
    one_in(8, PORTS, 4),
];

/// Numbers of rules: those of a namespace and of a card begin with 1.
const NUMBER: Value = Value::U32(&[
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    26,
    27,
    28,
    29,
    30,
    31,
    32,
    0,
    u32::MAX,
]);

const fn operation(
    name: &'static str,
    cmd: u8,
    dump: bool,
    attributes: &'static [Attribute],
) -> Operation {
    Operation {
        name,
        cmd,
        dump,
        attributes,
    }
}

/// All of them.
pub(crate) const OPERATIONS: [Operation; 20] = [
    operation("device", 1, false, &[always(1, DEVICES)]),
    operation("devices", 1, true, &[]),
    operation("counters", 2, true, &[one_in(1, DEVICES, 2)]),
    operation("counter-reset", 3, false, &[]),
    operation("listeners", 4, true, &[]),
    operation("pairs", 5, true, &[one_in(1, DEVICES, 2)]),
    operation("policy", 6, false, &[always(1, NUMBER)]),
    operation("policies", 6, true, &[]),
    operation("policy-add", 7, false, RULE),
    operation("policy-del", 8, false, &[always(1, NUMBER)]),
    operation("policy-flush", 9, false, &[]),
    operation("policy-set", 21, false, &[always(1, Value::Nest(RULE, 5))]),
    operation("key-rotate", 10, false, &[]),
    operation("acl", 12, true, &[one_in(1, DEVICES, 2)]),
    operation("acl-add", 13, false, ACL),
    operation(
        "acl-del",
        14,
        false,
        &[always(1, DEVICES), always(2, NUMBER)],
    ),
    operation("acl-flush", 15, false, &[always(1, DEVICES)]),
    operation("flows", 16, true, FLOWS),
    operation("limits", 17, false, &[]),
    operation(
        "limits-set",
        18,
        false,
        &[
            one_in(1, Value::U32(&[0, 50, 100, 101]), 2),
            one_in(2, Value::U32(&[0, 1, 50, 90]), 2),
        ],
    ),
];
