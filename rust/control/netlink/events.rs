// SPDX-License-Identifier: GPL-2.0

//! Who listens to the group "devices" hears of cards that come, and that change their state.

use super::devices;
use crate::{
    bindings as uapi,
    net::{
        device::DeviceId,
        genl::Event,
        work::{
            Job,
            Worker, //
        }, //
    },
    offload::device::{
        self,
        Observer,
        State, //
    }, //
};
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

/// The states of cards that were told.
#[pin_data]
struct Look {
    #[pin]
    told: Mutex<KVec<(DeviceId, State)>>,
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
    }
}

impl Look {
    fn look(&self) -> Result {
        let mut told = self.told.lock();
        let cards = device::all()?;
        told.retain(|(id, _)| cards.iter().any(|card| card.id() == *id));
        for card in &cards {
            let Ok(report) = card.report() else {
                continue;
            };
            let known = told.iter_mut().find(|(id, _)| *id == card.id());
            match known {
                Some((_, state)) if *state == report.state => continue,
                Some((_, state)) => *state = report.state,
                None => told.push((card.id(), report.state), GFP_KERNEL)?,
            }
            let event = Event::new(uapi::ACCELTCP_CMD_DEVICE_NTF as u8, |message| {
                devices::put(message, &**card, &report)
            })?;
            // It may have gone meanwhile.
            let _ = card.tell(event);
        }
        Ok(())
    }
}
