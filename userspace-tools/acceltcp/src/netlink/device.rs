// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards and the tables in their memory.

use serde::Serialize;

use super::{
    attribute::{attributes, required, Attributes},
    connection::{Connection, Object},
    names::{DeviceState, Memory, Offloads},
    uapi,
    wire::Wire,
    Error,
};

/// A card. What a card without offloads does not have is absent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Device {
    /// Number of its network device.
    pub ifindex: u32,
    /// Name of its network device.
    pub ifname: String,
    /// Versions of the vNIC and of the firmware.
    pub firmware: Option<String>,
    /// Its state.
    pub state: DeviceState,
    /// Offloads that it has.
    pub capabilities: Offloads,
    /// Connections that it ends.
    pub flows: Option<u32>,
    /// Connections that may be handed over yet.
    pub flow_credits: Option<u32>,
    /// Buffers for their data that are free.
    pub buffer_credits: Option<u32>,
    /// Spliced pairs with it.
    pub pairs: Option<u32>,
    /// Pairs that may be spliced yet.
    pub pair_credits: Option<u32>,
    /// Listener rules that it has.
    pub rules: Option<u32>,
    /// Bytes of on-chip memory that tables share.
    pub sram_bytes: Option<u32>,
    /// Tables in its memory.
    pub tables: Vec<Table>,
}

/// A table in a card's memory.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Table {
    /// What is in it.
    pub name: String,
    /// Where it is.
    pub memory: Option<Memory>,
    /// Entries in use.
    pub used: u32,
    /// Entries that there are.
    pub capacity: u32,
    /// Most entries that were in use when the host looked.
    pub high_water: u32,
    /// Bytes of an entry.
    pub entry_bytes: u32,
    /// Entries refused for want of room since the card started.
    pub refused: u32,
}

impl Table {
    /// Part of it that is in use, from 0 to 1.
    pub fn fill(&self) -> f64 {
        self.part(self.used)
    }

    /// Most of it that was in use, from 0 to 1.
    pub fn peak(&self) -> f64 {
        self.part(self.high_water.max(self.used))
    }

    fn part(&self, entries: u32) -> f64 {
        match self.capacity {
            0 => 0.0,
            capacity => (f64::from(entries) / f64::from(capacity)).min(1.0),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut name = None;
        let mut memory = None;
        let [mut used, mut capacity, mut high_water, mut entry_bytes, mut refused] = [None; 5];
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            match attribute.kind() {
                uapi::ACCELTCP_A_TABLE_NAME => name = Some(attribute.string()?),
                uapi::ACCELTCP_A_TABLE_MEMORY => memory = Some(Memory::from(attribute.u32()?)),
                uapi::ACCELTCP_A_TABLE_USED => used = Some(attribute.u32()?),
                uapi::ACCELTCP_A_TABLE_CAPACITY => capacity = Some(attribute.u32()?),
                uapi::ACCELTCP_A_TABLE_HIGH_WATER => high_water = Some(attribute.u32()?),
                uapi::ACCELTCP_A_TABLE_ENTRY_BYTES => entry_bytes = Some(attribute.u32()?),
                uapi::ACCELTCP_A_TABLE_REFUSED => refused = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(Self {
            name: required(name, "name")?,
            memory,
            used: required(used, "used")?,
            capacity: required(capacity, "capacity")?,
            high_water: high_water.unwrap_or(0),
            entry_bytes: entry_bytes.unwrap_or(0),
            refused: refused.unwrap_or(0),
        })
    }
}

impl Object for Device {
    const COMMAND: u8 = uapi::ACCELTCP_CMD_DEVICE_GET;

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (mut ifindex, mut ifname, mut state) = (None, None, None);
        let mut device = Self {
            ifindex: 0,
            ifname: String::new(),
            firmware: None,
            state: DeviceState::Down,
            capabilities: Offloads::empty(),
            flows: None,
            flow_credits: None,
            buffer_credits: None,
            pairs: None,
            pair_credits: None,
            rules: None,
            sram_bytes: None,
            tables: Vec::new(),
        };
        for attribute in attributes(bytes) {
            let attribute = attribute?;
            let number = || attribute.u32().map(Some);
            match attribute.kind() {
                uapi::ACCELTCP_A_DEVICE_IFINDEX => ifindex = number()?,
                uapi::ACCELTCP_A_DEVICE_IFNAME => ifname = Some(attribute.string()?),
                uapi::ACCELTCP_A_DEVICE_FIRMWARE => device.firmware = Some(attribute.string()?),
                uapi::ACCELTCP_A_DEVICE_STATE => state = number()?,
                uapi::ACCELTCP_A_DEVICE_CAPABILITIES => {
                    device.capabilities = Offloads::from_bits_retain(attribute.u32()?);
                }
                uapi::ACCELTCP_A_DEVICE_TABLE => {
                    device.tables.push(Table::parse(attribute.nested())?);
                }
                uapi::ACCELTCP_A_DEVICE_FLOWS => device.flows = number()?,
                uapi::ACCELTCP_A_DEVICE_FLOW_CREDITS => device.flow_credits = number()?,
                uapi::ACCELTCP_A_DEVICE_BUFFER_CREDITS => device.buffer_credits = number()?,
                uapi::ACCELTCP_A_DEVICE_PAIRS => device.pairs = number()?,
                uapi::ACCELTCP_A_DEVICE_PAIR_CREDITS => device.pair_credits = number()?,
                uapi::ACCELTCP_A_DEVICE_RULES => device.rules = number()?,
                uapi::ACCELTCP_A_DEVICE_SRAM_BYTES => device.sram_bytes = number()?,
                _ => {}
            }
        }
        device.ifindex = required(ifindex, "ifindex")?;
        device.ifname = required(ifname, "ifname")?;
        device.state = required(state, "state")?.into();
        Ok(device)
    }
}

/// All cards of the network namespace.
pub fn devices<W: Wire>(connection: &mut Connection<W>) -> anyhow::Result<Vec<Device>> {
    connection.collect(&Attributes::new())
}

/// Has all cards take a new key for cookies.
pub fn rotate_keys<W: Wire>(connection: &mut Connection<W>) -> Result<(), Error> {
    let command = uapi::ACCELTCP_CMD_KEY_ROTATE;
    connection.request(command, &Attributes::new()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::{nest, text, u32_of};

    #[test]
    fn a_card_byte_by_byte() {
        let bytes = [
            8, 0, 1, 0, 3, 0, 0, 0, // ifindex
            9, 0, 2, 0, b'n', b'i', b'c', b'0', 0, 0, 0, 0, // ifname
            8, 0, 4, 0, 2, 0, 0, 0, // state
            8, 0, 5, 0, 7, 0, 0, 0, // capabilities
            44, 0, 6, 0x80, // table
            8, 0, 1, 0, b's', b'y', b'n', 0, 8, 0, 2, 0, 1, 0, 0, 0, // name, memory
            8, 0, 3, 0, 5, 0, 0, 0, 8, 0, 4, 0, 20, 0, 0, 0, // used, capacity
            8, 0, 5, 0, 10, 0, 0, 0, // high-water
            8, 0, 200, 0, 1, 2, 3, 4, // not known
            8, 0, 10, 0, 0, 1, 0, 0, // pairs
        ];
        let device = Device::parse(&bytes).unwrap();
        assert_eq!((device.ifindex, device.ifname.as_str()), (3, "nic0"));
        assert_eq!(device.state, DeviceState::Attached);
        assert_eq!(device.capabilities.to_string(), "setup,teardown,splice");
        assert_eq!((device.pairs, device.flows), (Some(256), None));
        let table = &device.tables[0];
        assert_eq!(
            (table.name.as_str(), table.memory),
            ("syn", Some(Memory::Dram))
        );
        assert_eq!((table.fill(), table.peak()), (0.25, 0.5));
    }

    #[test]
    fn what_must_be_there_is_asked_for() {
        let bytes = [u32_of(1, 3), text(2, "nic0")].concat();
        let error = Device::parse(&bytes).unwrap_err();
        assert!(error.to_string().ends_with("no attribute \"state\""));
        let table = nest(6, &[u32_of(3, 1)].concat());
        assert!(Device::parse(&[bytes, u32_of(4, 0), table].concat()).is_err());
    }

    #[test]
    fn a_table_without_entries_is_not_full() {
        let bytes = [text(1, "x"), u32_of(3, 0), u32_of(4, 0)].concat();
        assert_eq!(Table::parse(&bytes).unwrap().fill(), 0.0);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Device::parse(&bytes);
            let _ = Table::parse(&bytes);
        }
    }
}
