// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages for tests, and a kernel that sends them.

use std::{cell::RefCell, collections::VecDeque, io, rc::Rc};

use netlink_packet_core::{NLM_F_ACK_TLVS, NLM_F_CAPPED};

use super::Wire;

/// An attribute.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4)
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute with a number of 32 bits.
pub(crate) fn u32_of(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

/// An attribute with text.
pub(crate) fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// An attribute with others in it.
pub(crate) fn nest(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | 0x8000, value)
}

/// A message without its header.
#[derive(Clone)]
pub(crate) enum Said {
    /// Of the family, with a command and flags.
    Packet(u8, u16, Vec<u8>),
    /// The end of a dump, with flags.
    Done(u16),
    /// An acknowledgement, or an error.
    Ack(i32),
    /// An error with all that belongs to it: code, header of the request, attributes.
    Refused(Vec<u8>),
    /// An error of the socket.
    Fails(i32),
}

/// A kernel that knows the family and has a list of answers, one datagram each.
#[derive(Default)]
pub(crate) struct Script {
    /// What it says yet.
    pub(crate) answers: VecDeque<Said>,
    /// What was sent, after the question for the family.
    pub(crate) sent: Rc<RefCell<Vec<Vec<u8>>>>,
    asked: u32,
    question: bool,
    /// Number of the group that was joined.
    pub(crate) joined: Option<u32>,
}

/// The family's number.
pub(crate) const FAMILY: u16 = 0x20;

impl Script {
    /// A kernel that says `answers`.
    pub(crate) fn new(answers: impl IntoIterator<Item = Said>) -> Self {
        let names = [
            super::uapi::GROUP_DEVICES,
            super::uapi::GROUP_WATERMARKS,
            super::uapi::GROUP_SPLICES,
        ];
        let groups = (1..).zip(5..).zip(names);
        let groups: Vec<u8> = groups
            .flat_map(|((place, id), name)| nest(place, &[u32_of(2, id), text(1, name)].concat()))
            .collect();
        let family = [attribute(1, &FAMILY.to_ne_bytes()), nest(7, &groups)].concat();
        let mut all = VecDeque::from([Said::Packet(1, 0, family), Said::Ack(0)]);
        all.extend(answers);
        Self {
            answers: all,
            ..Self::default()
        }
    }

    /// The same with what is sent in `sent`.
    pub(crate) fn recording(self, sent: Rc<RefCell<Vec<Vec<u8>>>>) -> Self {
        Self { sent, ..self }
    }

    fn message(&self, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(self.asked.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }
}

impl Wire for Script {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.asked = u32::from_ne_bytes(request[8..12].try_into().unwrap());
        if self.question {
            self.sent.borrow_mut().push(request.to_vec());
        }
        self.question = true;
        Ok(())
    }

    fn receive(&mut self, datagram: &mut Vec<u8>) -> io::Result<()> {
        let next = self
            .answers
            .pop_front()
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        *datagram = match next {
            Said::Packet(command, flags, attributes) => {
                let body = [&[command, 1, 0, 0], &attributes[..]].concat();
                self.message(FAMILY, flags, &body)
            }
            Said::Done(flags) => self.message(3, flags, &[0; 4]),
            Said::Ack(code) => self.message(2, 0, &[&code.to_ne_bytes()[..], &[0; 16]].concat()),
            Said::Refused(body) => self.message(2, NLM_F_CAPPED | NLM_F_ACK_TLVS, &body),
            Said::Fails(code) => return Err(io::Error::from_raw_os_error(code)),
        };
        Ok(())
    }

    fn join(&mut self, group: u32) -> io::Result<()> {
        self.joined = Some(group);
        Ok(())
    }
}
