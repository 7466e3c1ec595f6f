// SPDX-License-Identifier: GPL-2.0

//! `ethtool` operations of the vNIC.

use super::{
    ring_rx,
    ring_tx,
    stats::{
        RxStats,
        TxDoneStats,
        TxStats, //
    },
    vnic::Vnic, //
};
use crate::net::{
    device::Device,
    ethtool::{
        Coalesce,
        DriverInfo,
        Names,
        Operations,
        Rings,
        Rxfh, //
    },
    pernet::Net, //
};
use crate::offload::{
    counters,
    netns::Netns, //
};
use acceltcp_abi::regs::{
    self,
    ctrl,
    stats as card,
    sts,
    update, //
};
use core::fmt::Write;
use kernel::{
    prelude::*,
    str::NullTerminatedFormatter,
    sync::atomic::Relaxed, //
};

/// Counters of the driver as a whole. The comments are what Documentation/counters.rst says of them.
const DRIVER: &[&str] = &[
    // Times that the card stopped answering.
    "card_deaths",
    // Restarts of the datapath that were begun, as the card had been dead or had lost its state, or a queue was stuck.
    "restarts",
    // Times that a TX queue was stuck.
    "tx_timeouts",
    // Reconfigurations that the card refused or did not answer.
    "reconfig_errors",
    // Connections that the card is ending now.
    "teardown_with_card",
    // Connections that could be handed over beside those.
    "teardown_flow_credits",
    // Buffers on the card that are free for data of such connections and of pairs.
    "teardown_buffer_credits",
    // Pairs that the card has now.
    "splice_with_card",
    // Pairs that it could be given beside those.
    "splice_credits",
];

/// Counters of a direction on the card, in the order of their registers. Comments as above.
const CARD: [&str; card::COUNT] = [
    // Frames that were dropped for want of a buffer, or for another reason that is no error.
    "discards",
    // Frames that were dropped as something was wrong with them.
    "errors",
    // Bytes of all frames.
    "octets",
    // Bytes of unicast frames.
    "uc_octets",
    // Bytes of multicast frames.
    "mc_octets",
    // Bytes of broadcast frames.
    "bc_octets",
    // Frames.
    "frames",
    // Multicast frames.
    "mc_frames",
    // Broadcast frames.
    "bc_frames",
];

/// Counters of a ring pair.
const PER_RING: usize = RxStats::NAMES.len() + TxStats::NAMES.len() + TxDoneStats::NAMES.len();

impl Operations for Vnic<'_> {
    const TESTS: &'static [&'static str] = &["link", "registers", "reconfiguration"];

    fn driver_info(dev: &Device<Self>) -> DriverInfo {
        let caps = &dev.private().caps;
        let mut firmware = [0; 32];
        if let Some(mut to) = NullTerminatedFormatter::new(&mut firmware) {
            // What does not fit is left out.
            let _ = match &caps.acceltcp {
                Some(found) => write!(
                    to,
                    "{}.{} acceltcp {}.{}",
                    caps.version.major(),
                    caps.version.minor(),
                    found.version.get() >> 16,
                    found.version.get() & 0xffff
                ),
                None => write!(to, "{}.{}", caps.version.major(), caps.version.minor()),
            };
        }
        DriverInfo { firmware }
    }

    fn stat_count(dev: &Device<Self>) -> usize {
        DRIVER.len()
            + dev.private().vectors.len() * PER_RING
            + 2 * CARD.len()
            + counters::NAMES.len()
    }

    fn stat_names(dev: &Device<Self>, names: &mut Names) {
        for name in DRIVER {
            names.push(format_args!("{name}"));
        }
        for vector in &dev.private().vectors {
            let ring = vector.index;
            for name in RxStats::NAMES {
                names.push(format_args!("rx{ring}_{name}"));
            }
            for name in [TxStats::NAMES, TxDoneStats::NAMES].into_iter().flatten() {
                names.push(format_args!("tx{ring}_{name}"));
            }
        }
        for direction in ["rx", "tx"] {
            for name in CARD {
                names.push(format_args!("dev_{direction}_{name}"));
            }
        }
        for name in counters::NAMES {
            names.push(format_args!("{name}"));
        }
    }

    fn stat_values(dev: &Device<Self>, net: Net<'_>, values: &mut [u64]) {
        let vnic = dev.private();
        let (credits, pairs) = vnic.card.accounts();
        let [with_card, flows, buffers] = credits.gauges();
        let [spliced, room] = pairs.gauges();
        let driver = [
            vnic.health.deaths.load(Relaxed),
            vnic.health.restarts.load(Relaxed),
            vnic.health.tx_timeouts.load(Relaxed),
            vnic.reconfig.errors.load(Relaxed),
            with_card,
            flows,
            buffers,
            spliced,
            room,
        ];
        let mut rest = values;
        let mut next = |count: usize| {
            let (head, tail) = core::mem::take(&mut rest).split_at_mut_checked(count)?;
            rest = tail;
            Some(head)
        };
        if let Some(to) = next(driver.len()) {
            to.copy_from_slice(&driver);
        }
        for vector in &vnic.vectors {
            if let Some(to) = next(RxStats::NAMES.len()) {
                vector.stats.rx.read(to);
            }
            if let Some(to) = next(TxStats::NAMES.len()) {
                vector.stats.tx.read(to);
            }
            if let Some(to) = next(TxDoneStats::NAMES.len()) {
                vector.stats.tx_done.read(to);
            }
        }
        for base in [card::RX_DISCARDS, card::RX_DISCARDS + card::TX] {
            for (index, value) in next(CARD.len()).into_iter().flatten().enumerate() {
                *value = vnic.regs.read64(base + index * 8);
            }
        }
        let offload = next(counters::NAMES.len());
        if let Some(netns) = Netns::peek(net) {
            let counters = netns.counters().values();
            for (value, counter) in offload.into_iter().flatten().zip(counters) {
                *value = counter;
            }
        }
    }

    fn self_test(dev: &Device<Self>, results: &mut [u64]) {
        let vnic = dev.private();
        let failed = [
            vnic.regs.read16(regs::STS) & sts::LINK == 0,
            vnic.regs.read32(regs::VERSION) != vnic.caps.version.0
                || vnic.regs.mac() != dev.mac_address() && dev.is_running(),
            vnic.reconfig
                .with(|session| session.update(update::GEN))
                .is_err(),
        ];
        for (result, failed) in results.iter_mut().zip(failed) {
            *result = failed.into();
        }
    }

    fn rings(dev: &Device<Self>) -> Rings {
        let control = dev.private().control.lock();
        Rings {
            rx: control.rx_size,
            tx: control.tx_size,
            rx_max: ring_rx::MAX_SIZE,
            tx_max: ring_tx::MAX_SIZE,
        }
    }

    fn set_rings(dev: &Device<Self>, rx: u32, tx: u32) -> Result {
        let vnic = dev.private();
        let rx = round_up(rx, ring_rx::MIN_SIZE, ring_rx::MAX_SIZE)?;
        let tx = round_up(tx, ring_tx::MIN_SIZE, ring_tx::MAX_SIZE)?;
        let mut control = vnic.control.lock();
        let before = (control.rx_size, control.tx_size);
        if before == (rx, tx) {
            return Ok(());
        }
        let result = vnic.restart_locked(dev, &mut control, |control| {
            (control.rx_size, control.tx_size) = (rx, tx);
        });
        if result.is_err() {
            // Most likely memory: what was there before has a better chance.
            (control.rx_size, control.tx_size) = before;
            vnic.up(dev, &mut control)?;
            vnic.service.run_service_in(0);
        }
        result
    }

    fn coalesce(dev: &Device<Self>) -> (Coalesce, Coalesce) {
        let control = dev.private().control.lock();
        (control.rx_coalesce, control.tx_coalesce)
    }

    fn set_coalesce(dev: &Device<Self>, rx: Coalesce, tx: Coalesce) -> Result {
        let vnic = dev.private();
        if !vnic.caps.has(ctrl::IRQMOD) {
            return Err(EOPNOTSUPP);
        }
        for c in [rx, tx] {
            // Without a limit of either kind no interrupt would ever come.
            let ticks = c.usecs.checked_mul(vnic.caps.ticks_per_us);
            let fits = ticks.is_some_and(|ticks| ticks <= u16::MAX.into());
            if !fits || c.frames > u16::MAX.into() || c.usecs == 0 && c.frames == 0 {
                return Err(EINVAL);
            }
        }
        let mut control = vnic.control.lock();
        let before = (control.rx_coalesce, control.tx_coalesce);
        (control.rx_coalesce, control.tx_coalesce) = (rx, tx);
        if control.up {
            if let Err(err) = vnic.apply_coalesce(&control) {
                (control.rx_coalesce, control.tx_coalesce) = before;
                return Err(err);
            }
        }
        Ok(())
    }

    fn channels(dev: &Device<Self>) -> (u32, u32) {
        let vnic = dev.private();
        (vnic.control.lock().rings, vnic.vectors.len() as u32)
    }

    fn set_channels(dev: &Device<Self>, count: u32) -> Result {
        let vnic = dev.private();
        if count == 0 || count as usize > vnic.vectors.len() {
            return Err(EINVAL);
        }
        let mut control = vnic.control.lock();
        let keep_table = dev.is_rxfh_configured();
        if keep_table
            && control
                .rss_table
                .iter()
                .any(|ring| u32::from(*ring) >= count)
        {
            return Err(EINVAL);
        }
        let mut queues = Ok(());
        vnic.restart_locked(dev, &mut control, |control| {
            queues = dev.set_real_queues(count, count);
            if queues.is_ok() {
                control.rings = count;
                if !keep_table {
                    control.spread_evenly();
                }
            }
        })?;
        queues
    }

    fn rxfh_size(dev: &Device<Self>) -> (u32, u32) {
        if dev.private().caps.has(ctrl::RSS2) {
            (regs::RSS_ITBL_SIZE as u32, regs::RSS_KEY_SIZE as u32)
        } else {
            (0, 0)
        }
    }

    fn rxfh(dev: &Device<Self>, rxfh: &mut Rxfh<'_>) {
        let control = dev.private().control.lock();
        if let Some(table) = &mut rxfh.indirection {
            for (to, from) in table.iter_mut().zip(control.rss_table) {
                *to = from.into();
            }
        }
        if let Some(key) = &mut rxfh.key {
            for (to, from) in key.iter_mut().zip(control.rss_key) {
                *to = from;
            }
        }
    }

    fn set_rxfh(dev: &Device<Self>, rxfh: &Rxfh<'_>) -> Result {
        let vnic = dev.private();
        let mut control = vnic.control.lock();
        if let Some(table) = &rxfh.indirection {
            if table.iter().any(|ring| *ring >= control.rings) {
                return Err(EINVAL);
            }
            for (to, from) in control.rss_table.iter_mut().zip(table.iter()) {
                *to = *from as u8;
            }
        }
        if let Some(key) = &rxfh.key {
            for (to, from) in control.rss_key.iter_mut().zip(key.iter()) {
                *to = *from;
            }
        }
        if control.up {
            vnic.apply_rss(&control)?;
        }
        Ok(())
    }

    fn link_speed(dev: &Device<Self>) -> Option<u32> {
        let status = dev.private().health.sts();
        if status & sts::LINK == 0 {
            return None;
        }
        sts::mbits((status >> sts::RATE_SHIFT) & sts::RATE_MASK)
    }
}

/// The power of two for a ring of `wanted` descriptors.
fn round_up(wanted: u32, min: u32, max: u32) -> Result<u32> {
    if wanted < min || wanted > max {
        return Err(EINVAL);
    }
    wanted.checked_next_power_of_two().ok_or(EINVAL)
}
