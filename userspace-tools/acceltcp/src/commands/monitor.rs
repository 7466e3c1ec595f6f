// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `acceltcp monitor`.

use anyhow::Result;
use serde::Serialize;

use crate::{
    netlink::{
        device::{self, Device},
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
    /// Events came too fast, and some are lost.
    Lost,
}

/// Prints events until it is stopped.
pub fn run(output: &mut Output<'_>) -> Result<()> {
    let mut connection = Connection::open()?;
    follow(&mut connection, output)
}

fn follow<W: Wire>(connection: &mut Connection<W>, output: &mut Output<'_>) -> Result<()> {
    connection.join(uapi::GROUP_DEVICES)?;
    loop {
        match connection.notifications()? {
            Some(packets) => {
                for packet in &packets {
                    if let Some(device) = device::notified(packet)? {
                        show(output, &Event::Device(Box::new(device)))?;
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
    }
    output.flush()
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
