// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A port or a range of ports.

use std::{fmt, str::FromStr};

/// Ports from the first to the last, both included; neither is 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is no port from 1 to 65535")),
            Ok(port) => Ok(port),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        match first <= last {
            true => Ok(Self { first, last }),
            false => Err(format!("the range {text} ends before it starts")),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_round_trip() {
        for text in ["1", "80", "80-81", "1-65535"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        assert_eq!("80-80".parse::<Ports>().unwrap().to_string(), "80");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "0", "65536", "80-", "-80", "81-80", "1-2-3", "http", "+80-0",
        ] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }
}
