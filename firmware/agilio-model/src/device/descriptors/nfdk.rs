// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NFDK: a head, more data, and behind them what to do.

use super::{Meta, Next, Packet};
use crate::offload::checksum::Wanted;
use crate::offload::lso::LsoParams;
use acceltcp_abi::nfd3::TX_MSS_MASK;
use acceltcp_abi::nfdk::{self, DataDesc, MetaDesc, TsoDesc};
use zerocopy::FromBytes;

pub(super) fn next(window: &[u8], position: u32, packet: &mut Packet) -> Next {
    let mut descs = window.chunks_exact(DataDesc::SIZE);
    let mut used = 0;
    let mut take = || {
        used += 1;
        descs.next()
    };
    let Some(head) = take().and_then(|bytes| DataDesc::read_from_bytes(bytes).ok()) else {
        return Next::Incomplete;
    };
    let kind = head.head_type();
    match kind {
        nfdk::TYPE_NOP => {
            // The rest of the block, in one go: a driver takes it back in one go, too.
            let rest = (nfdk::BLOCK - position % nfdk::BLOCK) as usize;
            return if rest * DataDesc::SIZE <= window.len() {
                Next::Skip(rest)
            } else {
                Next::Incomplete
            };
        }
        nfdk::TYPE_SIMPLE if !head.is_eop() => return Next::Bad,
        nfdk::TYPE_SIMPLE | nfdk::TYPE_GATHER | nfdk::TYPE_TSO => {}
        _ => return Next::Bad,
    }
    let (mut addr, mut len, mut last) = (head.dma_addr(), head.head_len(), head.is_eop());
    loop {
        if packet.push(addr, len).is_none() {
            return Next::Bad;
        }
        if last {
            break;
        }
        let Some(desc) = take().and_then(|bytes| DataDesc::read_from_bytes(bytes).ok()) else {
            return Next::Incomplete;
        };
        (addr, len, last) = (desc.dma_addr(), desc.data_len(), desc.is_eop());
    }
    let Some(meta) = take().and_then(|bytes| MetaDesc::read_from_bytes(bytes).ok()) else {
        return Next::Incomplete;
    };
    if meta.flags & nfdk::META_CHAIN != 0 {
        packet.meta = Meta::Chain;
    }
    packet.offload.checksums = Wanted {
        ipv4: meta.flags & nfdk::META_L3_CSUM != 0,
        // The frame says which of the two it is.
        tcp: meta.flags & nfdk::META_L4_CSUM != 0,
        udp: meta.flags & nfdk::META_L4_CSUM != 0,
    };
    if kind == nfdk::TYPE_TSO {
        let Some(tso) = take().and_then(|bytes| TsoDesc::read_from_bytes(bytes).ok()) else {
            return Next::Incomplete;
        };
        packet.offload.lso = Some(LsoParams {
            mss: tso.mss.get() & TX_MSS_MASK,
            header_len: tso.hdrlen,
            l3: tso.l3_offset,
            l4: tso.l4_offset,
        });
    }
    Next::Packet(used)
}

#[cfg(test)]
mod tests {
    use super::super::Fragment;
    use super::*;
    use proptest::prelude::*;
    use zerocopy::little_endian::{U16, U32};
    use zerocopy::IntoBytes;

    fn data(addr: u32, len_type: u16) -> Vec<u8> {
        DataDesc {
            dma_addr_hi: U16::ZERO,
            dma_len_type: U16::new(len_type),
            dma_addr_lo: U32::new(addr),
        }
        .as_bytes()
        .to_vec()
    }

    fn meta(flags: u8) -> Vec<u8> {
        vec![flags, 0, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn a_simple_packet() {
        let head = data(0x1000, nfdk::TYPE_SIMPLE | nfdk::EOP | 59);
        let ring = [head, meta(nfdk::META_L4_CSUM), meta(0)].concat();
        let mut packet = Packet::default();
        assert_eq!(next(&ring, 0, &mut packet), Next::Packet(2));
        let expected = Fragment {
            addr: 0x1000,
            len: 60,
        };
        assert_eq!(packet.fragments(), [expected]);
        assert!(packet.offload.checksums.tcp && !packet.offload.checksums.ipv4);
        assert_eq!(packet.offload.lso, None);
    }

    #[test]
    fn a_packet_to_be_cut() {
        let tso = TsoDesc {
            mss: U16::new(1448),
            hdrlen: 66,
            segments: 3,
            l3_offset: 14,
            l4_offset: 34,
            reserved: U16::ZERO,
        };
        let ring = [
            data(0x1000, nfdk::TYPE_TSO | 0xfff),
            data(0x2000, 0x1fff),
            data(0x8000, nfdk::EOP | 99),
            meta(nfdk::META_CHAIN),
            tso.as_bytes().to_vec(),
        ]
        .concat();
        let mut packet = Packet::default();
        assert_eq!(next(&ring, 0, &mut packet), Next::Packet(5));
        let lengths: Vec<_> = packet.fragments().iter().map(|f| f.len).collect();
        assert_eq!(lengths, [0x1000, 0x2000, 100]);
        assert_eq!(packet.meta, Meta::Chain);
        assert_eq!(packet.offload.lso.map(|lso| lso.mss), Some(1448));
        for len in 0..5 {
            assert_eq!(next(&ring[..len * 8], 0, &mut packet), Next::Incomplete);
            packet.clear();
        }
    }

    #[test]
    fn gaps_and_nonsense() {
        let mut packet = Packet::default();
        assert_eq!(next(&[0; 16], 30, &mut packet), Next::Skip(2));
        assert_eq!(next(&[0; 24], 62, &mut packet), Next::Skip(2));
        assert_eq!(next(&[0; 16], 29, &mut packet), Next::Incomplete);
        let no_end = data(0, nfdk::TYPE_SIMPLE);
        assert_eq!(next(&no_end, 0, &mut packet), Next::Bad);
        let no_type = data(0, 3 << 12);
        assert_eq!(next(&no_type, 0, &mut packet), Next::Bad);
    }

    proptest! {
        #[test]
        fn any_descriptors(ring in proptest::collection::vec(any::<u8>(), 0..600), position: u32) {
            let mut packet = Packet::default();
            match super::super::Format::Nfdk.next(&ring, 0, &mut packet) {
                Next::Packet(count) => prop_assert!(count >= 2 && count * 8 <= ring.len()),
                Next::Skip(count) => prop_assert!(count >= 1 && count * 8 <= ring.len()),
                Next::Incomplete | Next::Bad => {}
            }
        }
    }
}
