// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What packet work depends on, and packet work itself.

use super::card::Card;
use super::dma::Dma;
use super::imem::Stack;
use super::memory::GuestMemory;
use super::rx::RxFrame;
use super::settings::{Settings, ETH_HLEN};
use super::tx::{Progress, TxFrame};
use crate::counters::{Counter, DropReason};
use crate::offload::checksum;
use crate::offload::filter::Filter;
use crate::offload::lso::{Lso, LsoParams};
use crate::wire::{FrameBuf, FrameDirection};
use acceltcp_abi::meta::{RxMeta, TxMeta};
use acceltcp_abi::nfd3::RX_EOP;
use acceltcp_abi::regs::ctrl;
use acceltcp_abi::splice::{Splice, SpliceEvent};
use nicstack::{Credits, HandOver, Handshake, OwnerCredits};
use std::io;

/// Most frames from the wire that are worked on before those who wait to change the datapath may.
const WIRE_BATCH: usize = 64;

/// How the card is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Running,
    /// It moves no frame for the time being; updates are answered.
    Stalled,
    /// Its firmware died.
    Dead,
}

/// What makes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The cable is in.
    pub cable: bool,
    /// Somebody is at its other end.
    pub peer: bool,
}

impl Link {
    /// Whether the link is up.
    pub fn is_up(self) -> bool {
        self.cable && self.peer
    }
}

/// What packet work depends on.
pub struct Datapath {
    /// Memory that the host has mapped for the card.
    pub memory: GuestMemory,
    /// Whether the host lets the card use it.
    pub may_dma: bool,
    /// How the card is.
    pub condition: Condition,
    /// The link.
    pub link: Link,
    /// What the host asked for.
    pub settings: Settings,
    /// Which frames from the wire are for the host.
    pub filter: Filter,
}

impl Datapath {
    /// Why no packet can be worked on now, if so.
    fn obstacle(&self) -> Option<DropReason> {
        if self.condition != Condition::Running {
            Some(DropReason::CardDead)
        } else if !self.may_dma || !self.settings.enabled() {
            Some(DropReason::Disabled)
        } else if !self.link.is_up() {
            Some(DropReason::LinkDown)
        } else {
            None
        }
    }
}

/// Where the stack's frames go.
struct Ports<'a> {
    card: &'a Card,
    datapath: &'a Datapath,
    /// The queue of the wire that is served.
    queue: Option<usize>,
}

impl nicstack::Output for Ports<'_> {
    fn to_host(&mut self, frame: &[u8]) {
        self.deliver_or_count(frame, None);
    }

    fn to_host_with(&mut self, frame: &[u8], handshake: &Handshake) {
        self.deliver_or_count(frame, Some(*handshake));
    }

    fn credits(&mut self, credits: &Credits) {
        // One that finds no buffer is made up for by the next.
        let meta = RxMeta {
            credits: Some(*credits),
            ..RxMeta::default()
        };
        if let Err(reason) = self.deliver_message(&meta) {
            self.card.counters.drop_frame(reason);
        }
    }

    fn owner_credits(&mut self, credits: &OwnerCredits) -> bool {
        let meta = RxMeta {
            owner: Some(*credits),
            ..RxMeta::default()
        };
        // The stack tells again what finds no buffer.
        self.deliver_message(&meta).is_ok()
    }

    fn splice_event(&mut self, event: &SpliceEvent) -> bool {
        let meta = RxMeta {
            splice: Some(*event),
            ..RxMeta::default()
        };
        // The stack keeps what finds no buffer.
        self.deliver_message(&meta).is_ok()
    }

    fn to_wire(&mut self, frame: &[u8]) {
        // The port counts what it could not send. The other end is to judge the checksums, whoever made them.
        let card = self.card;
        let queue = self.queue.unwrap_or_else(|| card.flows.queue(frame));
        let _ = card.wire.send(queue, frame, false);
    }
}

impl Ports<'_> {
    fn deliver_or_count(&self, frame: &[u8], handshake: Option<Handshake>) {
        if let Err(reason) = self.deliver(frame, handshake) {
            self.card.counters.drop_frame(reason);
            match reason {
                DropReason::TooLong => self.card.stats.rx.error(),
                _ => self.card.stats.rx.discard(),
            }
        }
    }

    fn deliver(&self, frame: &[u8], handshake: Option<Handshake>) -> Result<(), DropReason> {
        let Self { card, datapath, .. } = self;
        let settings = &datapath.settings;
        if frame.len() > settings.max_frame() {
            return Err(DropReason::TooLong);
        }
        let mut meta = RxMeta {
            handshake,
            ..RxMeta::default()
        };
        let mut index = 0;
        if settings.has(ctrl::RSS2) {
            meta.hash = settings.rss.hash(frame);
            index = usize::from(settings.rss.ring(meta.hash.map(|(_, hash)| hash)));
        }
        let mut flags = RX_EOP;
        if settings.has(ctrl::RXCSUM) {
            flags |= checksum::verify(frame).rx_flags();
        }
        let mut meta_bytes = [0; RxMeta::MAX];
        let meta_len = meta.emit(&mut meta_bytes);
        let buffer = RxFrame {
            meta: &meta_bytes[..meta_len],
            bytes: frame,
            flags,
        };
        if let Some(queue) = self.queue {
            card.flows.learn(frame, queue);
        }
        let ring = card.rx.get(index).ok_or(DropReason::Disabled)?;
        ring.lock().deliver(
            &buffer,
            Dma::new(&datapath.memory, &card.counters),
            card.queues.freelist(index),
            &card.irqs,
            &card.counters,
        )?;
        if let Some(capture) = &card.host_capture {
            capture.record(FrameDirection::In, frame);
        }
        card.stats.rx.frame(index, frame);
        card.counters
            .add_frame(Counter::HostRxPackets, Counter::HostRxBytes, frame.len());
        Ok(())
    }

    /// What is of no frame goes to the first ring. A driver gets nothing but frames there, so an empty one goes along.
    fn deliver_message(&self, meta: &RxMeta) -> Result<(), DropReason> {
        const NO_FRAME: [u8; ETH_HLEN] = [0; ETH_HLEN];
        let card = self.card;
        let mut bytes = [0; RxMeta::MAX];
        let len = meta.emit(&mut bytes);
        let ring = card.rx.first().ok_or(DropReason::Disabled)?;
        ring.lock().deliver(
            &RxFrame {
                meta: &bytes[..len],
                bytes: &NO_FRAME,
                flags: RX_EOP,
            },
            Dma::new(&self.datapath.memory, &card.counters),
            card.queues.freelist(0),
            &card.irqs,
            &card.counters,
        )?;
        // The host has to handle it like any other.
        card.counters
            .add_frame(Counter::HostRxPackets, Counter::HostRxBytes, NO_FRAME.len());
        Ok(())
    }

    /// Takes over the connection of which the host sends the template `frame`.
    fn hand_over(&mut self, message: &HandOver, frame: &[u8]) {
        let card = self.card;
        card.counters
            .add_frame(Counter::HostTxPackets, Counter::HostTxBytes, frame.len());
        card.nic.hand_over(card.now(), message, frame, self);
    }

    /// Takes what the host wants of a pair, with the templates in `frame`.
    fn splice(&mut self, message: &Splice, frame: &[u8]) {
        let card = self.card;
        card.counters
            .add_frame(Counter::HostTxPackets, Counter::HostTxBytes, frame.len());
        card.nic.splice(card.now(), message, frame, self);
    }

    /// Takes a frame that the host gives back as it came from the wire; or several, which the host had merged.
    fn take_back(&mut self, frame: TxFrame<'_>) {
        let card = self.card;
        card.counters.add_frame(
            Counter::HostTxPackets,
            Counter::HostTxBytes,
            frame.bytes.len(),
        );
        let result = match frame.offload.lso {
            Some(params) => self.segment(frame, params, Stack::returned),
            None => {
                if self.datapath.settings.has(ctrl::TXCSUM) {
                    let _ = checksum::fill(frame.bytes, frame.offload.checksums);
                }
                card.nic.returned(card.now(), frame.bytes, self);
                Ok(())
            }
        };
        if let Err(reason) = result {
            card.counters.drop_frame(reason);
        }
    }

    /// Takes a frame that the host sends on TX ring `ring`.
    fn take_from_host(&mut self, ring: usize, frame: TxFrame<'_>) {
        let card = self.card;
        let bytes = &*frame.bytes;
        card.stats.tx.frame(ring, bytes);
        card.counters
            .add_frame(Counter::HostTxPackets, Counter::HostTxBytes, bytes.len());
        if let Some(capture) = &card.host_capture {
            capture.record(FrameDirection::Out, bytes);
        }
        let result = match frame.offload.lso {
            Some(params) => self.segment(frame, params, Stack::from_host),
            None => self.send(frame),
        };
        if let Err(reason) = result {
            card.counters.drop_frame(reason);
            card.stats.tx.error();
        }
    }

    fn send(&mut self, frame: TxFrame<'_>) -> Result<(), DropReason> {
        let settings = &self.datapath.settings;
        if frame.bytes.len() > settings.max_frame() {
            return Err(DropReason::TooLong);
        }
        if settings.has(ctrl::TXCSUM) {
            // What is of another kind than the host says goes out as it is.
            let _ = checksum::fill(frame.bytes, frame.offload.checksums);
        }
        let card = self.card;
        card.nic.from_host(card.now(), frame.bytes, self);
        Ok(())
    }

    /// Cuts a frame, and gives each segment to `take`.
    fn segment(
        &mut self,
        frame: TxFrame<'_>,
        params: LsoParams,
        take: impl Fn(&Stack, nicstack::Instant, &[u8], &mut Self),
    ) -> Result<(), DropReason> {
        let settings = &self.datapath.settings;
        if !settings.has(ctrl::LSO2) {
            return Err(DropReason::BadLso);
        }
        let lso = Lso::new(frame.bytes, params).map_err(|_| DropReason::BadLso)?;
        if lso.max_segment() > settings.max_frame() {
            return Err(DropReason::TooLong);
        }
        let card = self.card;
        card.counters.add(Counter::HostTxLso, 1);
        for index in 0..lso.segments() {
            if let Some(len) = lso.emit(index, frame.scratch) {
                take(&card.nic, card.now(), &frame.scratch[..len], self);
            }
        }
        Ok(())
    }
}

impl Card {
    /// Works on a batch of descriptors of TX ring `ring`.
    pub fn service_tx(&self, ring: usize) -> Progress {
        let datapath = self.datapath.read();
        match datapath.obstacle() {
            // With the cable out the port drops what is sent, but the host gets its buffers back.
            None | Some(DropReason::LinkDown) => {}
            Some(_) => return Progress::Idle,
        }
        let mut ports = Ports {
            card: self,
            datapath: &datapath,
            queue: None,
        };
        self.tx[ring].lock().service(
            Dma::new(&datapath.memory, &self.counters),
            self.queues.tx(ring),
            &self.irqs,
            &self.counters,
            |frame| match frame.meta {
                // With the cable out, too: the host has given the connection up.
                Ok(TxMeta::HandOver(message)) => {
                    ports.hand_over(&message, frame.bytes);
                    self.start_clock();
                }
                Ok(TxMeta::Splice(message)) => {
                    ports.splice(&message, frame.bytes);
                    self.start_clock();
                }
                Ok(TxMeta::Returned) => ports.take_back(frame),
                Ok(TxMeta::None) if datapath.link.is_up() => ports.take_from_host(ring, frame),
                Ok(TxMeta::None) => self.counters.drop_frame(DropReason::LinkDown),
                Err(_) => self.counters.drop_frame(DropReason::BadMetadata),
            },
        )
    }

    /// Works on a batch of frames of the wire's queue `queue`, which has nothing else to do with `buffer`.
    ///
    /// # Errors
    ///
    /// The port is of no use any more.
    pub fn service_wire(&self, queue: usize, buffer: &mut FrameBuf) -> io::Result<()> {
        let datapath = self.datapath.read();
        let now = self.now();
        for _ in 0..WIRE_BATCH {
            if !self.wire.take(queue, buffer)? {
                break;
            }
            self.take_from_wire(&datapath, now, queue, buffer.frame());
        }
        drop(datapath);
        self.start_clock();
        Ok(())
    }

    /// Takes a frame from the wire.
    #[cfg(test)]
    pub(super) fn receive(&self, frame: &[u8]) {
        self.take_from_wire(&self.datapath.read(), self.now(), 0, frame);
        self.start_clock();
    }

    fn take_from_wire(
        &self,
        datapath: &Datapath,
        now: nicstack::Instant,
        queue: usize,
        frame: &[u8],
    ) {
        let refusal = if frame.len() < ETH_HLEN {
            Some(DropReason::TooShort)
        } else if let Some(reason) = datapath.obstacle() {
            Some(reason)
        } else if !datapath.filter.accepts(frame) {
            Some(DropReason::Filtered)
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.counters.drop_frame(reason);
            return;
        }
        let mut ports = Ports {
            card: self,
            datapath,
            queue: Some(queue),
        };
        self.nic.from_wire(now, frame, &mut ports);
    }

    /// Has the stack do what is due by time, and says whether there will be more. With an obstacle in the way
    /// nothing is done, until the obstacle is gone.
    pub(super) fn tick(&self) -> bool {
        let datapath = self.datapath.read();
        if datapath.obstacle().is_some() {
            return false;
        }
        let mut ports = Ports {
            card: self,
            datapath: &datapath,
            queue: None,
        };
        self.nic.poll(self.now(), &mut ports);
        self.nic.needs_poll()
    }
}
