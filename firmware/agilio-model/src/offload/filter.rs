// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which received frames are for the host, by their destination address.

use acceltcp_abi::regs::{ctrl, ctrl1};

/// A MAC address.
pub type Mac = [u8; 6];

/// Most multicast addresses that the card holds.
pub const MAX_MULTICAST: usize = 64;

/// Why the list of multicast addresses cannot be changed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterError {
    /// The list is full.
    Full,
    /// The address is not on the list.
    NotThere,
    /// The address is not a multicast address.
    NotMulticast,
}

/// The address filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    mac: Mac,
    ctrl: u32,
    ctrl1: u32,
    list: [Mac; MAX_MULTICAST],
    listed: usize,
}

impl Filter {
    /// A filter for `mac` that takes nothing else.
    pub fn new(mac: Mac) -> Self {
        Self {
            mac,
            ctrl: 0,
            ctrl1: 0,
            list: [[0; 6]; MAX_MULTICAST],
            listed: 0,
        }
    }

    /// Takes over the card's address and the control words, of which only the bits about filters count:
    /// without [`ctrl::L2MC`] no multicast is taken, with [`ctrl1::MCAST_FILTER`] only that on the list,
    /// otherwise all.
    pub fn configure(&mut self, mac: Mac, ctrl: u32, ctrl1: u32) {
        self.mac = mac;
        self.ctrl = ctrl;
        self.ctrl1 = ctrl1;
    }

    /// Adds a multicast address; one that is there already stays there once.
    pub fn add_multicast(&mut self, mac: Mac) -> Result<(), FilterError> {
        if !is_multicast(mac) {
            return Err(FilterError::NotMulticast);
        }
        if self.multicast().contains(&mac) {
            return Ok(());
        }
        let free = self.list.get_mut(self.listed).ok_or(FilterError::Full)?;
        *free = mac;
        self.listed += 1;
        Ok(())
    }

    /// Removes a multicast address.
    pub fn remove_multicast(&mut self, mac: Mac) -> Result<(), FilterError> {
        let place = self.multicast().iter().position(|listed| *listed == mac);
        let place = place.ok_or(FilterError::NotThere)?;
        self.listed -= 1;
        self.list.swap(place, self.listed);
        Ok(())
    }

    /// Empties the list of multicast addresses.
    pub fn clear_multicast(&mut self) {
        self.listed = 0;
    }

    /// Whether `frame` is for the host.
    pub fn accepts(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<6>() else {
            return false;
        };
        if self.ctrl & ctrl::PROMISC != 0 {
            return true;
        }
        if *to == [0xff; 6] {
            return self.ctrl & ctrl::L2BC != 0;
        }
        if !is_multicast(*to) {
            return *to == self.mac;
        }
        let listed_only = self.ctrl1 & ctrl1::MCAST_FILTER != 0;
        self.ctrl & ctrl::L2MC != 0 && (!listed_only || self.multicast().contains(to))
    }

    fn multicast(&self) -> &[Mac] {
        &self.list[..self.listed]
    }
}

/// Whether `mac` is a group address, broadcast included.
pub fn is_multicast(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const OWN: Mac = [2, 0x15, 0x4d, 0, 0, 1];
    const OTHER: Mac = [2, 0x15, 0x4d, 0, 0, 2];
    const GROUP: Mac = [1, 0, 0x5e, 0, 0, 1];
    const OTHER_GROUP: Mac = [0x33, 0x33, 0, 0, 0, 1];
    const BROADCAST: Mac = [0xff; 6];

    #[test]
    fn every_mode() {
        let all = [OWN, OTHER, BROADCAST, GROUP, OTHER_GROUP];
        let list = ctrl1::MCAST_FILTER;
        for (control, control1, taken) in [
            (0, 0, [true, false, false, false, false]),
            (0, list, [true, false, false, false, false]),
            (ctrl::L2BC, 0, [true, false, true, false, false]),
            (ctrl::L2MC, 0, [true, false, false, true, true]),
            (ctrl::L2MC, list, [true, false, false, true, false]),
            (ctrl::PROMISC, list, [true; 5]),
        ] {
            let mut filter = Filter::new(OTHER);
            filter.configure(OWN, control, control1);
            filter.add_multicast(GROUP).unwrap();
            assert_eq!(all.map(|mac| filter.accepts(&mac)), taken);
        }
        let mut filter = Filter::new(OWN);
        filter.configure(OWN, ctrl::PROMISC, 0);
        assert!(!filter.accepts(&OWN[..5]));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut filter = Filter::new(OWN);
        let mac = |n: usize| [1, 0, 0x5e, 0, 0, n as u8];
        for n in 0..MAX_MULTICAST {
            assert_eq!(filter.add_multicast(mac(n)), Ok(()));
        }
        assert_eq!(filter.add_multicast(OTHER_GROUP), Err(FilterError::Full));
        assert_eq!(filter.add_multicast(mac(3)), Ok(()));
        assert_eq!(filter.remove_multicast(mac(3)), Ok(()));
        assert_eq!(filter.remove_multicast(mac(3)), Err(FilterError::NotThere));
        assert_eq!(filter.add_multicast(OTHER_GROUP), Ok(()));
        assert_eq!(filter.add_multicast(OTHER), Err(FilterError::NotMulticast));
    }

    proptest! {
        #[test]
        fn the_list_is_a_set(steps in proptest::collection::vec((any::<bool>(), 0u8..20), 0..60)) {
            let mut filter = Filter::new(OWN);
            filter.configure(OWN, ctrl::L2MC, ctrl1::MCAST_FILTER);
            let mut set = BTreeSet::new();
            for (add, n) in steps {
                let mac = [0x33, 0x33, 0, 0, 0, n];
                if add {
                    prop_assert_eq!(filter.add_multicast(mac), Ok(()));
                    set.insert(mac);
                } else {
                    prop_assert_eq!(filter.remove_multicast(mac).is_ok(), set.remove(&mac));
                }
            }
            for n in 0..20 {
                let mac = [0x33, 0x33, 0, 0, 0, n];
                prop_assert_eq!(filter.accepts(&mac), set.contains(&mac));
            }
        }
    }
}
