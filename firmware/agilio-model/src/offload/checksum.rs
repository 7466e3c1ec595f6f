// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Internet checksums: RFC 1071 (sum), RFC 1624 (update), RFC 9293 3.1, RFC 768 and RFC 8200 8.1 (pseudo headers).

use super::frame::{be16, parse, proto, Ip, Packet, Parsed, TCP_LEN, UDP_LEN};
use acceltcp_abi::nfd3;

/// Offset of the checksum in an IPv4 header.
const IPV4_CHECK: usize = 10;
/// Offset of the checksum in a TCP header.
const TCP_CHECK: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECK: usize = 6;

/// A ones' complement sum under way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian words; an odd last byte is padded with a zero. All but the last piece of
    /// what is summed must be of even length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let fours = bytes.chunks_exact(4);
        let rest = fours.remainder();
        // 2^32 of them cannot overflow; no frame is that long.
        let mut sum = self.0;
        for four in fours {
            sum += u64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds a word.
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// The sum, folded to 16 bits.
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum: the complement of the sum.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Checksum over `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).checksum()
}

/// The checksum after a word under it changed from `old` to `new` (RFC 1624, equation 3).
pub fn update(check: u16, old: u16, new: u16) -> u16 {
    Sum::default().word(!check).word(!old).word(new).checksum()
}

/// The checksum after two words under it, at an even offset, changed from `old` to `new`.
pub fn update32(check: u16, old: u32, new: u32) -> u16 {
    let high = update(check, (old >> 16) as u16, (new >> 16) as u16);
    update(high, old as u16, new as u16)
}

/// Sum of the pseudo header of `packet` for `len` bytes of its transport.
fn pseudo_header(packet: &Packet, frame: &[u8], len: usize) -> Sum {
    let len = len as u32;
    Sum::default()
        .bytes(packet.addresses(frame))
        .word((len >> 16) as u16)
        .word(len as u16)
        .word(u16::from(packet.proto))
}

/// Where the transport checksum of a packet is, and what it covers.
struct Transport {
    check: usize,
    start: usize,
    end: usize,
}

impl Transport {
    /// `None` when the transport is neither TCP nor UDP, or too short, or contradicts itself.
    fn find(packet: &Packet, frame: &[u8]) -> Option<Self> {
        let len = packet.end - packet.l4;
        let (check, len) = match packet.proto {
            proto::TCP if len >= TCP_LEN => (TCP_CHECK, len),
            proto::UDP if len >= UDP_LEN => {
                let udp_len = usize::from(be16(frame, packet.l4 + 4)?);
                if udp_len < UDP_LEN || udp_len > len {
                    return None;
                }
                (UDP_CHECK, udp_len)
            }
            _ => return None,
        };
        Some(Self {
            check: packet.l4 + check,
            start: packet.l4,
            end: packet.l4 + len,
        })
    }

    /// Sum over the pseudo header, the transport header and its data.
    fn sum(&self, packet: &Packet, frame: &[u8]) -> Sum {
        let covered = frame.get(self.start..self.end).unwrap_or_default();
        pseudo_header(packet, frame, covered.len()).bytes(covered)
    }
}

/// Which checksums to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// That of the IPv4 header, if there is one.
    pub ipv4: bool,
    /// That of TCP.
    pub tcp: bool,
    /// That of UDP.
    pub udp: bool,
}

impl Wanted {
    /// What the `flags` of a TX descriptor ask for.
    pub fn from_tx_flags(flags: u8) -> Self {
        let on = flags & nfd3::TX_CSUM != 0;
        Self {
            ipv4: on && flags & nfd3::TX_IP4_CSUM != 0,
            tcp: on && flags & nfd3::TX_TCP_CSUM != 0,
            udp: on && flags & nfd3::TX_UDP_CSUM != 0,
        }
    }
}

/// Why checksums cannot be filled in; the frame is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillError {
    /// Not IP, or not the transport that was said.
    OtherProtocol,
    /// Headers or lengths do not fit the frame.
    Malformed,
    /// A fragment has no transport checksum of its own.
    Fragment,
    /// A routing header hides the address that the checksum covers.
    Routed,
}

/// Fills in the checksums that are `wanted`.
pub fn fill(frame: &mut [u8], wanted: Wanted) -> Result<(), FillError> {
    if wanted == Wanted::default() {
        return Ok(());
    }
    let packet = match parse(frame) {
        Parsed::Ip(packet) => packet,
        Parsed::Malformed => return Err(FillError::Malformed),
        Parsed::NotIp => return Err(FillError::OtherProtocol),
    };
    if wanted.tcp || wanted.udp {
        fill_transport(frame, &packet, wanted)?;
    }
    if wanted.ipv4 && packet.ip == Ip::V4 {
        fill_ipv4(frame, packet.l3, packet.l4);
    }
    Ok(())
}

/// Fills in the checksum of the IPv4 header from `l3` to `l4`.
pub(super) fn fill_ipv4(frame: &mut [u8], l3: usize, l4: usize) {
    if let Some(header) = frame.get_mut(l3..l4).filter(|h| h.len() >= 20) {
        put(header, IPV4_CHECK, 0);
        let check = checksum(header);
        put(header, IPV4_CHECK, check);
    }
}

/// Fills in the checksum of TCP or UDP.
pub(super) fn fill_transport(
    frame: &mut [u8],
    packet: &Packet,
    wanted: Wanted,
) -> Result<(), FillError> {
    let right = match packet.proto {
        proto::TCP => wanted.tcp,
        proto::UDP => wanted.udp,
        _ => false,
    };
    if !right {
        return Err(FillError::OtherProtocol);
    }
    if packet.fragment {
        return Err(FillError::Fragment);
    }
    if packet.routed {
        return Err(FillError::Routed);
    }
    let transport = Transport::find(packet, frame).ok_or(FillError::Malformed)?;
    put(frame, transport.check, 0);
    let check = match transport.sum(packet, frame).checksum() {
        // Zero would say that there is none (RFC 768).
        0 if packet.proto == proto::UDP => 0xffff,
        check => check,
    };
    put(frame, transport.check, check);
    Ok(())
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(two) = bytes.get_mut(at..at + 2) {
        two.copy_from_slice(&word.to_be_bytes());
    }
}

/// What is known of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// It was not looked at, or there is none.
    #[default]
    Unchecked,
    /// It is wrong.
    Bad,
    /// It is right.
    Good,
}

impl Check {
    fn of(good: bool) -> Self {
        if good {
            Self::Good
        } else {
            Self::Bad
        }
    }

    fn flags(self, checked: u16, good: u16) -> u16 {
        match self {
            Self::Unchecked => 0,
            Self::Bad => checked,
            Self::Good => checked | good,
        }
    }
}

/// What is known of the checksums of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// IPv4 header.
    pub ipv4: Check,
    /// TCP.
    pub tcp: Check,
    /// UDP.
    pub udp: Check,
}

impl Verdict {
    /// As flags of an RX descriptor.
    pub fn rx_flags(self) -> u16 {
        self.ipv4.flags(nfd3::RX_IP4_CSUM, nfd3::RX_IP4_CSUM_OK)
            | self.tcp.flags(nfd3::RX_TCP_CSUM, nfd3::RX_TCP_CSUM_OK)
            | self.udp.flags(nfd3::RX_UDP_CSUM, nfd3::RX_UDP_CSUM_OK)
    }

    /// Whether a checksum is wrong.
    pub fn is_bad(self) -> bool {
        [self.ipv4, self.tcp, self.udp].contains(&Check::Bad)
    }
}

/// Checks the checksums of a received frame.
///
/// Left unchecked, for the host to judge: what is not TCP or UDP over IP, fragments, malformed packets,
/// UDP without a checksum, packets whose pseudo header is in a routing header.
pub fn verify(frame: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    let Parsed::Ip(packet) = parse(frame) else {
        return verdict;
    };
    if packet.ip == Ip::V4 {
        let header = frame.get(packet.l3..packet.l4).unwrap_or_default();
        verdict.ipv4 = Check::of(checksum(header) == 0);
    }
    if packet.fragment || packet.routed {
        return verdict;
    }
    let Some(transport) = Transport::find(&packet, frame) else {
        return verdict;
    };
    if packet.proto == proto::UDP && be16(frame, transport.check) == Some(0) {
        return verdict;
    }
    let check = Check::of(transport.sum(&packet, frame).checksum() == 0);
    match packet.proto {
        proto::TCP => verdict.tcp = check,
        _ => verdict.udp = check,
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use proptest::prelude::*;

    const ALL: Wanted = Wanted {
        ipv4: true,
        tcp: true,
        udp: true,
    };

    /// RFC 1071's definition, word by word with end-around carry.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u16;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            let (plain, carry) = sum.overflowing_add(word);
            sum = plain + u16::from(carry);
        }
        !sum
    }

    #[test]
    fn known_headers() {
        // RFC 1071, section 3: the sum of these bytes is ddf2.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // A UDP datagram over IPv4, worked out by hand.
        let mut frame = Build::v4(proto::UDP).payload(b"hi!").frame();
        fill(&mut frame, ALL).unwrap();
        let ip_sum: u32 = [0x4500, 31, 0x77fe, 0x4000, 0x4011, 0x0a63, 2, 0x0a63, 1]
            .iter()
            .sum();
        let ip_check = !((ip_sum & 0xffff) + (ip_sum >> 16)) as u16;
        assert_eq!(frame[24..26], ip_check.to_be_bytes());
        let udp = [0x0a63, 2, 0x0a63, 1, 17, 11, 0x1234, 80, 11, 0x6869, 0x2100];
        let udp_check = !(udp.iter().sum::<u32>() as u16);
        assert_eq!(frame[40..42], udp_check.to_be_bytes());
    }

    #[test]
    fn wanted_by_flags() {
        let flags = nfd3::TX_CSUM | nfd3::TX_IP4_CSUM | nfd3::TX_TCP_CSUM;
        let wanted = Wanted { udp: false, ..ALL };
        assert_eq!(Wanted::from_tx_flags(flags), wanted);
        assert_eq!(Wanted::from_tx_flags(nfd3::TX_TCP_CSUM), Wanted::default());
    }

    #[test]
    fn what_cannot_be_filled_is_left_alone() {
        let tcp = Wanted {
            tcp: true,
            ..Wanted::default()
        };
        let fragment = Build::v6(proto::TCP).ext(proto::FRAGMENT, &[0, 1, 0, 0, 0, 0]);
        let routed = Build::v6(proto::TCP).ext(proto::ROUTING, &[0, 1, 0, 0, 0, 0]);
        let mut short = Build::v4(proto::TCP).frame();
        short.pop();
        for (mut frame, error) in [
            (Build::v4(proto::UDP).frame(), FillError::OtherProtocol),
            (vec![0; 60], FillError::OtherProtocol),
            (short, FillError::Malformed),
            (Build::v4(1).frame(), FillError::OtherProtocol),
            (fragment.frame(), FillError::Fragment),
            (routed.frame(), FillError::Routed),
        ] {
            let before = frame.clone();
            assert_eq!(fill(&mut frame, tcp), Err(error));
            assert_eq!(frame, before);
        }
    }

    #[test]
    fn left_unchecked() {
        let fragment = Build::v6(proto::TCP).ext(proto::FRAGMENT, &[0, 1, 0, 0, 0, 0]);
        let routed = Build::v6(proto::TCP).ext(proto::ROUTING, &[0, 1, 0, 0, 0, 0]);
        let mut udp_too_long = Build::v6(proto::UDP).frame();
        udp_too_long[59] += 1;
        for frame in [
            fragment.frame(),
            routed.frame(),
            udp_too_long,
            Build::v6(58).payload(&[0; 8]).frame(),
            // Without a checksum.
            Build::v6(proto::UDP).frame(),
            vec![0; 60],
            Vec::new(),
        ] {
            assert_eq!(verify(&frame), Verdict::default());
        }
    }

    #[test]
    fn udp_without_checksum_still_has_an_ipv4_header() {
        let mut frame = Build::v4(proto::UDP).payload(&[1; 9]).frame();
        let ipv4 = Wanted {
            ipv4: true,
            ..Wanted::default()
        };
        fill(&mut frame, ipv4).unwrap();
        let expected = Verdict {
            ipv4: Check::Good,
            ..Verdict::default()
        };
        assert_eq!(verify(&frame), expected);
        let flags = nfd3::RX_IP4_CSUM | nfd3::RX_IP4_CSUM_OK;
        assert_eq!(expected.rx_flags(), flags);
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ones() {
        let mut frame = Build::v4(proto::UDP).payload(&[0, 0]).frame();
        fill(&mut frame, ALL).unwrap();
        // Put the checksum into the payload: the sum then comes to zero.
        let check = [frame[40], frame[41]];
        frame[42..44].copy_from_slice(&check);
        fill(&mut frame, ALL).unwrap();
        assert_eq!(frame[40..42], [0xff, 0xff]);
        assert_eq!(verify(&frame).udp, Check::Good);
    }

    proptest! {
        #[test]
        fn a_sum_is_a_sum(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(checksum(&bytes), reference(&bytes));
        }

        #[test]
        fn an_update_equals_a_full_sum(
            mut words in proptest::collection::vec(any::<u16>(), 2..40),
            at: prop::sample::Index,
            new: u16,
            new32: u32,
        ) {
            // A packet is never all zeros; only then would the two differ (0 and ffff).
            words.push(0x4500);
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
            let at = at.index(words.len() - 2);
            let check = checksum(&bytes(&words));
            let old = words[at];
            words[at] = new;
            let check = update(check, old, new);
            prop_assert_eq!(check, checksum(&bytes(&words)));
            let old32 = u32::from(words[at]) << 16 | u32::from(words[at + 1]);
            words[at] = (new32 >> 16) as u16;
            words[at + 1] = new32 as u16;
            prop_assert_eq!(update32(check, old32, new32), checksum(&bytes(&words)));
        }

        #[test]
        fn what_is_filled_verifies_and_any_flip_shows(
            build in any_build(),
            at: prop::sample::Index,
            bit in 0u8..8,
            padding in 0usize..20,
        ) {
            let mut frame = build.frame();
            fill(&mut frame, ALL).unwrap();
            frame.resize(frame.len() + padding, 0xa5);
            let good = verify(&frame);
            prop_assert!(!good.is_bad());
            let Parsed::Ip(packet) = parse(&frame) else { panic!() };
            let v4 = packet.ip == Ip::V4;
            prop_assert_eq!(good.ipv4, if v4 { Check::Good } else { Check::Unchecked });
            let l4 = [good.tcp, good.udp];
            let tcp = packet.proto == proto::TCP;
            prop_assert_eq!(l4[usize::from(!tcp)], Check::Good);
            prop_assert_eq!(l4[usize::from(tcp)], Check::Unchecked);
            // In the transport, behind the ports and lengths.
            let at = packet.l4 + 6 + at.index(packet.end - packet.l4 - 6);
            frame[at] ^= 1 << bit;
            let bad = verify(&frame);
            let now_none = !tcp && frame[packet.l4 + 6..packet.l4 + 8] == [0, 0];
            prop_assert!(bad.is_bad() || now_none);
        }

        #[test]
        fn hostile_frames_do_not_panic(frame in hostile_frame(), ipv4: bool, tcp: bool, udp: bool) {
            let verdict = verify(&frame);
            prop_assert!(verdict.tcp == Check::Unchecked || verdict.udp == Check::Unchecked);
            let mut frame = frame;
            if fill(&mut frame, Wanted { ipv4, tcp, udp }).is_ok() && ipv4 && (tcp || udp) {
                prop_assert!(!verify(&frame).is_bad());
            }
        }
    }
}
