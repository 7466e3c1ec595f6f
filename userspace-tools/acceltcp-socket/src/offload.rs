// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a socket may ask for, and its names.

use std::{error::Error, fmt, str::FromStr};

use crate::uapi;

bitflags::bitflags! {
    /// What a socket asks the card to do.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Offload: u32 {
        /// The card sets connections up.
        const SETUP = uapi::ACCELTCP_OFFLOAD_SETUP;
        /// The card ends connections that are closed.
        const TEARDOWN = uapi::ACCELTCP_OFFLOAD_TEARDOWN;
        /// With `SETUP`: the client speaks first, and its connection comes with its first data.
        const DEFER = uapi::ACCELTCP_OFFLOAD_DEFER;
        /// With `SETUP`, not with `DEFER`: the server speaks first.
        const SERVER_FIRST = uapi::ACCELTCP_OFFLOAD_SERVER_FIRST;
        /// With `TEARDOWN`: no write waits for a close shortly after it.
        const NO_HOLD = uapi::ACCELTCP_OFFLOAD_NO_HOLD;
    }
}

/// Names for people.
const NAMES: [(&str, Offload); 5] = [
    ("setup", Offload::SETUP),
    ("teardown", Offload::TEARDOWN),
    ("defer", Offload::DEFER),
    ("server-first", Offload::SERVER_FIRST),
    ("no-hold", Offload::NO_HOLD),
];

impl Offload {
    /// Whether the kernel takes this combination.
    pub fn is_valid(self) -> bool {
        let first = Self::DEFER | Self::SERVER_FIRST;
        Self::all().contains(self)
            && (self.contains(Self::SETUP) || !self.intersects(first))
            && !self.contains(first)
            && (self.contains(Self::TEARDOWN) || !self.contains(Self::NO_HOLD))
    }
}

/// A list of offloads with an unknown name, or a combination that makes no sense.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UnknownOffload {
    /// No offload has this name.
    Name(String),
    /// See [`Offload::is_valid`].
    Combination(Offload),
}

impl fmt::Display for UnknownOffload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "{name:?} is no offload; known are")?;
                for (place, (name, _)) in NAMES.iter().enumerate() {
                    write!(f, "{} {name}", if place == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Combination(list) => write!(
                f,
                "{list}: defer and server-first need setup and exclude each other, no-hold needs teardown"
            ),
        }
    }
}

impl Error for UnknownOffload {}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, bit) in NAMES {
            if self.contains(bit) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// A list of names, separated by commas, which may be empty.
impl FromStr for Offload {
    type Err = UnknownOffload;

    fn from_str(list: &str) -> Result<Self, UnknownOffload> {
        let mut all = Self::empty();
        for word in list.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match NAMES.iter().find(|(name, _)| *name == word) {
                Some((_, bit)) => all |= *bit,
                None => return Err(UnknownOffload::Name(word.into())),
            }
        }
        match all.is_valid() {
            true => Ok(all),
            false => Err(UnknownOffload::Combination(all)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip() {
        for bits in 0..64 {
            let Some(list) = Offload::from_bits(bits) else {
                continue;
            };
            let read = list.to_string().parse::<Offload>();
            match list.is_valid() {
                true => assert_eq!(read, Ok(list)),
                false => assert_eq!(read, Err(UnknownOffload::Combination(list))),
            }
        }
        let spaced = " setup, defer,".parse::<Offload>();
        assert_eq!(spaced, Ok(Offload::SETUP | Offload::DEFER));
    }

    #[test]
    fn unknown_names_are_told() {
        let error = "setup,magic".parse::<Offload>().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("\"magic\"")
                && text.ends_with("setup, teardown, defer, server-first, no-hold")
        );
    }

    #[test]
    fn unknown_bits_are_no_valid_combination() {
        assert!(!Offload::from_bits_retain(1 << 31).is_valid());
    }
}
