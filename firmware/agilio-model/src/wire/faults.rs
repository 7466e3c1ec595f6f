// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What faults to inject on the wire: `seed=N,loss=P,dup=P,reorder=P,delay=MS,jitter=MS,corrupt=P,dir=in|out|both`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest delay and jitter each.
const MAX_DELAY_MS: f64 = 60_000.0;

/// Which frames faults meet, as the card sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Frames from the wire.
    In,
    /// Frames to the wire.
    Out,
    /// Both.
    #[default]
    Both,
}

impl Direction {
    /// Whether frames from the wire are meant.
    pub fn is_in(self) -> bool {
        self != Self::Out
    }

    /// Whether frames to the wire are meant.
    pub fn is_out(self) -> bool {
        self != Self::In
    }
}

/// Faults to inject. Probabilities are per frame, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultSpec {
    /// Seed of all decisions.
    pub seed: u64,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame comes twice.
    pub dup: f64,
    /// Probability that a frame is held back past the next one to three frames.
    pub reorder: f64,
    /// What every frame is delayed by.
    pub delay: Duration,
    /// What a frame may be delayed by in addition, uniformly from 0; frames stay in order.
    pub jitter: Duration,
    /// Probability that one bit or more of one byte of a frame is flipped.
    pub corrupt: f64,
    /// Frames that are met.
    pub dir: Direction,
}

impl FaultSpec {
    /// Whether there is nothing to inject.
    pub fn is_none(&self) -> bool {
        let never = [self.loss, self.dup, self.reorder, self.corrupt];
        never.iter().all(|p| *p <= 0.0) && self.delay.is_zero() && self.jitter.is_zero()
    }
}

/// What is wrong with a fault spec; a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpecError(String);

impl fmt::Display for FaultSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultSpecError {}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    /// Reads a spec; the empty one has no faults.
    fn from_str(text: &str) -> Result<Self, FaultSpecError> {
        let mut spec = Self::default();
        if text.trim().is_empty() {
            return Ok(spec);
        }
        let mut seen = Vec::new();
        for item in text.split(',') {
            let (key, value) = item
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .ok_or_else(|| {
                    error(format!("\"{}\" is not of the form key=value", item.trim()))
                })?;
            if seen.contains(&key) {
                return Err(error(format!("{key} is given twice")));
            }
            seen.push(key);
            match key {
                "seed" => {
                    spec.seed = value.parse().map_err(|_| {
                        error(format!("seed={value} is not a number from 0 to 2^64-1"))
                    })?;
                }
                "loss" => spec.loss = probability(key, value)?,
                "dup" => spec.dup = probability(key, value)?,
                "reorder" => spec.reorder = probability(key, value)?,
                "corrupt" => spec.corrupt = probability(key, value)?,
                "delay" => spec.delay = milliseconds(key, value)?,
                "jitter" => spec.jitter = milliseconds(key, value)?,
                "dir" => {
                    spec.dir = match value {
                        "in" => Direction::In,
                        "out" => Direction::Out,
                        "both" => Direction::Both,
                        _ => return Err(error(format!("dir={value} is not one of in, out, both"))),
                    }
                }
                _ => {
                    return Err(error(format!(
                        "unknown fault \"{key}\"; there are seed, loss, dup, reorder, delay, jitter, corrupt, dir"
                    )));
                }
            }
        }
        Ok(spec)
    }
}

fn error(text: String) -> FaultSpecError {
    FaultSpecError(text)
}

fn probability(key: &str, value: &str) -> Result<f64, FaultSpecError> {
    match value.parse::<f64>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err(error(format!(
            "{key}={value} is not a probability from 0 to 1"
        ))),
    }
}

fn milliseconds(key: &str, value: &str) -> Result<Duration, FaultSpecError> {
    match value.parse::<f64>() {
        Ok(ms) if (0.0..=MAX_DELAY_MS).contains(&ms) => Ok(Duration::from_secs_f64(ms / 1000.0)),
        _ => Err(error(format!(
            "{key}={value} is not a time from 0 to {MAX_DELAY_MS} ms"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_key_is_read() {
        let text = "seed=7, loss=0.01,dup=0.5,reorder=1,delay=2.5,jitter=1,corrupt=1e-3,dir=out";
        let spec: FaultSpec = text.parse().unwrap();
        let expected = FaultSpec {
            seed: 7,
            loss: 0.01,
            dup: 0.5,
            reorder: 1.0,
            delay: Duration::from_micros(2500),
            jitter: Duration::from_millis(1),
            corrupt: 0.001,
            dir: Direction::Out,
        };
        assert_eq!(spec, expected);
        assert!(!spec.is_none());
    }

    #[test]
    fn no_faults() {
        for text in ["", "  ", "seed=3", "loss=0,dir=in"] {
            assert!(text.parse::<FaultSpec>().unwrap().is_none(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_culprit() {
        for (text, part) in [
            ("loss", "\"loss\" is not of the form"),
            ("loss=0.1,", "\"\" is not of the form"),
            ("loss=1.5", "loss=1.5 is not a probability"),
            ("dup=-0.1", "dup=-0.1 is not a probability"),
            ("corrupt=NaN", "corrupt=NaN"),
            ("delay=-1", "delay=-1 is not a time"),
            ("delay=inf", "delay=inf"),
            ("jitter=70000", "jitter=70000"),
            ("seed=-1", "seed=-1"),
            ("dir=up", "dir=up is not one of"),
            ("speed=1", "unknown fault \"speed\""),
            ("loss=0.1,loss=0.2", "loss is given twice"),
        ] {
            let err = text.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(err.contains(part), "{text}: {err}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z=,.0-9e+-]{0,40}") {
            if let Ok(spec) = text.parse::<FaultSpec>() {
                prop_assert!(spec.loss <= 1.0 && spec.delay <= Duration::from_secs(60));
            }
        }
    }
}
