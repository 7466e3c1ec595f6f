// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests, dumps and notifications of the family.

use std::num::Wrapping;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use netlink_packet_generic::GenlMessage;
use nix::errno::Errno;

use super::{
    attribute::Attributes,
    family::Family,
    packet::{self, Answer, Packet, Received},
    wire::{Kernel, Wire},
    Error,
};

/// How often something is dumped that changes meanwhile.
const TRIES: u32 = 8;

/// Something that the kernel tells of, one message each.
pub trait Object: Sized {
    /// The command that asks for it.
    const COMMAND: u8;
    /// Reads the attributes of a message.
    fn parse(attributes: &[u8]) -> Result<Self, Error>;
}

/// What a dump brings.
#[derive(Debug, Eq, PartialEq)]
pub enum Step<T> {
    /// An entry.
    Entry(T),
    /// What has come so far is void, as entries changed meanwhile; they come again.
    Restart,
}

/// Whether a dump shows one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Snapshot {
    /// It does.
    Consistent,
    /// Entries have changed during each of several tries, so that some may be missing or come twice.
    Inconsistent,
}

/// A connection with the family.
pub struct Connection<W = Kernel> {
    wire: W,
    family: Family,
    sequence: Wrapping<u32>,
    datagram: Vec<u8>,
}

impl Connection<Kernel> {
    /// Opens a socket and looks the family up.
    ///
    /// # Errors
    ///
    /// [`Error::NoFamily`] when the module is not loaded.
    pub fn open() -> Result<Self, Error> {
        Self::with(Kernel::open()?)
    }
}

impl<W: Wire> Connection<W> {
    /// Looks the family up by `wire`.
    pub fn with(wire: W) -> Result<Self, Error> {
        let family = Family {
            id: 0,
            groups: Vec::new(),
        };
        let mut connection = Self {
            wire,
            family,
            sequence: Wrapping(0),
            datagram: Vec::new(),
        };
        let sequence = connection.next();
        let question = packet::encode(Family::question(), NLM_F_REQUEST | NLM_F_ACK, sequence);
        connection.wire.send(&question)?;
        let answers = connection.answers(sequence).map_err(|error| match error {
            Error::Refused {
                errno: Errno::ENOENT,
                ..
            } => Error::NoFamily,
            error => error,
        })?;
        let answer = answers.first().ok_or(Error::NoFamily)?;
        connection.family = Family::parse(&answer.attributes)?;
        Ok(connection)
    }

    fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence.0
    }

    fn ask(&mut self, command: u8, attributes: &Attributes, flags: u16) -> Result<u32, Error> {
        let sequence = self.next();
        let mut message = GenlMessage::from_payload(Packet::new(command, attributes));
        message.set_resolved_family_id(self.family.id);
        self.wire
            .send(&packet::encode(message, NLM_F_REQUEST | flags, sequence))?;
        Ok(sequence)
    }

    /// The messages of the next datagram; all others that were asked for earlier, and not read, are left out.
    fn receive(&mut self, sequence: u32) -> Result<Vec<Received>, Error> {
        self.wire.receive(&mut self.datagram)?;
        let all = packet::received(&self.datagram);
        all.filter(|one| !matches!(one, Ok(one) if one.sequence != sequence))
            .collect()
    }

    fn answers(&mut self, sequence: u32) -> Result<Vec<Packet>, Error> {
        let mut packets = Vec::new();
        loop {
            for received in self.receive(sequence)? {
                match received.answer {
                    Answer::Packet(packet) => packets.push(packet),
                    Answer::End => return Ok(packets),
                    Answer::Refused(error) => return Err(error),
                    Answer::Nothing => {}
                }
            }
        }
    }

    /// Has the kernel do something; its answers come back, of which there may be none.
    pub fn request(&mut self, command: u8, attributes: &Attributes) -> Result<Vec<Packet>, Error> {
        let sequence = self.ask(command, attributes, NLM_F_ACK)?;
        self.answers(sequence).map_err(|error| error.about(command))
    }

    /// Has the kernel tell of all objects that `filter` lets through, one by one.
    ///
    /// # Errors
    ///
    /// Those of the kernel, and those of `each`.
    pub fn dump<T: Object>(
        &mut self,
        filter: &Attributes,
        mut each: impl FnMut(Step<T>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Snapshot> {
        for remaining in (0..TRIES).rev() {
            if self.dump_once(filter, &mut each)? {
                return Ok(Snapshot::Consistent);
            }
            if remaining > 0 {
                each(Step::Restart)?;
            }
        }
        Ok(Snapshot::Inconsistent)
    }

    /// Whether nothing has changed meanwhile.
    fn dump_once<T: Object>(
        &mut self,
        filter: &Attributes,
        each: &mut impl FnMut(Step<T>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let sequence = self.ask(T::COMMAND, filter, NLM_F_DUMP)?;
        let mut consistent = true;
        loop {
            for received in self.receive(sequence)? {
                consistent &= received.flags & NLM_F_DUMP_INTR == 0;
                match received.answer {
                    // What comes after the first sign of a change will come again.
                    Answer::Packet(packet) => each(Step::Entry(T::parse(&packet.attributes)?))?,
                    Answer::End => return Ok(consistent),
                    Answer::Refused(error) => return Err(error.about(T::COMMAND).into()),
                    Answer::Nothing => {}
                }
            }
        }
    }

    /// All objects at once, for those of which there are few.
    pub fn collect<T: Object>(&mut self, filter: &Attributes) -> anyhow::Result<Vec<T>> {
        let mut all = Vec::new();
        let _ = self.dump(filter, |step| {
            match step {
                Step::Entry(entry) => all.push(entry),
                Step::Restart => all.clear(),
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Joins the multicast group `name`.
    pub fn join(&mut self, name: &'static str) -> Result<(), Error> {
        let group = self.family.group(name)?;
        Ok(self.wire.join(group)?)
    }

    /// Waits for notifications; none when some were lost, as they came too fast.
    pub fn notifications(&mut self) -> Result<Option<Vec<Packet>>, Error> {
        match self.wire.receive(&mut self.datagram) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut packets = Vec::new();
        for received in packet::received(&self.datagram) {
            let received = received?;
            if let (Answer::Packet(packet), true) =
                (received.answer, received.kind == self.family.id)
            {
                packets.push(packet);
            }
        }
        Ok(Some(packets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{
        counter::Counter,
        testing::{text, u32_of, Said, Script},
        uapi,
    };

    fn counter(name: &str, flags: u16) -> Said {
        let attributes = [text(2, name), u32_of(3, 1)].concat();
        Said::Packet(uapi::ACCELTCP_CMD_COUNTER_GET, flags, attributes)
    }

    fn connect(answers: impl IntoIterator<Item = Said>) -> Connection<Script> {
        Connection::with(Script::new(answers)).unwrap()
    }

    fn names(connection: &mut Connection<Script>) -> anyhow::Result<Vec<String>> {
        let all = connection.collect::<Counter>(&Attributes::new())?;
        Ok(all.into_iter().map(|counter| counter.name).collect())
    }

    #[test]
    fn the_family_is_looked_up() {
        let connection = connect([]);
        assert_eq!(connection.family.id, crate::netlink::testing::FAMILY);
        let mut none = Script::new([]);
        none.answers = [Said::Ack(-libc::ENOENT)].into();
        assert!(matches!(Connection::with(none), Err(Error::NoFamily)));
    }

    #[test]
    fn entries_come_one_by_one() {
        let mut connection = connect([counter("a", 2), counter("b", 2), Said::Done(2)]);
        assert_eq!(names(&mut connection).unwrap(), ["a", "b"]);
        assert_eq!(connection.wire.sent.borrow().len(), 1);
    }

    #[test]
    fn what_changes_is_dumped_again() {
        let mut connection = connect([
            counter("old", 2),
            counter("new", 2 | NLM_F_DUMP_INTR),
            Said::Done(2),
            counter("new", 2),
            Said::Done(2),
        ]);
        assert_eq!(names(&mut connection).unwrap(), ["new"]);
        assert_eq!(connection.wire.sent.borrow().len(), 2);
    }

    #[test]
    fn dumps_are_bounded() {
        let mut connection =
            connect((0..100).flat_map(|_| [counter("a", 2), Said::Done(2 | NLM_F_DUMP_INTR)]));
        let mut steps = Vec::new();
        let snapshot = connection.dump::<Counter>(&Attributes::new(), |step| {
            steps.push(matches!(step, Step::Restart));
            Ok(())
        });
        assert_eq!(snapshot.unwrap(), Snapshot::Inconsistent);
        assert_eq!(connection.wire.sent.borrow().len(), 8);
        // The last try's entries stay.
        assert_eq!(steps.len(), 8 + 7);
        assert_eq!(steps.last(), Some(&false));
    }

    #[test]
    fn refusals_and_broken_entries_end_a_dump() {
        let mut connection = connect([Said::Ack(-libc::EOPNOTSUPP)]);
        let error = names(&mut connection).unwrap_err().to_string();
        assert!(error.contains("of another version"), "{error}");
        let broken = Said::Packet(
            uapi::ACCELTCP_CMD_COUNTER_GET,
            2,
            u32_of(2, 1)[..7].to_vec(),
        );
        assert!(names(&mut connect([broken, Said::Done(2)])).is_err());
    }

    #[test]
    fn an_error_of_the_reader_leaves_the_connection_usable() {
        let mut connection = connect([
            counter("a", 2),
            Said::Done(2),
            counter("b", 2),
            Said::Done(2),
        ]);
        let failed = connection.dump::<Counter>(&Attributes::new(), |_| anyhow::bail!("full"));
        assert_eq!(failed.unwrap_err().to_string(), "full");
        // The script has no late answers; those of the kernel are left out by their number.
        connection.wire.answers.pop_front();
        assert_eq!(names(&mut connection).unwrap(), ["b"]);
    }

    #[test]
    fn requests_wait_for_the_acknowledgement() {
        let mut connection = connect([
            Said::Packet(uapi::ACCELTCP_CMD_POLICY_ADD, 0, u32_of(1, 7)),
            Said::Ack(0),
            Said::Ack(-libc::EPERM),
        ]);
        let terms = crate::netlink::policy::Terms::default();
        let add = |c: &mut Connection<Script>| crate::netlink::policy::add(c, &terms);
        assert_eq!(add(&mut connection).unwrap(), 7);
        let refused = add(&mut connection).unwrap_err();
        assert!(refused.is_permission());
        assert!(
            refused.to_string().contains("change the policy"),
            "{refused}"
        );
    }

    #[test]
    fn a_dump_that_is_not_allowed_says_who_may() {
        let mut connection = connect([Said::Ack(-libc::EPERM)]);
        let refused = names(&mut connection).unwrap_err().to_string();
        assert!(refused.contains("to ask cards needs"), "{refused}");
    }

    #[test]
    fn lost_notifications_are_told() {
        let event = Said::Packet(uapi::ACCELTCP_CMD_DEVICE_NTF, 0, u32_of(1, 7));
        let mut connection = connect([Said::Fails(libc::ENOBUFS), event]);
        connection.join(uapi::GROUP_DEVICES).unwrap();
        assert_eq!(connection.wire.joined, Some(5));
        assert!(connection.notifications().unwrap().is_none());
        assert_eq!(connection.notifications().unwrap().unwrap().len(), 1);
    }
}
