// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An address, or the addresses that begin alike.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Addresses whose first bits are those of `address`; its other bits are 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that count.
    pub length: u8,
}

/// Bits of an address.
fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl Prefix {
    /// The addresses that begin with the first `length` bits of `address`; all of them count if it is absent.
    pub fn new(address: IpAddr, length: Option<u8>) -> Self {
        let length = length.unwrap_or(bits(address));
        Self { address, length }
    }

    /// Whether all addresses of `other` are among these.
    pub fn holds(self, other: Self) -> bool {
        let family = |prefix: Self| prefix.address.is_ipv4();
        let cut = Self {
            length: self.length,
            ..other
        };
        family(self) == family(other)
            && self.length <= other.length
            && cut.masked() == self.masked()
    }

    fn masked(self) -> IpAddr {
        let host = u32::from(bits(self.address) - self.length);
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(host).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(host).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address = address
            .parse::<IpAddr>()
            .map_err(|_| format!("{address:?} is no IPv4 or IPv6 address"))?;
        let most = bits(address);
        let length = match length.map(str::parse) {
            None => most,
            Some(Ok(length)) if length <= most => length,
            Some(_) => return Err(format!("the prefix length is not from 0 to {most}")),
        };
        let prefix = Self { address, length };
        let masked = prefix.masked();
        match masked == address {
            true => Ok(prefix),
            false => Err(format!(
                "{address} has bits behind the first {length}; did you mean {masked}/{length}?"
            )),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length == bits(self.address) {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_round_trip() {
        for text in [
            "10.0.0.1",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "fe80::/10",
            "::1",
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        let whole = "10.0.0.1/32".parse::<Prefix>().unwrap();
        assert_eq!(whole.to_string(), "10.0.0.1");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "::/",
            "x/8",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn stray_bits_are_told() {
        let error = "10.1.2.3/8".parse::<Prefix>().unwrap_err();
        assert!(error.ends_with("did you mean 10.0.0.0/8?"), "{error}");
        let error = "2001:db8::1/64".parse::<Prefix>().unwrap_err();
        assert!(error.ends_with("did you mean 2001:db8::/64?"), "{error}");
    }
}
