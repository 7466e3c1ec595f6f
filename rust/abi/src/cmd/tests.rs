// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the messages.

extern crate std;
use super::*;
use proptest::prelude::*;
use std::vec;

fn rule() -> impl Strategy<Value = ListenRule> {
    any::<[u8; ListenRule::SIZE]>().prop_map(|bytes| {
        let mut rule = ListenRule::read_from_bytes(&bytes).unwrap();
        rule.flags = U16::new(rule.flags.get() & RULE_FLAGS);
        rule.reserved = U32::new(0);
        rule
    })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (0..=attach::ALL).prop_map(|flags| Request::Attach(Attach {
            flags: U32::new(flags),
            ..Attach::default()
        })),
        Just(Request::Detach),
        rule().prop_map(Request::ListenAdd),
        (any::<u32>(), rule()).prop_map(|(handle, rule)| Request::ListenReplace(ListenReplace {
            handle: U32::new(handle),
            rule,
        })),
        any::<u32>().prop_map(|handle| Request::ListenRemove(ListenRemove {
            handle: U32::new(handle),
        })),
        Just(Request::ListenFlush),
        any::<[u8; 8]>().prop_map(|key| Request::KeySet(Key { key })),
        any::<[u8; 8]>().prop_map(|key| Request::KeyRotate(Key { key })),
        any::<u32>().prop_map(|ms| Request::ClockSet(Clock {
            host_ms: U32::new(ms),
            ..Clock::default()
        })),
        any::<u16>().prop_map(|first| Request::StatsRead(StatsRead {
            first: U16::new(first),
            ..StatsRead::default()
        })),
        Just(Request::MemoryRead),
        Just(Request::TeardownRead),
        Just(Request::SpliceRead),
        any::<[u8; AclRule::SIZE]>()
            .prop_map(|bytes| Request::AclAdd(AclRule::read_from_bytes(&bytes).unwrap())),
        any::<u32>().prop_map(|handle| Request::AclRemove(AclName {
            handle: U32::new(handle),
        })),
        Just(Request::AclFlush),
        any::<u32>().prop_map(|handle| Request::AclRead(AclName {
            handle: U32::new(handle),
        })),
        (any::<[u8; FlowsRead::SIZE]>(), 1..=flows::state::ALL / 2).prop_map(|(bytes, states)| {
            let mut read = FlowsRead::read_from_bytes(&bytes).unwrap();
            read.states = U32::new(states * 2);
            read.reserved = U32::new(0);
            Request::FlowsRead(read)
        }),
    ]
}

#[test]
fn golden_bytes() {
    let mut out = [0; Request::MAX];
    let request = Request::KeyRotate(Key {
        key: [1, 2, 3, 4, 5, 6, 7, 8],
    });
    let len = request.emit(0x0102, &mut out);
    assert_eq!(
        &out[..len],
        [1, 0, 8, 0, 8, 0, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

#[test]
fn reply_golden_bytes() {
    let header = Header {
        version: VERSION,
        kind: U16::new(kind::LISTEN_ADD),
        tag: U16::new(7),
        ..Header::default()
    };
    let body = ListenReply {
        handle: U32::new(0x0a0b),
        free: U32::new(1),
    };
    let mut out = [0; 32];
    let len = emit_reply(&header, 0, body.as_bytes(), &mut out);
    assert_eq!(
        &out[..len],
        [1, 0, 3, 0x80, 8, 0, 7, 0, 0x0b, 0x0a, 0, 0, 1, 0, 0, 0]
    );
    assert_eq!(parse_reply_as(&out, kind::LISTEN_ADD, 7), Ok(body));
    assert_eq!(
        parse_reply(&out, kind::LISTEN_ADD, 8),
        Err(ReplyError::Mismatch)
    );
    assert_eq!(
        parse_reply(&out[..12], kind::LISTEN_ADD, 7),
        Err(ReplyError::Length)
    );
    let len = emit_reply(&header, ENOSPC, &[], &mut out);
    assert_eq!(
        parse_reply(&out[..len], kind::LISTEN_ADD, 7),
        Err(ReplyError::Refused(ENOSPC))
    );
    assert_eq!(
        emit_reply(&header, 0, body.as_bytes(), &mut out[..15]),
        0,
        "a reply is never cut"
    );
}

#[test]
fn refusals() {
    let mut out = [0; Request::MAX];
    let len = Request::ListenRemove(ListenRemove {
        handle: U32::new(1),
    })
    .emit(3, &mut out);
    let errno = |bytes: &[u8]| Request::parse(bytes).unwrap_err().errno;
    assert_eq!(errno(&out[..7]), EMSGSIZE);
    assert_eq!(errno(&out[..len - 1]), EMSGSIZE);
    let with = |place: usize, value: u8| {
        let mut bytes = out;
        bytes[place] = value;
        bytes
    };
    assert_eq!(errno(&with(0, 2)), EPROTONOSUPPORT);
    assert_eq!(errno(&with(1, 1)), EINVAL);
    assert_eq!(errno(&with(2, 0xee)), EOPNOTSUPP);
    assert_eq!(errno(&with(4, 5)), EMSGSIZE);
    assert_eq!(errno(&with(4, 3)), EMSGSIZE);
    let refused = Request::parse(&with(2, 0xee)).unwrap_err();
    assert_eq!(refused.header.tag, 3, "a refusal can be answered");
}

proptest! {
    #[test]
    fn round_trip(request in request(), tag: u16) {
        let mut out = [0; Request::MAX];
        let len = request.emit(tag, &mut out);
        let (header, parsed) = Request::parse(&out[..len]).unwrap();
        prop_assert_eq!(header.tag, tag);
        prop_assert_eq!(parsed, request);
    }

    #[test]
    fn replies_round_trip(
        request in request(), tag: u16, status: u8, body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut out = [0; Request::MAX];
        let len = request.emit(tag, &mut out);
        let (header, request) = Request::parse(&out[..len]).unwrap();
        let mut reply = [0; 80];
        let len = emit_reply(&header, status, &body, &mut reply);
        let expected = if status == 0 { Ok(&body[..]) } else { Err(ReplyError::Refused(status)) };
        prop_assert_eq!(parse_reply(&reply[..len], request.kind(), tag), expected);
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Request::parse(&bytes);
        let _ = parse_reply(&bytes, kind::KEY_SET, 0);
    }

    #[test]
    fn any_body_parses_or_is_refused(
        kind in 0u16..16,
        size in proptest::sample::select(vec![0usize, 1, 4, 8, 40, 44]),
        bytes: [u8; 44],
    ) {
        let body = &bytes[..size];
        let header = Header {
            version: VERSION,
            kind: U16::new(kind),
            length: U16::new(body.len() as u16),
            ..Header::default()
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(body);
        if let Ok((_, request)) = Request::parse(&bytes) {
            let mut out = [0; Request::MAX];
            let len = request.emit(0, &mut out);
            prop_assert_eq!(&out[..len], &bytes[..]);
        }
    }
}
