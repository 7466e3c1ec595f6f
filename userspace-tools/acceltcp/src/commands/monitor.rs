// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp monitor`.

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        device::Device,
        event::{notified, Notification, Splice, Watermark},
        uapi, Connection, DeviceState, Wire,
    },
    output::{Output, Tone},
};

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    /// A card has come, or changed its state.
    Device(Box<Device>),
    /// A table of a card has crossed a limit.
    Watermark(Watermark),
    /// A spliced pair is one no more.
    Splice(Splice),
    /// Events came too fast, and some are lost.
    Lost,
}

impl From<Notification> for Event {
    fn from(of: Notification) -> Self {
        match of {
            Notification::Device(device) => Self::Device(device),
            Notification::Watermark(watermark) => Self::Watermark(watermark),
            Notification::Splice(splice) => Self::Splice(splice),
        }
    }
}

/// Prints events until it is stopped.
pub fn run(output: &mut Output<'_>) -> Result<()> {
    let mut connection = Connection::open()?;
    follow(&mut connection, output)
}

fn follow<W: Wire>(connection: &mut Connection<W>, output: &mut Output<'_>) -> Result<()> {
    for group in [
        uapi::GROUP_DEVICES,
        uapi::GROUP_WATERMARKS,
        uapi::GROUP_SPLICES,
    ] {
        connection.join(group)?;
    }
    loop {
        match connection.notifications()? {
            Some(packets) => {
                for packet in &packets {
                    if let Some(notification) = notified(packet)? {
                        show(output, &notification.into())?;
                    }
                }
            }
            None => show(output, &Event::Lost)?,
        }
    }
}

/// Prints an event at once.
fn show(output: &mut Output<'_>, event: &Event) -> Result<()> {
    match event {
        _ if output.is_json() => output.value(event)?,
        Event::Lost => output.line(output.paint(Tone::Bad, "events were lost"))?,
        Event::Device(device) => {
            let state = output.paint(tone(device.state), device.state);
            output.line(format_args!(
                "{} ({}): {state}, offloads {}",
                device.ifname, device.ifindex, device.capabilities
            ))?;
        }
        Event::Watermark(of) => {
            let level = match of.above {
                true => output.paint(Tone::Warning, "new ones stay with the host"),
                false => output.paint(Tone::Good, "new ones go to the card again"),
            };
            output.line(format_args!(
                "if{}: {} of {} {} are used, {level}",
                of.ifindex, of.used, of.capacity, of.table
            ))?;
        }
        Event::Splice(of) => output.line(splice(of))?,
    }
    output.flush()
}

fn splice(of: &Splice) -> String {
    let peers: Vec<String> = of.ends.iter().map(|end| end.remote().to_string()).collect();
    let bytes: Vec<String> = of.bytes.iter().map(u64::to_string).collect();
    format!(
        "if{}: pair {} of {}: {}, {} bytes",
        of.ifindex,
        of.id,
        peers.join(" and "),
        of.reason,
        bytes.join(" and "),
    )
}

/// The colour of a state.
pub(super) fn tone(state: DeviceState) -> Tone {
    match state {
        DeviceState::Attached => Tone::Good,
        DeviceState::Dead => Tone::Bad,
        _ => Tone::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::status::tests::card,
        netlink::testing::{text, u32_of, Said, Script},
        output::written,
    };

    #[test]
    fn events_are_printed_as_they_come() {
        let card = |state| {
            let attributes = [u32_of(1, 3), text(2, "nic0"), u32_of(4, state)].concat();
            Said::Packet(uapi::ACCELTCP_CMD_DEVICE_NTF, 0, attributes)
        };
        let other = Said::Packet(uapi::ACCELTCP_CMD_POLICY_GET, 0, Vec::new());
        let answers = [card(1), other, Said::Fails(libc::ENOBUFS), card(3)];
        let mut connection = Connection::with(Script::new(answers)).unwrap();
        let text = written(false, false, |output| {
            // It goes on until the socket fails.
            assert!(follow(&mut connection, output).is_err());
            Ok(())
        });
        assert_eq!(
            text,
            "nic0 (3): plain, offloads none\nevents were lost\nnic0 (3): dead, offloads none\n"
        );
    }

    #[test]
    fn tables_and_pairs() {
        let watermark = |above| {
            Event::Watermark(Watermark {
                ifindex: 3,
                table: "flows".into(),
                above,
                used: 96,
                capacity: 100,
            })
        };
        let end = |port| crate::netlink::pair::End {
            local: [10, 0, 0, 1].into(),
            local_port: 80,
            remote: [10, 0, 0, 9].into(),
            remote_port: port,
        };
        let splice = Event::Splice(Splice {
            ifindex: 3,
            id: 17,
            ends: vec![end(4000), end(5000)],
            reason: crate::netlink::SpliceReason::Reset,
            bytes: vec![10, 20],
            segments: vec![1, 2],
        });
        let text = |event: &Event| written(false, false, |output| show(output, event));
        assert_eq!(
            text(&watermark(true)),
            "if3: 96 of 100 flows are used, new ones stay with the host\n"
        );
        assert!(text(&watermark(false)).ends_with("go to the card again\n"));
        assert_eq!(
            text(&splice),
            "if3: pair 17 of 10.0.0.9:4000 and 10.0.0.9:5000: reset, 10 and 20 bytes\n"
        );
        let json = written(true, false, |output| show(output, &splice));
        assert!(
            json.starts_with(r#"{"event":"splice","ifindex":3,"id":17,"ends":[{"#),
            "{json}"
        );
        assert!(
            json.contains(r#""reason":"reset","bytes":[10,20],"segments":[1,2]}"#),
            "{json}"
        );
        let json = written(true, false, |output| show(output, &watermark(true)));
        assert!(
            json.starts_with(r#"{"event":"watermark","ifindex":3,"table":"flows","above":true"#)
        );
    }

    #[test]
    fn events_as_text_and_json() {
        let event = Event::Device(Box::new(card()));
        assert_eq!(
            written(false, false, |output| show(output, &event)),
            "nic0 (3): attached, offloads setup,teardown,splice\n"
        );
        let json = written(true, false, |output| show(output, &event));
        assert!(json.starts_with(r#"{"event":"device","ifindex":3,"ifname":"nic0","#));
        assert_eq!(json.lines().count(), 1);
        assert_eq!(
            written(true, false, |output| show(output, &Event::Lost)),
            "{\"event\":\"lost\"}\n"
        );
    }
}
