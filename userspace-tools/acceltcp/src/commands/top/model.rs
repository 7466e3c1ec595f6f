// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What `top` shows.

use anyhow::Result;

use crate::{
    commands::status::{rates, Listeners, Rate, Sample},
    netlink::{
        counter,
        device::{self, Device},
        Connection, Wire,
    },
    system::names::interface_name,
};

/// Order of the counters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Sort {
    /// The fastest first.
    #[default]
    Rate,
    /// The largest first.
    Value,
    /// As the kernel tells them.
    Given,
}

impl Sort {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Value => "value",
            Self::Given => "source",
        }
    }
}

/// What `top` shows.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) devices: Vec<Device>,
    pub(super) listeners: Listeners,
    /// Why nothing newer is shown.
    pub(super) trouble: Option<String>,
    pub(super) sort: Sort,
    rates: Vec<Rate>,
    sample: Option<Sample>,
    paused: bool,
    zeros: bool,
    first: usize,
}

impl Model {
    /// Looks again.
    pub(super) fn refresh<W: Wire>(&mut self, connection: &mut Connection<W>) -> Result<()> {
        let devices = device::devices(connection)?;
        let listeners = Listeners::collect(connection)?;
        let sample = Sample::now(counter::counters(connection, None)?);
        let old = self.sample.as_ref().unwrap_or(&sample);
        self.rates = rates(old, &sample, interface_name);
        self.sample = Some(sample);
        self.devices = devices;
        self.listeners = listeners;
        self.scroll(0);
        Ok(())
    }

    /// Remembers how a look has ended.
    pub(super) fn note(&mut self, refreshed: Result<()>) {
        self.trouble = refreshed.err().map(|error| format!("{error:#}"));
    }

    /// Whether nothing is looked at any more.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops looking, or goes on.
    pub(super) fn pause(&mut self) {
        self.paused = !self.paused;
    }

    /// Takes the next order.
    pub(super) fn sort_otherwise(&mut self) {
        self.sort = match self.sort {
            Sort::Rate => Sort::Value,
            Sort::Value => Sort::Given,
            Sort::Given => Sort::Rate,
        };
    }

    /// Shows counters that are 0, or does not any more.
    pub(super) fn toggle_zeros(&mut self) {
        self.zeros = !self.zeros;
        self.scroll(0);
    }

    /// Moves the counters by some lines.
    pub(super) fn scroll(&mut self, lines: isize) {
        let last = self.shown().count().saturating_sub(1);
        self.first = self.first.saturating_add_signed(lines).min(last);
    }

    fn shown(&self) -> impl Iterator<Item = &Rate> {
        let wanted = |rate: &&Rate| rate.value != 0 || self.zeros;
        self.rates.iter().filter(wanted)
    }

    /// The counters in their order, from the first one that is to be seen.
    pub(super) fn counters(&self) -> Vec<&Rate> {
        let mut counters: Vec<&Rate> = self.shown().collect();
        match self.sort {
            Sort::Rate => counters.sort_by(|a, b| b.per_second.total_cmp(&a.per_second)),
            Sort::Value => counters.sort_by_key(|rate| std::cmp::Reverse(rate.value)),
            Sort::Given => {}
        }
        counters.split_off(self.first.min(counters.len()))
    }

    /// Shows these counters; for tests.
    #[cfg(test)]
    pub(super) fn with(devices: Vec<Device>, rates: Vec<Rate>) -> Self {
        Self {
            devices,
            rates,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{
        testing::{text, u32_of, Said, Script},
        uapi,
    };

    pub(super) fn rate(name: &str, value: u64, per_second: f64) -> Rate {
        Rate {
            ifindex: None,
            device: None,
            name: name.into(),
            value,
            per_second,
        }
    }

    fn names(model: &Model) -> Vec<&str> {
        model
            .counters()
            .iter()
            .map(|rate| rate.name.as_str())
            .collect()
    }

    #[test]
    fn orders() {
        let rates = vec![
            rate("a", 9, 1.0),
            rate("b", 1, 2.0),
            rate("c", 5, 0.0),
            rate("d", 0, 0.0),
        ];
        let mut model = Model::with(Vec::new(), rates);
        assert_eq!(names(&model), ["b", "a", "c"]);
        model.sort_otherwise();
        assert_eq!(names(&model), ["a", "c", "b"]);
        model.sort_otherwise();
        assert_eq!(names(&model), ["a", "b", "c"]);
        model.toggle_zeros();
        assert_eq!(names(&model).len(), 4);
        model.scroll(3);
        assert_eq!(names(&model), ["d"]);
        model.scroll(1);
        model.toggle_zeros();
        assert_eq!(names(&model), ["c"]);
        model.scroll(-100);
        assert_eq!(names(&model).len(), 3);
    }

    #[test]
    fn looking_twice_gives_rates() {
        let look = |value| {
            let counter = [text(2, "x"), u32_of(3, value)].concat();
            [
                Said::Done(2),
                Said::Done(2),
                Said::Packet(uapi::ACCELTCP_CMD_COUNTER_GET, 2, counter),
                Said::Done(2),
            ]
        };
        let wire = Script::new(look(1).into_iter().chain(look(100)));
        let mut connection = Connection::with(wire).unwrap();
        let mut model = Model::default();
        model.refresh(&mut connection).unwrap();
        assert_eq!(model.counters()[0].per_second, 0.0);
        model.refresh(&mut connection).unwrap();
        assert!(model.counters()[0].per_second > 0.0);
        // What was seen stays when the module has gone.
        let gone = model.refresh(&mut connection);
        model.note(gone);
        assert!(model.trouble.is_some() && model.counters()[0].value == 100);
    }
}
