// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Options of a rule, and what the kernel is told for them.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Ports, Prefix};
use crate::{
    netlink::{policy::Terms, Offloads},
    system::{cgroup, names},
};

/// What a rule says. A socket must match all that is given; what is not given matches all sockets.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct RuleArgs {
    /// Local port, or a range of ports
    #[arg(long, value_name = "N[-M]")]
    pub port: Option<Ports>,
    /// Local address that the socket is bound to, or a prefix
    #[arg(long, value_name = "PREFIX[/LEN]")]
    pub address: Option<Prefix>,
    /// Network device that the socket is bound to; it need not be there yet
    #[arg(long, value_name = "IFNAME", value_parser = interface)]
    pub dev: Option<String>,
    /// User that has made the socket
    #[arg(long, value_name = "USER|NUMBER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub uid: Option<String>,
    /// cgroup v2 directory that the socket was made in, or below, from /sys/fs/cgroup; it need not be there yet
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// What matching sockets get: setup, teardown, defer, server-first, no-hold, separated by commas, or none
    #[arg(long, value_name = "LIST", default_value = "setup,teardown", value_parser = offloads)]
    pub offload: Offloads,
    /// Most bytes of data with which a connection is handed over at its end
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_data: Option<u32>,
    /// The rule with the smallest one that matches applies; among equals the oldest. 1000 unless given
    #[arg(long, value_name = "N")]
    pub priority: Option<u32>,
}

fn interface(name: &str) -> Result<String, String> {
    match name.len() {
        1..=15 => Ok(name.into()),
        _ => Err("names of network devices have 1 to 15 bytes".into()),
    }
}

fn offloads(list: &str) -> Result<Offloads, String> {
    if list.trim() == "none" {
        return Ok(Offloads::empty());
    }
    let asked: acceltcp_socket::Offload = list
        .parse()
        .map_err(|error| format!("{error}; or none alone"))?;
    match asked.is_empty() {
        true => Err("nothing is given; to leave sockets with the host, say none".into()),
        false => Ok(Offloads::from_bits_retain(asked.bits())),
    }
}

impl RuleArgs {
    /// What the kernel is told.
    ///
    /// # Errors
    ///
    /// When there is no such user, or the path of the cgroup makes no sense. Network device and cgroup need not be there.
    pub fn terms(&self) -> Result<Terms> {
        Ok(Terms {
            priority: self.priority,
            port_first: self.port.map(|ports| ports.first),
            port_last: self.port.map(|ports| ports.last),
            address: self.address.map(|prefix| prefix.address),
            prefix_len: self.address.map(|prefix| prefix.length),
            device: self.dev.clone(),
            uid: self.uid.as_deref().map(names::user_id).transpose()?,
            cgroup: self.cgroup.as_deref().map(cgroup::path).transpose()?,
            offloads: self.offload,
            max_data: self.max_data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_offloads() {
        assert_eq!(offloads("none"), Ok(Offloads::empty()));
        assert_eq!(
            offloads("setup,defer"),
            Ok(Offloads::SETUP | Offloads::DEFER)
        );
        for (list, words) in [
            ("", "say none"),
            ("magic", "\"magic\" is no offload"),
            ("setup,none", "\"none\" is no offload"),
            ("splice", "\"splice\" is no offload"),
            ("defer", "need setup"),
            ("setup,defer,server-first", "exclude each other"),
        ] {
            let error = offloads(list).unwrap_err();
            assert!(error.contains(words), "{list}: {error}");
        }
    }
}
