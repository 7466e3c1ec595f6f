// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages: what is around the attributes, and the kernel's acknowledgements.

use netlink_packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, ParseableParametrized, NLM_F_ACK_TLVS, NLM_F_CAPPED,
};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use nix::errno::Errno;

use super::{
    attribute::{attributes, Attributes},
    uapi, Error,
};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct nlmsghdr` and `struct genlmsghdr`, behind which there are attributes.
pub const HEADERS: usize = HEADER + 4;
/// `NLMSGERR_ATTR_MSG`: the kernel's words.
const ACK_MESSAGE: u16 = 1;
/// `NLMSGERR_ATTR_OFFS`: where the attribute is in the request that is meant.
const ACK_OFFSET: u16 = 2;
/// `NLMSGERR_ATTR_MISS_TYPE`: number of the attribute that is missing.
const ACK_MISSING: u16 = 5;

/// A message of a generic netlink family, whose attributes have not been looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// The command.
    pub command: u8,
    /// The attributes.
    pub attributes: Vec<u8>,
}

impl Packet {
    /// A request.
    pub fn new(command: u8, attributes: &Attributes) -> Self {
        Self {
            command,
            attributes: attributes.encode(),
        }
    }
}

impl GenlFamily for Packet {
    fn family_name() -> &'static str {
        uapi::FAMILY_NAME
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        uapi::ACCELTCP_FAMILY_VERSION
    }
}

impl Emitable for Packet {
    fn buffer_len(&self) -> usize {
        self.attributes.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.attributes);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Packet {
    fn parse_with_param(attributes: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        Ok(Self {
            command: header.cmd,
            attributes: attributes.to_vec(),
        })
    }
}

/// `payload` as it goes over the wire.
pub fn encode<I>(payload: GenlMessage<I>, flags: u16, sequence: u32) -> Vec<u8>
where
    GenlMessage<I>: NetlinkSerializable + Into<NetlinkPayload<GenlMessage<I>>>,
{
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What the kernel says.
#[derive(Debug)]
pub enum Answer {
    /// A message of a family.
    Packet(Packet),
    /// The end of a dump, or that the request has been done.
    End,
    /// The request was refused, or the dump broke off.
    Refused(Error),
    /// Nothing of interest.
    Nothing,
}

/// A message from the kernel.
#[derive(Debug)]
pub struct Received {
    /// Number of the request that it answers; 0 for notifications.
    pub sequence: u32,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Number of its family, or of a control message.
    pub kind: u16,
    /// What it says.
    pub answer: Answer,
}

/// The messages of a datagram; the last one may be an error, after which there are none.
pub fn received(mut datagram: &[u8]) -> impl Iterator<Item = Result<Received, Error>> + '_ {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        match decode(datagram) {
            Ok((length, message)) => {
                datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
                Some(Ok(message))
            }
            Err(error) => {
                datagram = &[];
                Some(Err(error))
            }
        }
    })
}

fn decode(datagram: &[u8]) -> Result<(usize, Received), Error> {
    let message = NetlinkMessage::<Inner>::deserialize(datagram).map_err(Error::malformed)?;
    let (header, payload) = message.into_parts();
    let tail = match header.flags & NLM_F_ACK_TLVS {
        0 => Tail::None,
        _ if header.flags & NLM_F_CAPPED != 0 => Tail::Capped,
        _ => Tail::Whole,
    };
    let answer = match payload {
        NetlinkPayload::InnerMessage(Inner(packet)) => Answer::Packet(packet),
        NetlinkPayload::Error(ack) => match ack.code {
            None => Answer::End,
            Some(code) => Answer::Refused(refused(code.get(), ack_attributes(&ack.header, tail)?)?),
        },
        NetlinkPayload::Done(done) if done.code == 0 => Answer::End,
        NetlinkPayload::Done(done) => {
            let words: &[u8] = match tail {
                Tail::None => &[],
                _ => &done.extended_ack,
            };
            Answer::Refused(refused(done.code, words)?)
        }
        _ => Answer::Nothing,
    };
    let length = usize::try_from(header.length).map_err(Error::malformed)?;
    let received = Received {
        sequence: header.sequence_number,
        flags: header.flags,
        kind: header.message_type,
        answer,
    };
    Ok((length, received))
}

/// A family's message of any number.
#[derive(Debug)]
struct Inner(Packet);

impl NetlinkDeserializable for Inner {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let message = GenlMessage::<Packet>::deserialize(header, payload)?;
        Ok(Self(message.payload))
    }
}

/// Where the attributes of an acknowledgement are.
#[derive(Clone, Copy)]
enum Tail {
    /// There are none.
    None,
    /// Behind the request's header.
    Capped,
    /// Behind the whole request.
    Whole,
}

fn ack_attributes(request: &[u8], tail: Tail) -> Result<&[u8], Error> {
    let start = match tail {
        Tail::None => return Ok(&[]),
        Tail::Capped => HEADER,
        Tail::Whole => match request {
            [a, b, c, d, ..] => usize::try_from(u32::from_ne_bytes([*a, *b, *c, *d]))
                .ok()
                .and_then(|length| length.checked_next_multiple_of(4))
                .ok_or_else(|| Error::malformed("an error without its request"))?,
            _ => return Err(Error::malformed("an error without its request")),
        },
    };
    request
        .get(start..)
        .ok_or_else(|| Error::malformed("an error whose request is cut"))
}

/// The refusal with the number `code` (below 0) and the attributes of the acknowledgement.
fn refused(code: i32, words: &[u8]) -> Result<Error, Error> {
    let mut message = None;
    let mut missing = None;
    let mut offset = None;
    for attribute in attributes(words) {
        let attribute = attribute?;
        match attribute.kind() {
            ACK_MESSAGE => message = Some(attribute.string()?),
            ACK_OFFSET => offset = Some(attribute.u32()?),
            ACK_MISSING => missing = Some(attribute.u32()?),
            _ => {}
        }
    }
    if let Some(kind) = missing {
        message = Some(match message {
            Some(message) => format!("{message}: attribute {kind} is missing"),
            None => format!("attribute {kind} is missing"),
        });
    }
    Ok(Error::Refused {
        errno: Errno::from_raw(code.saturating_neg()),
        message,
        offset,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};

    use super::*;

    fn first(bytes: &[u8]) -> Result<Received, Error> {
        received(bytes).next().unwrap()
    }

    #[test]
    fn a_request_byte_by_byte() {
        let packet = Packet::new(
            uapi::ACCELTCP_CMD_POLICY_DEL,
            &Attributes::new().u32(uapi::ACCELTCP_A_POLICY_ID, Some(7)),
        );
        let mut message = GenlMessage::from_payload(packet);
        message.set_resolved_family_id(0x1f);
        assert_eq!(
            encode(message, NLM_F_REQUEST | NLM_F_ACK, 9),
            [
                28, 0, 0, 0, 0x1f, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
                8, 1, 0, 0, // policy-del, version 1
                8, 0, 1, 0, 7, 0, 0, 0, // id
            ]
        );
    }

    #[test]
    fn a_dump_request_has_no_attributes() {
        let mut message = GenlMessage::from_payload(Packet::new(4, &Attributes::new()));
        message.set_resolved_family_id(0x1f);
        assert_eq!(
            encode(message, NLM_F_REQUEST | NLM_F_DUMP, 1),
            [20, 0, 0, 0, 0x1f, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0]
        );
    }

    #[test]
    fn several_messages_of_a_datagram() {
        let bytes = [
            28, 0, 0, 0, 0x1f, 0, 2, 0, 5, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            1, 1, 0, 0, 8, 0, 1, 0, 2, 0, 0, 0, // device-get, ifindex 2
            20, 0, 0, 0, 3, 0, 2, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // done
        ];
        let all: Vec<_> = received(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].sequence), (0x1f, 5));
        let Answer::Packet(packet) = &all[0].answer else {
            panic!("{all:?}")
        };
        assert_eq!(
            (packet.command, &packet.attributes[..]),
            (1, &[8, 0, 1, 0, 2, 0, 0, 0][..])
        );
        assert!(matches!(all[1].answer, Answer::End));
    }

    #[test]
    fn the_words_of_a_refusal() {
        let bytes = [
            52, 0, 0, 0, 2, 0, 0, 3, 5, 0, 0, 0, 0, 0, 0, 0, // error, capped, with attributes
            0xea, 0xff, 0xff, 0xff, // EINVAL
            20, 0, 0, 0, 0x1f, 0, 5, 0, 5, 0, 0, 0, 0, 0, 0, 0, // the request's header
            12, 0, 1, 0, b'b', b'a', b'd', b' ', b'p', b'o', b't', 0, 8, 0, 5, 0, 1, 0, 0, 0,
        ];
        let mut bytes = bytes.to_vec();
        bytes[0] = u8::try_from(bytes.len()).unwrap();
        let Answer::Refused(error) = first(&bytes).unwrap().answer else {
            panic!()
        };
        assert_eq!(
            error.to_string(),
            "bad pot: attribute 1 is missing (Invalid argument)"
        );
    }

    #[test]
    fn words_behind_a_whole_request() {
        let bytes = [
            52, 0, 0, 0, 2, 0, 0, 2, 5, 0, 0, 0, 0, 0, 0, 0, // error, with attributes
            0xff, 0xff, 0xff, 0xff, // EPERM
            20, 0, 0, 0, 0x1f, 0, 5, 0, 5, 0, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0, // the request
            9, 0, 1, 0, b'n', b'o', b'p', b'e', 0, 0, 0, 0,
        ];
        let Answer::Refused(error) = first(&bytes).unwrap().answer else {
            panic!()
        };
        assert!(error.is_permission());
        assert!(error.to_string().starts_with("nope (Operation not"));
    }

    #[test]
    fn a_dump_may_end_with_an_error() {
        let bytes = [
            20, 0, 0, 0, 3, 0, 2, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xff, 0xff, 0xff,
        ];
        let Answer::Refused(error) = first(&bytes).unwrap().answer else {
            panic!()
        };
        assert_eq!(error.to_string(), "No such device");
    }

    #[test]
    fn cut_messages_are_errors() {
        let whole = [
            28, 0, 0, 0, 0x1f, 0, 2, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 8, 0, 1, 0, 2, 0, 0, 0,
        ];
        assert!(first(&whole).is_ok());
        for length in 1..whole.len() {
            assert!(first(&whole[..length]).is_err(), "{length}");
        }
        let mut headless = whole;
        headless[0] = 18;
        assert!(first(&headless).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            for message in received(&bytes).take(10_000) {
                drop(message);
            }
        }

        #[test]
        fn any_acknowledgement_is_read_or_refused(kind in 2_u8..4, flags: u16, body in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let [low, high] = flags.to_ne_bytes();
            let mut bytes = vec![u8::try_from(16 + body.len()).unwrap(), 0, 0, 0, kind, 0, low, high];
            bytes.extend([0; 8]);
            bytes.extend(body);
            proptest::prop_assert_eq!(received(&bytes).count(), 1);
        }
    }
}
