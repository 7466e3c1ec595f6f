// SPDX-License-Identifier: GPL-2.0

//! Lists of the connections that cards end (`acceltcp_abi::flows`).
//!
//! What a card says is checked: it neither makes the host read beyond what it was given, nor keeps it busy for ever, and
//! entries that make no sense are left out.

use super::{
    counters::{
        count,
        Counter, //
    },
    policy::Prefix, //
};
use acceltcp_abi::{
    flows::{
        Flow,
        FlowsReply, //
    },
    setup::NO_VLAN, //
};
use kernel::prelude::*;

/// Most entries that a card is asked for at once.
pub(crate) const MAX_ROOM: usize = 256;

/// A list in the making.
pub(crate) struct Listing {
    states: u32,
    next: u32,
    room: usize,
    flows: KVec<Flow>,
}

impl Listing {
    /// A list of the connections in `states` (bits `1 << state`), which goes on at `next`, or begins (0).
    pub(crate) fn new(states: u32, next: u32) -> Self {
        Self {
            states,
            next,
            room: 0,
            flows: KVec::new(),
        }
    }

    /// Has it ask for so many entries at most, but for one at least.
    pub(crate) fn with_room(mut self, room: usize) -> Self {
        self.room = room.clamp(1, MAX_ROOM);
        self
    }

    /// How many entries to ask for, up to [`MAX_ROOM`].
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// In which states.
    pub(crate) fn states(&self) -> u32 {
        self.states
    }

    /// Where to go on; 0 when it is complete.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Takes the part that the card has told, whose entries `flow` reads by their numbers. `EPROTO` when it contradicts what was
    /// asked for.
    pub(crate) fn take(
        &mut self,
        reply: &FlowsReply,
        flow: &mut dyn FnMut(usize) -> Flow,
    ) -> Result {
        let (count_told, next) = (reply.count.get() as usize, reply.next.get());
        // A cursor that does not grow would go on for ever.
        if count_told > self.room || next != 0 && next <= self.next {
            return Err(EPROTO);
        }
        self.flows.clear();
        for index in 0..count_told {
            let flow = flow(index);
            if self.makes_sense(&flow) {
                self.flows.push(flow, GFP_KERNEL)?;
            } else {
                count(Counter::flows_malformed);
            }
        }
        self.next = next;
        Ok(())
    }

    fn makes_sense(&self, flow: &Flow) -> bool {
        let asked = 1u32
            .checked_shl(flow.state.into())
            .is_some_and(|bit| self.states & bit != 0);
        let vlans = [flow.vlan_outer, flow.vlan_inner].map(|vlan| vlan.get());
        let known = vlans.iter().all(|vlan| *vlan < 4096 || *vlan == NO_VLAN);
        asked && known && matches!(flow.family, 4 | 6)
    }

    /// The entries of the last part.
    pub(crate) fn flows(&self) -> &[Flow] {
        &self.flows
    }
}

/// The peer's and the local address of an entry.
pub(crate) fn addresses(flow: &Flow) -> [&[u8]; 2] {
    let len = if flow.family == 4 { 4 } else { 16 };
    [&flow.peer, &flow.local].map(|address| address.get(..len).unwrap_or(&[]))
}

/// Which entries are wanted; what is `None` does not matter.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) family: Option<u8>,
    pub(crate) peer: Option<Prefix>,
    pub(crate) peer_port: Option<u16>,
    pub(crate) local: Option<Prefix>,
    pub(crate) local_port: Option<u16>,
}

impl Filter {
    /// Whether `flow` is wanted.
    pub(crate) fn takes(&self, flow: &Flow) -> bool {
        let [peer, local] = addresses(flow);
        self.family.is_none_or(|family| family == flow.family)
            && self.peer.is_none_or(|prefix| prefix.has(peer))
            && self.local.is_none_or(|prefix| prefix.has(local))
            && self
                .peer_port
                .is_none_or(|port| port == flow.peer_port.get())
            && self
                .local_port
                .is_none_or(|port| port == flow.local_port.get())
    }
}

#[cfg(ACCELTCP_KUNIT)]
#[kernel::prelude::kunit_tests(acceltcp_flows)]
mod tests {
    use super::*;
    use acceltcp_abi::flows::state;

    fn flow() -> Flow {
        Flow {
            peer: [10, 99, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            local: [10, 99, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            peer_port: 4000.into(),
            local_port: 80.into(),
            family: 4,
            state: state::FIN_WAIT_2,
            vlan_outer: 5.into(),
            vlan_inner: NO_VLAN.into(),
            ..Flow::default()
        }
    }

    fn reply(count: u32, next: u32) -> FlowsReply {
        FlowsReply {
            count: count.into(),
            next: next.into(),
        }
    }

    #[test]
    fn a_card_is_not_trusted() {
        let listing = || Listing::new(1 << state::FIN_WAIT_2, 7).with_room(2);
        let mut good = |_| flow();
        let mut taken = listing();
        assert!(taken.take(&reply(2, 8), &mut good).is_ok());
        assert_eq!((taken.flows().len(), taken.next()), (2, 8));
        assert!(taken.take(&reply(0, 0), &mut good).is_ok());
        assert_eq!((taken.flows().len(), taken.next()), (0, 0));
        for (count, next) in [(3, 8), (u32::MAX, 8), (1, 7), (1, 3)] {
            let result = listing().take(&reply(count, next), &mut good);
            assert_eq!(
                result.err().map(|err| err.to_errno()),
                Some(EPROTO.to_errno())
            );
        }
        for bad in [
            Flow {
                family: 5,
                ..flow()
            },
            Flow { state: 0, ..flow() },
            Flow {
                state: 255,
                ..flow()
            },
            Flow {
                state: state::TIME_WAIT,
                ..flow()
            },
            Flow {
                vlan_outer: 4096.into(),
                ..flow()
            },
        ] {
            let mut taken = listing();
            let mut flows = |index| if index == 0 { bad } else { flow() };
            assert!(taken.take(&reply(2, 0), &mut flows).is_ok());
            assert_eq!(taken.flows().len(), 1);
        }
        assert_eq!(listing().with_room(0).room(), 1);
        assert_eq!(listing().with_room(usize::MAX).room(), MAX_ROOM);
    }

    #[test]
    fn a_filter_takes_what_matches() {
        let prefix = |address: &[u8], bits| Prefix::new(address, Some(bits));
        assert!(Filter::default().takes(&flow()));
        let good = Filter {
            family: Some(4),
            peer: prefix(&[10, 0, 0, 0], 8),
            peer_port: Some(4000),
            local: prefix(&[10, 99, 0, 2], 32),
            local_port: Some(80),
        };
        assert!(good.takes(&flow()));
        for other in [
            Filter {
                family: Some(6),
                ..Filter::default()
            },
            Filter {
                peer: prefix(&[11, 0, 0, 0], 8),
                ..Filter::default()
            },
            Filter {
                peer: prefix(&[0; 16], 0),
                ..Filter::default()
            },
            Filter {
                peer_port: Some(80),
                ..Filter::default()
            },
            Filter {
                local: prefix(&[10, 99, 0, 1], 32),
                ..Filter::default()
            },
            Filter {
                local_port: Some(4000),
                ..Filter::default()
            },
        ] {
            assert!(!other.takes(&flow()));
        }
    }
}
