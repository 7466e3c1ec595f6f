// SPDX-License-Identifier: GPL-2.0 OR MIT

//! NFD3: every descriptor says everything but the place of the other fragments.

use super::{Meta, Next, Packet};
use crate::offload::checksum::Wanted;
use crate::offload::lso::LsoParams;
use acceltcp_abi::nfd3::{TxDesc, TX_LSO};
use zerocopy::FromBytes;

pub(super) fn next(window: &[u8], packet: &mut Packet) -> Next {
    let descs = window.chunks_exact(TxDesc::SIZE);
    for (index, bytes) in descs.enumerate() {
        let Ok(desc) = TxDesc::read_from_bytes(bytes) else {
            return Next::Bad;
        };
        if index == 0 {
            packet.meta = Meta::Length(desc.meta_len());
            packet.length = Some(usize::from(desc.data_len.get()));
            packet.offload.checksums = Wanted::from_tx_flags(desc.flags);
            packet.offload.lso = (desc.flags & TX_LSO != 0).then(|| LsoParams::from_desc(&desc));
        }
        let len = usize::from(desc.dma_len.get());
        if packet.push(desc.dma_addr(), len).is_none() {
            return Next::Bad;
        }
        if desc.is_eop() {
            return Next::Packet(index + 1);
        }
    }
    Next::Incomplete
}
