// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp limits`.

use anyhow::Result;

use crate::{
    netlink::{limits, Connection, Wire},
    output::{Cell, Output, Table},
};

/// Options.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Leave new work with the host from when so much of a card's table of connections, or of pairs, is used; 100 for until it is
    /// full
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub sram_high: Option<u32>,
    /// Give it to the card again from when less than so much is used
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub sram_low: Option<u32>,
}

/// Changes the limits that are given, and shows all if there is none.
pub fn run(args: &Args, output: &mut Output<'_>) -> Result<()> {
    apply(args, &mut Connection::open()?, output)
}

fn apply<W: Wire>(
    args: &Args,
    connection: &mut Connection<W>,
    output: &mut Output<'_>,
) -> Result<()> {
    if args.sram_high.is_some() || args.sram_low.is_some() {
        return Ok(limits::set(connection, args.sram_high, args.sram_low)?);
    }
    let limits = limits::limits(connection)?;
    if output.is_json() {
        return output.value(&limits);
    }
    let mut table = Table::indented(0);
    for (name, percent) in [
        ("sram-high", limits.sram_high),
        ("sram-low", limits.sram_low),
    ] {
        table.row([Cell::new(name), Cell::number(format_args!("{percent}%"))]);
    }
    table.write(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        netlink::{
            testing::{u32_of, Said, Script},
            uapi,
        },
        output::written,
    };

    fn shown(json: bool) -> String {
        let answer = [u32_of(1, 95), u32_of(2, 5)].concat();
        let said = Said::Packet(uapi::ACCELTCP_CMD_LIMITS_GET, 0, answer);
        let mut connection = Connection::with(Script::new([said, Said::Ack(0)])).unwrap();
        let args = Args {
            sram_high: None,
            sram_low: None,
        };
        written(json, false, |output| apply(&args, &mut connection, output))
    }

    #[test]
    fn without_options_they_are_shown() {
        assert_eq!(shown(false), "sram-high  95%\nsram-low    5%\n");
        assert_eq!(shown(true), "{\"sram_high\":95,\"sram_low\":5}\n");
    }

    #[test]
    fn with_options_they_are_changed() {
        let sent = std::rc::Rc::default();
        let wire = Script::new([Said::Ack(0)]).recording(std::rc::Rc::clone(&sent));
        let mut connection = Connection::with(wire).unwrap();
        let args = Args {
            sram_high: Some(80),
            sram_low: None,
        };
        let text = written(false, false, |output| apply(&args, &mut connection, output));
        assert_eq!(text, "");
        let request: &Vec<u8> = &sent.borrow()[0];
        assert_eq!(request[16..], [18, 1, 0, 0, 8, 0, 1, 0, 80, 0, 0, 0]);
    }
}
