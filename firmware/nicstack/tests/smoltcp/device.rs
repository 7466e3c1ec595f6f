// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is between smoltcp and the NIC: a wire that loses, doubles and reorders, and the client's end of it.

use super::MS;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as Time;
use std::collections::VecDeque;

/// How a wire treats frames, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
}

/// A wire: frames with the times at which they arrive.
pub(crate) struct Wire {
    faults: Faults,
    state: u64,
    pub(crate) frames: Vec<(u64, Vec<u8>)>,
}

impl Wire {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            state: seed,
            frames: Vec::new(),
        }
    }

    /// SplitMix64, below 100.
    fn percent(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 100
    }

    pub(crate) fn send(&mut self, now: u64, frame: Vec<u8>) {
        let copies = 1 + u64::from(self.percent() < self.faults.duplicates);
        for _ in 0..copies {
            if self.percent() < self.faults.loss {
                continue;
            }
            let mut arrival = now + 5 * MS;
            if self.percent() < self.faults.reordered {
                arrival += self.percent() * MS;
            }
            self.frames.push((arrival, frame.clone()));
        }
    }

    pub(crate) fn arrived(&mut self, now: u64) -> Vec<Vec<u8>> {
        self.frames.sort_by_key(|(time, _)| *time);
        let count = self.frames.partition_point(|(time, _)| *time <= now);
        self.frames.drain(..count).map(|(_, frame)| frame).collect()
    }
}

/// The client's network device: IP packets in and out.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) received: VecDeque<Vec<u8>>,
    pub(crate) sent: Vec<Vec<u8>>,
}

pub(crate) struct Rx(Vec<u8>);
pub(crate) struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Time) -> Option<(Rx, Tx<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Rx(packet), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: Time) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // More than Ethernet's 1500: smoltcp takes no room off its segments for the timestamps.
        capabilities.max_transmission_unit = 1560;
        capabilities
    }
}
