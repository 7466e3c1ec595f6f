// SPDX-License-Identifier: GPL-2.0 OR MIT

//! On which queue of the port a flow comes in, so that it goes out on the same one.
//!
//! A multi-queue TAP lets a flow come in where the last frame of it went out. To answer elsewhere would move the
//! flow in the middle, and frames of it on two queues may overtake one another.
//!
//! Flows that share a place in the table may move so; that costs an order, never a frame.

use crate::offload::frame::{parse, Packet, Parsed};
use std::sync::atomic::{AtomicU8, Ordering};

/// Places of the table, a byte each: so many that of some ten thousand flows hardly any share one at a time.
const PLACES: usize = 1 << 20;

/// The queues of flows.
#[derive(Debug)]
pub struct FlowQueues {
    queues: usize,
    places: Box<[AtomicU8]>,
}

impl FlowQueues {
    /// A table for a port of `queues` queues, at most 256; all flows are on queue 0.
    pub fn new(queues: usize) -> Self {
        let places = if queues > 1 { PLACES } else { 0 };
        Self {
            queues,
            places: (0..places).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Notes that `frame` came in on `queue`.
    pub fn learn(&self, frame: &[u8], queue: usize) {
        if let (Some(place), Ok(queue)) = (self.place(frame), u8::try_from(queue)) {
            // Of many writes all but the first change nothing, and would only pull at the cache line.
            if place.load(Ordering::Relaxed) != queue {
                place.store(queue, Ordering::Relaxed);
            }
        }
    }

    /// The queue on which frames of the flow of `frame` came in.
    pub fn queue(&self, frame: &[u8]) -> usize {
        let queue = self
            .place(frame)
            .map_or(0, |place| place.load(Ordering::Relaxed).into());
        if queue < self.queues {
            queue
        } else {
            0
        }
    }

    fn place(&self, frame: &[u8]) -> Option<&AtomicU8> {
        if self.places.is_empty() {
            return None;
        }
        let hash = match parse(frame) {
            Parsed::Ip(packet) => hash(&packet, frame),
            Parsed::NotIp | Parsed::Malformed => 0,
        };
        self.places.get(hash as usize % PLACES)
    }
}

/// A hash over addresses and ports that is the same for both directions.
fn hash(packet: &Packet, frame: &[u8]) -> u32 {
    let fold = |bytes: &[u8]| {
        bytes.iter().fold(0u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    let ends = |bytes: &[u8]| {
        let (src, dst) = bytes.split_at(bytes.len() / 2);
        (fold(src), fold(dst))
    };
    let addresses = ends(packet.addresses(frame));
    let ports = packet.ports(frame).map_or((0, 0), ends);
    let end = |address: u32, port: u32| (address ^ port.rotate_left(16)).wrapping_mul(0x9e37_79b1);
    let sum = end(addresses.0, ports.0).wrapping_add(end(addresses.1, ports.1));
    sum ^ sum >> 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::frame::proto;
    use crate::offload::testing::Build;
    use std::collections::BTreeSet;

    /// The same flow the other way round.
    fn back(frame: &[u8], packet: &Packet) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let (at, len) = match packet.addresses(&frame).len() {
            8 => (packet.l3 + 12, 4),
            _ => (packet.l3 + 8, 16),
        };
        let (src, dst) = frame[at..at + 2 * len].split_at_mut(len);
        src.swap_with_slice(dst);
        let (src, dst) = frame[packet.l4..packet.l4 + 4].split_at_mut(2);
        src.swap_with_slice(dst);
        frame
    }

    fn with_port(port: u16) -> (Vec<u8>, Packet) {
        let mut frame = Build::v4(proto::TCP).payload(b"x").frame();
        let Parsed::Ip(packet) = parse(&frame) else {
            panic!("not IP");
        };
        frame[packet.l4..packet.l4 + 2].copy_from_slice(&port.to_be_bytes());
        (frame, packet)
    }

    #[test]
    fn a_flow_goes_out_where_it_came_in() {
        let flows = FlowQueues::new(4);
        for build in [Build::v4(proto::TCP), Build::v6(proto::UDP)] {
            let frame = build.payload(b"x").frame();
            let Parsed::Ip(packet) = parse(&frame) else {
                panic!("not IP");
            };
            assert_eq!(flows.queue(&frame), 0);
            for queue in [3, 1] {
                flows.learn(&frame, queue);
                assert_eq!(flows.queue(&back(&frame, &packet)), queue);
            }
        }
        flows.learn(&[0; 60], 2);
        assert_eq!(flows.queue(&[0; 60]), 2, "what is no IP is one flow");
    }

    #[test]
    fn flows_have_places_of_their_own() {
        let flows = FlowQueues::new(2);
        let places: BTreeSet<_> = (0..1000)
            .map(|port| {
                let (frame, _) = with_port(port);
                std::ptr::from_ref(flows.place(&frame).unwrap())
            })
            .collect();
        // Hardly one of 1000 shares its place by chance.
        assert!(places.len() > 995, "{}", places.len());
    }

    #[test]
    fn a_port_of_one_queue_needs_no_table() {
        let flows = FlowQueues::new(1);
        let (frame, _) = with_port(5);
        flows.learn(&frame, 3);
        assert_eq!(flows.queue(&frame), 0);
        assert!(flows.places.is_empty());
    }
}
