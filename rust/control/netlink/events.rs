// SPDX-License-Identifier: GPL-2.0

//! Who listens to the group "devices" hears of cards that come, and that change their state; "watermarks" tells of tables that are
//! nearly full, or are not any more, and "splices" of pairs that have ended.
//!
//! All is told by one worker, which looks at what is different from what it has told: what changes to and fro faster than
//! that is not told.

use super::{
    devices,
    pairs, //
};
use crate::{
    bindings as uapi,
    net::{
        device::DeviceId,
        genl::{
            is_heard,
            Event,
            Group, //
        },
        work::{
            Job,
            Worker, //
        }, //
    },
    offload::{
        device::{
            self,
            Observer,
            OffloadDevice,
            Report,
            State, //
        },
        splice::ended::{
            self,
            Ended,
            LOST, //
        },
        watermark::Level, //
    }, //
};
use acceltcp_abi::splice::reason;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Tells of cards until it is dropped.
pub(crate) struct Events(Arc<Worker<Look>>);

/// What was told of a card.
struct Told {
    id: DeviceId,
    state: State,
    /// Which of its tables are above their marks: connections, pairs.
    above: [bool; 2],
}

/// What was told of cards.
#[pin_data]
struct Look {
    #[pin]
    told: Mutex<KVec<Told>>,
}

impl Events {
    /// Begins.
    pub(crate) fn new() -> Result<Self> {
        let worker = Worker::new(pin_init!(Look {
            told <- new_mutex!(KVec::new()),
        }))?;
        device::observe(Some(worker.clone()));
        Ok(Self(worker))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        device::observe(None);
        self.0.halt();
        // They keep their cards.
        drop(ended::take());
    }
}

impl Observer for Worker<Look> {
    fn changed(&self) {
        self.queue();
    }
}

impl Job for Look {
    fn run(&self) {
        // Without memory nothing is told; operators see the state when they ask.
        let _ = self.look();
        for pair in ended::take() {
            let _ = tell_ended(&pair);
        }
    }
}

impl Look {
    fn look(&self) -> Result {
        let mut told = self.told.lock();
        let cards = device::all()?;
        told.retain(|told| cards.iter().any(|card| card.id() == told.id));
        for card in &cards {
            let Ok(report) = card.report() else {
                continue;
            };
            let known = match told.iter().position(|told| told.id == card.id()) {
                Some(known) => known,
                None => {
                    let new = Told {
                        id: card.id(),
                        state: report.state,
                        above: [false; 2],
                    };
                    told.push(new, GFP_KERNEL)?;
                    tell_state(&**card, &report);
                    told.len() - 1
                }
            };
            let Some(known) = told.get_mut(known) else {
                continue;
            };
            if known.state != report.state {
                tell_state(&**card, &report);
            }
            known.state = report.state;
            let levels = [card.credits().level(), card.pairs().level()];
            let tables = [&b"flows"[..], b"spliced-pairs"];
            for ((above, level), table) in known.above.iter_mut().zip(&levels).zip(tables) {
                if core::mem::replace(above, level.above) != level.above {
                    let _ = tell_level(&**card, report.ifindex, table, level);
                }
            }
        }
        Ok(())
    }
}

// A card may go at any time: then there is nobody to tell.

fn tell_state(card: &dyn OffloadDevice, report: &Report) {
    let event = Event::new(Group::Devices, uapi::ACCELTCP_CMD_DEVICE_NTF, |message| {
        devices::put(message, card, report)
    });
    let _ = event.and_then(|event| card.tell(event));
}

fn tell_level(card: &dyn OffloadDevice, ifindex: u32, table: &[u8], level: &Level) -> Result {
    if !is_heard(Group::Watermarks) {
        return Ok(());
    }
    let command = uapi::ACCELTCP_CMD_WATERMARK_NTF;
    card.tell(Event::new(Group::Watermarks, command, |message| {
        message.u32(uapi::ACCELTCP_A_WATERMARK_IFINDEX, ifindex)?;
        message.string(uapi::ACCELTCP_A_WATERMARK_TABLE, table)?;
        if level.above {
            message.flag(uapi::ACCELTCP_A_WATERMARK_ABOVE)?;
        }
        message.u32(uapi::ACCELTCP_A_WATERMARK_USED, level.used)?;
        message.u32(uapi::ACCELTCP_A_WATERMARK_CAPACITY, level.capacity)
    })?)
}

fn tell_ended(pair: &Ended) -> Result {
    let ifindex = pair.card.location().ok_or(ENODEV)?.ifindex;
    let command = uapi::ACCELTCP_CMD_SPLICE_NTF;
    pair.card
        .tell(Event::new(Group::Splices, command, |message| {
            message.u32(uapi::ACCELTCP_A_SPLICE_IFINDEX, ifindex)?;
            message.u32(uapi::ACCELTCP_A_SPLICE_ID, pair.number)?;
            for end in &pair.ends {
                message.nest(uapi::ACCELTCP_A_SPLICE_END, |nest| {
                    pairs::put_end(nest, end)
                })?;
            }
            message.u32(uapi::ACCELTCP_A_SPLICE_REASON, number_of(pair.reason))?;
            for bytes in pair.bytes {
                message.uint(uapi::ACCELTCP_A_SPLICE_BYTES, bytes)?;
            }
            if pair.reason != 0 {
                for segments in pair.segments {
                    message.uint(uapi::ACCELTCP_A_SPLICE_SEGMENTS, segments)?;
                }
            }
            Ok(())
        })?)
}

fn number_of(why: u8) -> u32 {
    match why {
        0 => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_RETURNED,
        reason::CLOSED => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_CLOSED,
        reason::RESET => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_RESET,
        reason::IDLE => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_IDLE,
        reason::ABORTED => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_ABORTED,
        reason::TIMEOUT => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_TIMEOUT,
        LOST => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_LOST,
        _ => uapi::acceltcp_pair_end_ACCELTCP_PAIR_END_REFUSED,
    }
}
