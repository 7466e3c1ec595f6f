// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The command line.

use crate::device::descriptors::Format;
use crate::wire::{FaultSpec, WireSpec};
use acceltcp_abi::regs;
use clap::{Args, Parser};
use nicstack::memory::Capacity;
use std::path::PathBuf;

/// A model of an Agilio SR-IOV VF, served to QEMU over vfio-user.
///
/// Prints "ready" when a VMM can connect, serves one VMM and ends with it.
#[derive(Debug, Clone, Parser)]
#[command(name = "agilio-model", version)]
pub struct Cli {
    /// vfio-user socket to listen at; must not exist
    #[arg(long, value_name = "PATH", required_unless_present = "memory_map")]
    pub socket: Option<PathBuf>,
    /// Where the wire goes: tap:NAME, or unix:PATH to another card
    #[arg(long, value_name = "SPEC", required_unless_present = "memory_map")]
    pub wire: Option<WireSpec>,
    /// Capture of the wire, as pcapng
    #[arg(long, value_name = "FILE")]
    pub wire_pcap: Option<PathBuf>,
    /// Capture of what host and card exchange, as pcapng
    #[arg(long, value_name = "FILE")]
    pub host_pcap: Option<PathBuf>,
    /// Control socket to listen at
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Faults on the wire: seed=N,loss=P,dup=P,reorder=P,delay=MS,jitter=MS,corrupt=P,dir=in|out|both
    #[arg(long, value_name = "SPEC", default_value = "")]
    pub faults: FaultSpec,
    /// MAC address
    #[arg(long, value_name = "MAC", default_value = "00:15:4d:00:00:01", value_parser = parse_mac)]
    pub mac: [u8; 6],
    /// Ring pairs
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=regs::MAX_RINGS as i64))]
    pub rings: u16,
    /// Threads that serve the host's rings, and as many for the queues of a TAP that the card makes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Format of TX descriptors
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub datapath: Format,
    /// Be a plain Agilio: announce no AccelTCP
    #[arg(long)]
    pub plain: bool,
    /// Sizes of the tables in the memory of the card
    #[command(flatten)]
    pub tables: Tables,
    /// Print how tables divide the card's memories (IMEM, EMEM), and end
    #[arg(long)]
    pub memory_map: bool,
}

/// Sizes of the tables in the card's memory.
#[derive(Debug, Clone, Copy, Args)]
pub struct Tables {
    /// Listeners that connection setup can serve
    #[arg(long, value_name = "N", default_value_t = Capacity::default().listeners)]
    pub listeners: u32,
    /// Connections set up lately that are remembered against replays; rounded up to a power of two
    #[arg(long, value_name = "N", default_value_t = Capacity::default().recent)]
    pub recent: u32,
    /// Half-open connections of servers that speak first
    #[arg(long, value_name = "N", default_value_t = Capacity::default().half_open)]
    pub half_open: u32,
    /// Connections that the card ends for the host
    #[arg(long, value_name = "N", default_value_t = Capacity::default().flows)]
    pub flows: u32,
    /// Buffers of 2 KiB in EMEM for the data of these connections and of pairs
    #[arg(long, value_name = "N", default_value_t = Capacity::default().buffers)]
    pub buffers: u32,
    /// Connections in TIME-WAIT, in EMEM
    #[arg(long, value_name = "N", default_value_t = Capacity::default().time_wait)]
    pub time_wait: u32,
    /// Pairs of connections that the card splices
    #[arg(long, value_name = "N", default_value_t = Capacity::default().spliced_pairs)]
    pub spliced_pairs: u32,
    /// Rules of the access list
    #[arg(long, value_name = "N", default_value_t = Capacity::default().acl)]
    pub acl: u32,
}

impl Tables {
    /// The same for the stack.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            listeners: self.listeners,
            recent: self.recent,
            half_open: self.half_open,
            flows: self.flows,
            buffers: self.buffers,
            time_wait: self.time_wait,
            spliced_pairs: self.spliced_pairs,
            acl: self.acl,
        }
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = parts
            .next()
            .filter(|part| part.len() == 2 && !part.starts_with('+'))
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or("a MAC address is six bytes like 00:15:4d:00:00:01")?;
    }
    if parts.next().is_some() {
        return Err("a MAC address has six bytes".to_owned());
    }
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err("a card's MAC address is neither multicast nor zero".to_owned());
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let fixed = ["agilio-model", "--socket", "s", "--wire", "tap:w0"];
        Cli::try_parse_from(fixed.iter().chain(args))
    }

    #[test]
    fn defaults() {
        let cli = parse(&[]).unwrap();
        assert_eq!((cli.rings, cli.workers, cli.plain), (4, 2, false));
        assert_eq!(cli.mac, [0, 0x15, 0x4d, 0, 0, 1]);
        assert!(cli.faults.is_none());
        assert_eq!(cli.tables.capacity(), Capacity::default());
    }

    #[test]
    fn macs() {
        assert_eq!(
            parse(&["--mac", "02:15:4D:ab:cd:ef"]).unwrap().mac,
            [2, 0x15, 0x4d, 0xab, 0xcd, 0xef]
        );
        for mac in [
            "",
            "02:15:4d:ab:cd",
            "02:15:4d:ab:cd:ef:00",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:15:4d:ab:cd:+f",
            "2:15:4d:ab:cd:ef",
        ] {
            assert!(parse(&["--mac", mac]).is_err(), "{mac}");
        }
    }

    #[test]
    fn a_memory_map_needs_no_sockets() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["agilio-model"], args].concat());
        let cli = parse(&["--memory-map", "--listeners", "7", "--half-open", "0"]).unwrap();
        assert_eq!((cli.tables.listeners, cli.tables.half_open), (7, 0));
        assert!(parse(&["--wire", "tap:w0"]).is_err());
        assert!(parse(&["--socket", "s"]).is_err());
    }

    #[test]
    fn ranges() {
        assert!(parse(&["--rings", "64"]).is_ok());
        for args in [
            ["--rings", "0"],
            ["--rings", "65"],
            ["--workers", "0"],
            ["--faults", "loss=2"],
            ["--wire", "udp:1"],
        ] {
            assert!(parse(&args).is_err(), "{args:?}");
        }
    }
}
