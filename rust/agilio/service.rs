// SPDX-License-Identifier: GPL-2.0

//! Link state, heartbeat and recovery.
//!
//! The service runs once a second while the device is up, and at once when the link interrupt or the TX
//! watchdog asks for it. It notices a card that has stopped answering, that has lost its state (FLR,
//! reset), or that does not send what it was given, and restarts the datapath when the card is there again.

use super::vnic::Vnic;
use crate::{
    net::{
        device::Device,
        irq,
        weak::WeakDevice, //
    },
    offload::device::changed, //
};
use acceltcp_abi::{
    pci as ids,
    regs::{
        self,
        ctrl,
        sts, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Between two heartbeats, in milliseconds.
const PERIOD_MS: u32 = 1000;

/// What the service knows of the card.
pub(crate) struct Health {
    dead: Atomic<bool>,
    stuck: Atomic<bool>,
    /// Times that the card stopped answering.
    pub(super) deaths: Atomic<u64>,
    /// Times that the datapath was restarted as the card had lost its state or a queue was stuck.
    pub(super) restarts: Atomic<u64>,
    /// Times that a TX queue was stuck.
    pub(super) tx_timeouts: Atomic<u64>,
    last_sts: Atomic<u32>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            dead: Atomic::new(false),
            stuck: Atomic::new(false),
            deaths: Atomic::new(0),
            restarts: Atomic::new(0),
            tx_timeouts: Atomic::new(0),
            last_sts: Atomic::new(0),
        }
    }

    /// The datapath has come up.
    pub(super) fn started(&self) {
        self.dead.store(false, Relaxed);
        self.stuck.store(false, Relaxed);
    }

    /// A TX queue is stuck.
    fn tx_timeout(&self) {
        self.tx_timeouts.add(1, Relaxed);
        self.stuck.store(true, Relaxed);
    }

    /// It is not known what the card has. Returns whether it was thought to be until now.
    pub(super) fn distrust(&self) -> bool {
        !self.stuck.xchg(true, Full)
    }

    /// Whether the card does not answer.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Link status as last read.
    pub(super) fn sts(&self) -> u16 {
        self.last_sts.load(Relaxed) as u16
    }
}

/// Handler of the link state interrupt.
pub(crate) struct LinkInterrupt {
    service: Arc<WeakDevice>,
}

impl LinkInterrupt {
    pub(super) fn new(service: Arc<WeakDevice>) -> Self {
        Self { service }
    }
}

impl irq::Handler for LinkInterrupt {
    fn handle(&self) {
        self.service.run_service_in(0);
    }
}

/// The service.
pub(super) fn run(dev: &Device<Vnic<'_>>) {
    let vnic = dev.private();
    if !dev.is_running() {
        return;
    }
    let delay = if check(dev) { restart(dev) } else { PERIOD_MS };
    vnic.service.run_service_in(delay);
}

/// Restarts the datapath, and returns after how many milliseconds to look after it again.
fn restart(dev: &Device<Vnic<'_>>) -> u32 {
    let vnic = dev.private();
    let result = dev.with_rtnl(|| {
        let mut control = vnic.control.lock();
        if !dev.is_running() {
            return Ok(());
        }
        vnic.down(dev, &mut control);
        vnic.health.restarts.add(1, Relaxed);
        vnic.up(dev, &mut control)
    });
    match result {
        Ok(()) => {
            dev_info!(vnic.device(), "datapath restarted\n");
            update_link(dev);
            0
        }
        Err(err) => {
            dev_err!(vnic.device(), "restart failed ({:?}), trying again\n", err);
            PERIOD_MS
        }
    }
}

/// Looks after the card. Returns whether the datapath is to be restarted.
fn check(dev: &Device<Vnic<'_>>) -> bool {
    let vnic = dev.private();
    let health = &vnic.health;
    if !vnic.reconfig.heartbeat() {
        if !health.dead.xchg(true, Full) {
            health.deaths.add(1, Relaxed);
            dev_err!(
                vnic.device(),
                "card does not answer, waiting for it to come back\n"
            );
            dev.set_carrier(false);
            vnic.withdraw_offload();
            changed();
        }
        return false;
    }
    if health.dead.load(Relaxed) {
        dev_info!(vnic.device(), "card answers again\n");
        return true;
    }
    let up = vnic.control.lock().up;
    if !up {
        // The last restart failed.
        return true;
    }
    if vnic.regs.read32(regs::CTRL) & ctrl::ENABLE == 0 {
        dev_warn!(vnic.device(), "card has lost its state, restarting\n");
        return true;
    }
    if dev.has_carrier() {
        for vector in &vnic.vectors {
            if vector.is_stuck() {
                report_stuck(vnic, vector.index.into());
            }
        }
    }
    if health.stuck.xchg(false, Full) {
        return true;
    }
    update_link(dev);
    vnic.sync_offload();
    false
}

/// A TX queue is stuck; the service restarts the datapath when it runs next.
pub(super) fn report_stuck(vnic: &Vnic<'_>, queue: u32) {
    vnic.health.tx_timeout();
    dev_warn!(vnic.device(), "TX queue {} is stuck, restarting\n", queue);
}

/// Reads the link state and unmasks its interrupt.
fn update_link(dev: &Device<Vnic<'_>>) {
    let vnic = dev.private();
    let control = vnic.control.lock();
    if !control.up {
        return;
    }
    // Unmask first: a change behind the read fires again.
    vnic.regs
        .write8(regs::icr(ids::VECTOR_LSC.into()), regs::ICR_UNMASKED);
    let status = vnic.regs.read16(regs::STS);
    vnic.health.last_sts.store(status.into(), Relaxed);
    dev.set_carrier(status != !0 && status & sts::LINK != 0);
}
