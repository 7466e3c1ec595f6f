// SPDX-License-Identifier: GPL-2.0

//! Bringing the datapath up and down, and changing it while it is up.

use super::{
    caps::Caps,
    commands::Attached,
    reconfig::Session,
    ring_rx,
    ring_tx,
    vector::Vector,
    vnic::Vnic, //
};
use crate::net::{
    device::{
        features,
        rss_key,
        Device,
        RxMode, //
    },
    dma::Inbox,
    ethtool::Coalesce,
    pci::set_bus_master, //
};
use crate::offload::{
    acl::List,
    device::changed,
    rules::Installed, //
};
use acceltcp_abi::{
    mbox,
    pci as ids,
    regs::{
        self,
        ctrl,
        ctrl1,
        rss,
        update, //
    }, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::atomic::Relaxed, //
};

/// Descriptors of a ring unless the user says otherwise.
const DEFAULT_RING: u32 = 1024;

/// Interrupt moderation unless the user says otherwise: what Linux' `nfp` starts with.
const DEFAULT_COALESCE: Coalesce = Coalesce {
    usecs: 50,
    frames: 64,
};

/// Settings and state of the datapath.
pub(crate) struct Control {
    /// The datapath is up.
    pub(super) up: bool,
    /// Ring pairs in use.
    pub(super) rings: u32,
    /// Descriptors of an RX ring.
    pub(super) rx_size: u32,
    /// Descriptors of a TX ring.
    pub(super) tx_size: u32,
    /// Interrupt moderation of reception.
    pub(super) rx_coalesce: Coalesce,
    /// Interrupt moderation of transmission.
    pub(super) tx_coalesce: Coalesce,
    /// What to receive.
    pub(super) mode: RxMode,
    /// Multicast groups that are wanted.
    pub(super) groups: KVec<[u8; 6]>,
    /// Multicast groups that the card was told of.
    installed: KVec<[u8; 6]>,
    /// Key of the receive hash.
    pub(super) rss_key: [u8; regs::RSS_KEY_SIZE],
    /// Indirection table of the receive hash.
    pub(super) rss_table: [u8; regs::RSS_ITBL_SIZE],
    /// Feature bits of the control word, without those of [`Control::mode`].
    word: u32,
    /// The access list.
    pub(super) acl: List,
    /// Rules that the card has for listeners.
    pub(super) rules: Installed,
    /// The card takes commands of the offloads.
    pub(super) attached: Option<Attached>,
    /// Where the card may write yet what it was asked for and has not answered.
    pub(super) list: Option<Inbox>,
}

impl Control {
    pub(super) fn new(caps: &Caps, rings: u32) -> Self {
        let mut this = Self {
            up: false,
            rings,
            rx_size: DEFAULT_RING,
            tx_size: DEFAULT_RING,
            rx_coalesce: DEFAULT_COALESCE,
            tx_coalesce: DEFAULT_COALESCE,
            mode: RxMode::default(),
            groups: KVec::new(),
            installed: KVec::new(),
            rss_key: rss_key(),
            rss_table: [0; regs::RSS_ITBL_SIZE],
            word: caps.ctrl & !(ctrl::PROMISC | ctrl::L2MC),
            acl: List::new(),
            rules: Installed::new(),
            attached: None,
            list: None,
        };
        this.spread_evenly();
        this
    }

    /// Fills the indirection table with the rings in use, in turn.
    pub(super) fn spread_evenly(&mut self) {
        let rings = self.rings.max(1);
        for (entry, index) in self.rss_table.iter_mut().zip(0u32..) {
            *entry = (index % rings) as u8;
        }
    }

    /// The control word for the present settings.
    fn word(&self, caps: &Caps) -> u32 {
        let mut word = self.word;
        if self.mode.promiscuous {
            word |= caps.ctrl & ctrl::PROMISC;
        }
        if self.mode.all_multicast || !self.groups.is_empty() {
            word |= caps.ctrl & ctrl::L2MC;
        }
        word
    }

    fn word1(&self, caps: &Caps) -> u32 {
        if self.mode.all_multicast {
            0
        } else {
            caps.ctrl1 & ctrl1::MCAST_FILTER
        }
    }
}

impl<'a> Vnic<'a> {
    /// Brings the datapath up (RTNL held).
    pub(super) fn up(&self, dev: &Device<Self>, control: &mut Control) -> Result {
        if control.up {
            return Ok(());
        }
        // `down()` may have taken it away from a card that did not answer.
        set_bus_master(self.pdev, true);
        let result = self
            .request_irqs(control)
            .and_then(|()| self.install_acl(control))
            .and_then(|()| self.install(dev, control));
        if let Err(err) = result {
            self.take_down(control);
            return Err(err);
        }
        control.up = true;
        self.attach(control);
        self.health.started();
        dev.start_queues();
        for vector in self.vectors.iter().take(control.rings as usize) {
            // Frames may have come before the instance was enabled.
            vector.napi.schedule();
        }
        Ok(())
    }

    /// Takes the datapath down (RTNL held).
    pub(super) fn down(&self, dev: &Device<Self>, control: &mut Control) {
        if !control.up {
            return;
        }
        control.up = false;
        dev.set_carrier(false);
        dev.disable_tx();
        self.take_down(control);
    }

    /// Undoes as much of [`Vnic::up`] as was done.
    fn take_down(&self, control: &mut Control) {
        let told = self.read_teardown(control);
        let stopped = self.reconfig.with(|session| {
            let regs = session.regs();
            regs.write32(regs::CTRL, 0);
            regs.write64(regs::TXRS_ENABLE, 0);
            regs.write64(regs::RXRS_ENABLE, 0);
            session.update(update::GEN | update::RING)
        });
        if stopped.is_err() {
            // Memory is about to be freed: the card must not reach it any more.
            dev_err!(
                self.device(),
                "card does not stop, cutting it off from memory\n"
            );
            set_bus_master(self.pdev, false);
        }
        for vector in &self.vectors {
            vector.napi.disable();
        }
        self.irqs.release();
        self.end_teardown(told.as_ref());
        control.installed.clear();
        control.rules.forget(&*self.card);
        control.attached = None;
        control.list = None;
        changed();
        for vector in &self.vectors {
            vector.drop_rings();
        }
    }

    /// Runs `change` with the datapath down, if it was up (RTNL held).
    pub(super) fn restart_with(&self, dev: &Device<Self>, change: impl FnOnce()) -> Result {
        let mut control = self.control.lock();
        self.restart_locked(dev, &mut control, |_| change())
    }

    /// As [`Vnic::restart_with`], for one who holds the lock.
    pub(super) fn restart_locked(
        &self,
        dev: &Device<Self>,
        control: &mut Control,
        change: impl FnOnce(&mut Control),
    ) -> Result {
        let was_up = control.up;
        self.down(dev, control);
        change(control);
        if was_up {
            self.up(dev, control)?;
            self.service.run_service_in(0);
        }
        Ok(())
    }

    /// Requests the interrupts of the rings in use and of the link.
    fn request_irqs(&self, control: &Control) -> Result {
        let name = self.device().name();
        let irq_name = CString::try_from_fmt(fmt!("acceltcp-{}-link", name))?;
        self.irqs
            .request(ids::VECTOR_LSC.into(), irq_name, self.link.clone())?;
        for vector in self.vectors.iter().take(control.rings as usize) {
            let irq_name = CString::try_from_fmt(fmt!("acceltcp-{}-ring{}", name, vector.index))?;
            let entry = Vector::entry(vector.index).into();
            self.irqs.request(entry, irq_name, vector.clone())?;
        }
        Ok(())
    }

    /// Makes the rings, has the card take them, and hands them to their owners.
    fn install(&self, dev: &Device<Self>, control: &mut Control) -> Result {
        let regs = &self.regs;
        let mut buffer_len = 0;
        let mut mask = 0u64;
        for vector in self.vectors.iter().take(control.rings as usize) {
            let ring = usize::from(vector.index);
            let (producer, consumer, tx) = ring_tx::new(
                self.device(),
                regs,
                ring,
                control.tx_size,
                self.caps.has(ctrl::TXRWB),
            )?;
            let rx = ring_rx::RxRing::new(
                self.device(),
                regs,
                &vector.napi,
                vector.index,
                control.rx_size,
                &self.caps,
                self.card.accounts(),
            )?;
            let entry = Vector::entry(vector.index) as u8;
            regs.write64(regs::txr_addr(ring), tx.ring);
            regs.write64(regs::txr_wb_addr(ring), tx.write_back);
            regs.write8(regs::txr_sz(ring), tx.size_log2);
            regs.write8(regs::txr_vec(ring), entry);
            regs.write64(regs::rxr_addr(ring), rx.dma_address());
            regs.write8(regs::rxr_sz(ring), rx.size_log2());
            regs.write8(regs::rxr_vec(ring), entry);
            regs.write8(regs::icr(entry.into()), regs::ICR_UNMASKED);
            buffer_len = rx.buffer_len();
            mask |= 1 << ring;

            vector.tx.queue().with_lock(|locked| {
                if let Some(slot) = vector.tx.get(locked) {
                    *slot = Some(producer);
                }
            });
            vector.napi.with_disabled(|pair| {
                pair.rx = Some(rx);
                pair.tx = Some(consumer);
            });
        }
        self.configure(dev, control, mask, buffer_len)?;
        // The card takes buffers only once its rings are on.
        for vector in self.vectors.iter().take(control.rings as usize) {
            let filled = vector
                .napi
                .with_disabled(|pair| pair.rx.as_mut().map(|rx| rx.fill()));
            filled.flatten().unwrap_or(Err(EBUSY))?;
            vector.napi.enable();
        }
        Ok(())
    }

    /// Has the card take all settings.
    fn configure(
        &self,
        dev: &Device<Self>,
        control: &mut Control,
        mask: u64,
        buffer_len: usize,
    ) -> Result {
        let word = control.word(&self.caps) | ctrl::ENABLE;
        let word1 = control.word1(&self.caps);
        self.reconfig.with(|session| {
            let regs = session.regs();
            regs.write64(regs::TXRS_ENABLE, mask);
            regs.write64(regs::RXRS_ENABLE, mask);
            regs.set_mac(dev.mac_address());
            regs.write32(regs::MTU, dev.mtu());
            // The top byte of FLBUFSZ is EXN.
            regs.write32(regs::FLBUFSZ, buffer_len as u32);
            regs.write8(regs::EXN, regs::NO_VECTOR);
            regs.write8(regs::LSC, ids::VECTOR_LSC as u8);
            regs.write8(regs::icr(ids::VECTOR_LSC.into()), regs::ICR_UNMASKED);
            let mut what = update::GEN | update::RING | update::MSIX;
            if self.caps.has(ctrl::RSS2) {
                write_rss(session, control);
                what |= update::RSS;
            }
            if self.caps.has(ctrl::IRQMOD) {
                self.write_coalesce(session, control);
                what |= update::IRQMOD;
            }
            let regs = session.regs();
            regs.write32(regs::CTRL_WORD1, word1);
            regs.write32(regs::CTRL, word);
            session.update(what)
        })?;
        self.sync_groups(control)
    }

    /// Has the card take the receive hash settings.
    pub(super) fn apply_rss(&self, control: &Control) -> Result {
        self.reconfig.with(|session| {
            write_rss(session, control);
            session.update(update::RSS)
        })
    }

    /// Writes interrupt moderation to its registers.
    fn write_coalesce(&self, session: &Session<'_, '_>, control: &Control) {
        let regs = session.regs();
        let value = |c: Coalesce| c.frames << 16 | c.usecs * self.caps.ticks_per_us;
        for ring in 0..control.rings as usize {
            regs.write32(regs::rxr_irq_mod(ring), value(control.rx_coalesce));
            regs.write32(regs::txr_irq_mod(ring), value(control.tx_coalesce));
        }
    }

    /// Has the card take interrupt moderation.
    pub(super) fn apply_coalesce(&self, control: &Control) -> Result {
        self.reconfig.with(|session| {
            self.write_coalesce(session, control);
            session.update(update::IRQMOD)
        })
    }

    /// Has the card take what to receive.
    pub(super) fn apply_rx_mode(&self, control: &mut Control) -> Result {
        let word = control.word(&self.caps) | ctrl::ENABLE;
        let word1 = control.word1(&self.caps);
        self.reconfig.with(|session| {
            session.regs().write32(regs::CTRL_WORD1, word1);
            session.regs().write32(regs::CTRL, word);
            session.update(update::GEN)
        })?;
        self.sync_groups(control)
    }

    /// Tells the card of multicast groups joined and left.
    fn sync_groups(&self, control: &mut Control) -> Result {
        let (Some(place), true) = (self.caps.mbox, self.caps.ctrl1 & ctrl1::MCAST_FILTER != 0)
        else {
            return Ok(());
        };
        let send = |command, group| {
            self.reconfig.with(|session| {
                session.mailbox(place, command, |regs, value| {
                    let (hi, lo) = regs::mac_to_regs(group);
                    regs.write32(value, hi);
                    regs.write16(value - mbox::VAL + mbox::MCAST_LO, lo);
                })
            })
        };
        let mut index = 0;
        while let Some(group) = control.installed.get(index).copied() {
            if control.groups.contains(&group) {
                index += 1;
                continue;
            }
            send(mbox::CMD_MULTICAST_DEL, group)?;
            let _ = control.installed.remove(index);
        }
        for group in &control.groups {
            if !control.installed.contains(group) {
                control.installed.reserve(1, GFP_KERNEL)?;
                send(mbox::CMD_MULTICAST_ADD, *group)?;
                control.installed.push(*group, GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Has the card take feature bits of the network device.
    pub(super) fn apply_features(&self, control: &mut Control, wanted: u64) -> Result {
        let on = |feature, bits| {
            if wanted & feature != 0 {
                self.caps.ctrl & bits
            } else {
                0
            }
        };
        let fixed = ctrl::IRQMOD | ctrl::L2BC | ctrl::TXRWB | ctrl::LIVE_ADDR;
        let before = control.word;
        control.word = self.caps.ctrl & fixed
            | on(features::RXCSUM, ctrl::RXCSUM | ctrl::CSUM_COMPLETE)
            | on(features::IP_CSUM | features::IPV6_CSUM, ctrl::TXCSUM)
            | on(features::TSO | features::TSO6, ctrl::LSO2)
            | on(features::SG, ctrl::GATHER)
            | on(features::RXHASH, ctrl::RSS2);
        // Without the hash all frames would come to ring 0.
        control.word |= self.caps.ctrl & ctrl::RSS2;
        if control.up {
            if let Err(err) = self.apply_rx_mode(control) {
                control.word = before;
                return Err(err);
            }
        }
        self.checksums
            .store(wanted & features::RXCSUM != 0, Relaxed);
        Ok(())
    }
}

/// Writes the settings of the receive hash to their registers.
fn write_rss(session: &Session<'_, '_>, control: &Control) {
    let regs = session.regs();
    let write = |base: usize, bytes: &[u8]| {
        for (index, word) in bytes.chunks_exact(4).enumerate() {
            let mut raw = [0; 4];
            raw.copy_from_slice(word);
            regs.write32(base + index * 4, u32::from_le_bytes(raw));
        }
    };
    write(regs::RSS_KEY, &control.rss_key);
    write(regs::RSS_ITBL, &control.rss_table);
    let kinds =
        rss::IPV4 | rss::IPV6 | rss::IPV4_TCP | rss::IPV4_UDP | rss::IPV6_TCP | rss::IPV6_UDP;
    regs.write32(regs::RSS_CTRL, rss::TOEPLITZ | kinds | rss::MASK);
}
