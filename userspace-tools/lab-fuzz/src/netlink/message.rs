// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests to a generic netlink family, well formed at first (linux/netlink.h, linux/genetlink.h).

use crate::random::Random;

/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// `NLM_F_ROOT | NLM_F_MATCH`.
const DUMP: u16 = 0x300;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// What an attribute holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    /// A number of 8 bits.
    U8(&'static [u8]),
    /// A number of 16 bits.
    U16(&'static [u16]),
    /// A number of 32 bits.
    U32(&'static [u32]),
    /// A string.
    Text(&'static [&'static str]),
    /// Bytes.
    Bytes(&'static [&'static [u8]]),
    /// Nothing.
    Flag,
    /// Other attributes, so many times.
    Nest(&'static [Attribute], usize),
}

/// An attribute that a request may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) number: u16,
    pub(crate) value: Value,
    /// One request in so many has it; 1 for all.
    pub(crate) once_in: usize,
}

/// Adds an attribute, whose length is filled in.
fn add(to: &mut Vec<u8>, number: u16, payload: &[u8]) {
    let len = 4 + payload.len();
    to.extend((len as u16).to_ne_bytes());
    to.extend(number.to_ne_bytes());
    to.extend(payload);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn add_all(to: &mut Vec<u8>, attributes: &[Attribute], random: &mut Random) {
    for attribute in attributes {
        if !random.once_in(attribute.once_in) {
            continue;
        }
        let number = attribute.number;
        match attribute.value {
            Value::U8(choices) => add(to, number, &[random.pick(choices)]),
            Value::U16(choices) => add(to, number, &random.pick(choices).to_ne_bytes()),
            Value::U32(choices) => add(to, number, &random.pick(choices).to_ne_bytes()),
            Value::Text(choices) => {
                let mut text = random.pick(choices).as_bytes().to_vec();
                text.push(0);
                add(to, number, &text);
            }
            Value::Bytes(choices) => add(to, number, random.pick(choices)),
            Value::Flag => add(to, number, &[]),
            Value::Nest(inner, most) => {
                for _ in 0..random.below(most + 1) {
                    let mut nest = Vec::new();
                    add_all(&mut nest, inner, random);
                    add(to, number | NESTED, &nest);
                }
            }
        }
    }
}

/// A request of command `cmd` to `family`.
pub(crate) fn request(
    (family, cmd): (u16, u8),
    dump: bool,
    attributes: &[Attribute],
    random: &mut Random,
) -> Vec<u8> {
    let flags = if dump { REQUEST | DUMP } else { REQUEST };
    let mut message = Vec::new();
    message.extend(0u32.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([cmd, 1, 0, 0]);
    add_all(&mut message, attributes, random);
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_ne_bytes());
    message
}

/// Damages a message: some bytes behind the header, or its length.
pub(crate) fn damage(message: &mut Vec<u8>, random: &mut Random) {
    const HEADERS: usize = 20;
    match random.below(4) {
        0 => message.truncate(HEADERS + random.below(message.len() + 1 - HEADERS)),
        1 => {
            let more = random.below(64);
            message.extend((0..more).map(|_| random.next() as u8));
        }
        _ => {
            for _ in 0..=random.below(4) {
                let behind = message.len() - 16;
                let at = 16 + random.below(behind);
                message[at] = random.next() as u8;
            }
        }
    }
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Attribute] = &[
        Attribute {
            number: 1,
            value: Value::U32(&[7]),
            once_in: 1,
        },
        Attribute {
            number: 2,
            value: Value::Text(&["abc"]),
            once_in: 1,
        },
    ];

    #[test]
    fn attributes_are_aligned() {
        let message = request((20, 3), true, ALL, &mut Random::new(1, 1));
        assert_eq!(message.len(), 20 + 8 + 8);
        assert_eq!(message[..4], 36u32.to_ne_bytes());
        assert_eq!(message[6..8], 0x305u16.to_ne_bytes());
        assert_eq!(message[20..24], [8, 0, 1, 0]);
        assert_eq!(&message[28..36], &[8, 0, 2, 0, b'a', b'b', b'c', 0]);
    }

    #[test]
    fn damage_keeps_the_headers() {
        let mut random = Random::new(1, 2);
        for _ in 0..10_000 {
            let mut message = request((20, 3), false, ALL, &mut random);
            damage(&mut message, &mut random);
            assert!(message.len() >= 20);
            let len = message.len() as u32;
            assert_eq!(message[..4], len.to_ne_bytes());
        }
    }
}
