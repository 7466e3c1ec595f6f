// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How fast counters grow.

use std::{collections::HashMap, time::Instant};

use serde::Serialize;

use crate::netlink::counter::Counter;

/// Counters at a moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The moment.
    pub at: Instant,
    /// The counters.
    pub counters: Vec<Counter>,
}

impl Sample {
    /// Counters that have been read just now.
    pub fn now(counters: Vec<Counter>) -> Self {
        let at = Instant::now();
        Self { at, counters }
    }
}

/// A counter and how fast it grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Number of the network device of the card that counts; none for the host.
    pub ifindex: Option<u32>,
    /// Its name.
    pub device: Option<String>,
    /// The counter's name.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// How much it grows in a second.
    pub per_second: f64,
}

/// The counters of `new`, with how fast they have grown since `old`: not at all, if they were reset.
pub fn rates(
    old: &Sample,
    new: &Sample,
    mut name_of: impl FnMut(u32) -> Option<String>,
) -> Vec<Rate> {
    let seconds = new.at.saturating_duration_since(old.at).as_secs_f64();
    let before: HashMap<_, _> = old
        .counters
        .iter()
        .map(|one| ((one.ifindex, one.name.as_str()), one.value))
        .collect();
    let rate = |one: &Counter| {
        let was = before.get(&(one.ifindex, one.name.as_str()));
        let grown = was.map_or(0, |was| one.value.saturating_sub(*was));
        Rate {
            ifindex: one.ifindex,
            device: one.ifindex.and_then(&mut name_of),
            name: one.name.clone(),
            value: one.value,
            per_second: match seconds > 0.0 {
                true => grown as f64 / seconds,
                false => 0.0,
            },
        }
    };
    new.counters.iter().map(rate).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_by_the_time_that_it_took() {
        let at = Instant::now();
        let sample = |seconds, values: &[(Option<u32>, &str, u64)]| Sample {
            at: at + Duration::from_secs(seconds),
            counters: values
                .iter()
                .map(|(ifindex, name, value)| Counter {
                    ifindex: *ifindex,
                    name: name.to_string(),
                    value: *value,
                })
                .collect(),
        };
        let old = sample(
            0,
            &[(None, "a", 10), (Some(3), "a", 100), (None, "reset", 9)],
        );
        let new = sample(
            2,
            &[
                (None, "a", 20),
                (Some(3), "a", 101),
                (None, "reset", 1),
                (None, "new", 5),
            ],
        );
        let found = rates(&old, &new, |_| Some("nic0".into()));
        let speeds: Vec<f64> = found.iter().map(|rate| rate.per_second).collect();
        assert_eq!(speeds, [5.0, 0.5, 0.0, 0.0]);
        assert_eq!(found[1].device.as_deref(), Some("nic0"));
        assert_eq!(found[0].device, None);
        // No time has gone by.
        assert!(rates(&old, &old, |_| None)
            .iter()
            .all(|rate| rate.per_second == 0.0));
    }
}
