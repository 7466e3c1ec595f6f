// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Listening TCP ports, from /proc/net/tcp and tcp6.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{bail, Context, Result};

/// `TCP_LISTEN` of include/net/tcp_states.h, as the files print it.
const LISTEN: &str = "0A";

/// Between two looks; the kernel tells nobody when a socket starts to listen.
const INTERVAL: Duration = Duration::from_millis(20);

/// The ports that listen now, IPv4 and IPv6 together.
///
/// # Errors
///
/// The kernel's tables cannot be read.
pub(crate) fn ports() -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = fs::read_to_string(path).context(path)?;
        ports.extend(parse(&table));
    }
    Ok(ports)
}

/// Waits until `port` listens, or any port that is not in `known`.
///
/// # Errors
///
/// The kernel's tables cannot be read, or nothing listens within `timeout`.
pub(crate) fn wait(port: Option<u16>, known: &[u16], timeout: Duration) -> Result<u16> {
    let end = Instant::now() + timeout;
    loop {
        let found = ports()?.into_iter().find(|found| match port {
            Some(port) => *found == port,
            None => !known.contains(found),
        });
        if let Some(found) = found {
            return Ok(found);
        }
        if Instant::now() >= end {
            match port {
                Some(port) => bail!("port {port} does not listen after {timeout:?}"),
                None => bail!("no new port listens after {timeout:?}"),
            }
        }
        thread::sleep(INTERVAL);
    }
}

fn parse(table: &str) -> impl Iterator<Item = u16> + '_ {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        (state == LISTEN)
            .then(|| u16::from_str_radix(port, 16).ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2021 1
   1: 0100007F:0016 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2022 1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00
";

    #[test]
    fn only_listening_ports_are_found() {
        assert_eq!(parse(TCP).collect::<Vec<_>>(), [6379]);
        assert_eq!(parse(TCP6).collect::<Vec<_>>(), [80]);
    }

    #[test]
    fn damaged_lines_are_skipped() {
        let table = "head\n0: 1:ZZZZ 2:0 0A\n0: 18EB\n\n1: 00:0050 00:0000 0A\n";
        assert_eq!(parse(table).collect::<Vec<_>>(), [80]);
    }
}
