// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reconfiguration: what happens when the host rings the configuration queue.

use super::card::Card;
use super::datapath::{Condition, Datapath};
use super::dma::Dma;
use super::mailbox;
use super::moderation::{Direction, Limit, Limits};
use super::registers::{Registers, ME_FREQ_MHZ};
use super::settings::{rx_rings, tx_rings, ConfigError, Settings};
use crate::counters::Counter;
use acceltcp_abi::regs::{self, ctrl, update};
use nicstack::command::{HostMemory, Unreachable};

/// The host's memory, for commands.
struct Host<'a>(Dma<'a>);

impl HostMemory for Host<'_> {
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Unreachable> {
        self.0.write(address, &[bytes]).map_err(|_| Unreachable)
    }
}

/// Updates that change what packet work depends on.
const SETTINGS: u32 = update::GEN
    | update::RING
    | update::RSS
    | update::MSIX
    | update::RESET
    | update::IRQMOD
    | update::MACADDR;

impl Card {
    /// Carries out the update that the registers ask for.
    ///
    /// A refused one turns the datapath off: the host takes its rings back then.
    pub(super) fn reconfigure(&self) {
        let mut regs = self.regs.lock();
        let mut datapath = self.datapath.write();
        if datapath.condition == Condition::Dead {
            // The host sees the update stand.
            return;
        }
        let asked = regs.get32(regs::UPDATE) & !update::ERR;
        if asked == 0 {
            regs.set32(regs::UPDATE, 0);
            return;
        }
        let result = self.update(&mut regs, &mut datapath, asked);
        let answer = match result {
            Ok(()) => {
                self.counters.add(Counter::Reconfigs, 1);
                0
            }
            Err(_) => {
                self.counters.add(Counter::ReconfigErrors, 1);
                datapath.settings = Settings::off(&regs);
                self.stop_rings();
                self.nic.disconnect();
                asked | update::ERR
            }
        };
        regs.set32(regs::UPDATE, answer);
    }

    fn update(
        &self,
        regs: &mut Registers,
        datapath: &mut Datapath,
        asked: u32,
    ) -> Result<(), ConfigError> {
        if asked & !(SETTINGS | update::MBOX) != 0 {
            return Err(ConfigError::UnknownUpdate);
        }
        if asked & SETTINGS != 0 {
            let limits = self.limits();
            let settings = Settings::read(regs, limits)?;
            if asked & (update::RING | update::RESET) != 0 {
                let tx = tx_rings(regs, &settings, limits)?;
                let rx = rx_rings(regs, &settings, limits)?;
                // A driver that closed on an event left its cause standing, and relies on a ring that it
                // turns on to begin unmasked.
                let vectors = tx.iter().flatten().map(|ring| ring.vector);
                for vector in vectors.chain(rx.iter().flatten().map(|ring| ring.vector)) {
                    self.irqs.forget(vector);
                }
                self.irqs.forget_held();
                for (index, config) in tx.into_iter().enumerate() {
                    let mut ring = self.tx[index].lock();
                    ring.configure(config, self.queues.tx(index));
                }
                for (index, config) in rx.into_iter().enumerate() {
                    let mut ring = self.rx[index].lock();
                    ring.configure(config, self.queues.freelist(index));
                }
            } else if !settings.enabled() {
                self.stop_rings();
            }
            if asked & (update::RING | update::RESET) != 0 || !settings.enabled() {
                // Whoever turns the rings on may know no offload, until it says so.
                self.nic.disconnect();
            }
            let switched = (settings.ctrl ^ datapath.settings.ctrl) & ctrl::IRQMOD != 0;
            if switched || asked & (update::IRQMOD | update::RING | update::RESET) != 0 {
                self.moderate(regs, &settings);
            }
            datapath
                .filter
                .configure(settings.mac, settings.ctrl, settings.ctrl1);
            datapath.settings = settings;
        }
        if asked & update::MBOX != 0 {
            let offloads = self.identity().features.is_some();
            let mut host = datapath
                .may_dma
                .then(|| Host(Dma::new(&datapath.memory, &self.counters)));
            let offload = |message: &[u8], reply: &mut [u8]| {
                let host = host.as_mut().map(|host| host as &mut dyn HostMemory);
                self.nic.command_with(self.now(), message, reply, host)
            };
            mailbox::run(regs, &mut datapath.filter, offloads.then_some(offload));
        }
        Ok(())
    }

    /// Gives every vector the moderation that its rings ask for.
    fn moderate(&self, regs: &Registers, settings: &Settings) {
        let mut limits = vec![Limits::default(); self.irqs.count()];
        let mut add = |vector: Option<u8>, direction, register| {
            let limits = vector.and_then(|vector| limits.get_mut(usize::from(vector)));
            if let Some(limits) = limits {
                let limit = Limit::from_register(regs.get32(register), ME_FREQ_MHZ);
                limits.add(direction, limit);
            }
        };
        if settings.has(ctrl::IRQMOD) {
            for (index, ring) in self.rx.iter().enumerate() {
                let vector = ring.lock().config().map(|config| config.vector);
                add(vector, Direction::Rx, regs::rxr_irq_mod(index));
            }
            for (index, ring) in self.tx.iter().enumerate() {
                let vector = ring.lock().vector();
                add(vector, Direction::Tx, regs::txr_irq_mod(index));
            }
        }
        self.irqs.moderate(&limits);
    }
}
