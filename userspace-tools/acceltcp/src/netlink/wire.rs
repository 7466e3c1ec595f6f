// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The socket, and what stands for it in tests.

use std::io;

use nix::sys::socket::{
    setsockopt,
    sockopt::{SndBuf, SndBufForce},
};

use netlink_sys::{protocols::NETLINK_GENERIC, Socket, SocketAddr};

/// Room for a datagram; the kernel makes them of at most 32 KiB.
const DATAGRAM: usize = 64 * 1024;

/// What the kernel takes of a socket's room for itself (`netlink_sendmsg()`), and some more.
const SLACK: usize = 128;

/// What takes requests and gives answers, a datagram each.
pub trait Wire {
    /// Sends a request.
    fn send(&mut self, request: &[u8]) -> io::Result<()>;
    /// Waits for a datagram, which takes the place of what is in `datagram`.
    fn receive(&mut self, datagram: &mut Vec<u8>) -> io::Result<()>;
    /// Joins a multicast group.
    fn join(&mut self, group: u32) -> io::Result<()>;
}

/// The kernel.
pub struct Kernel {
    socket: Socket,
}

impl Kernel {
    /// Opens a socket of the caller's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Errors with words, and without a copy of the request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket })
    }
}

impl Wire for Kernel {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match self.socket.send(request, 0) {
            // A large set of rules does not fit what a socket may send at first.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                let room = request.len() + SLACK;
                if setsockopt(&self.socket, SndBufForce, &room).is_err() {
                    setsockopt(&self.socket, SndBuf, &room)?;
                }
                self.socket.send(request, 0).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    fn receive(&mut self, datagram: &mut Vec<u8>) -> io::Result<()> {
        loop {
            datagram.clear();
            datagram.reserve(DATAGRAM);
            match self.socket.recv(datagram, libc::MSG_TRUNC) {
                Ok(length) if length > datagram.len() => {
                    let error = format!("a datagram of {length} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
    use netlink_packet_generic::{
        ctrl::{nlas::GenlCtrlAttrs, GenlCtrl, GenlCtrlCmd},
        GenlMessage,
    };

    use super::*;
    use crate::netlink::{
        family::Family,
        packet::{self, Answer},
        Error,
    };

    /// What the running kernel answers to a question for families.
    fn answers(nlas: Vec<GenlCtrlAttrs>, flags: u16) -> Result<Vec<Family>, Error> {
        let cmd = GenlCtrlCmd::GetFamily;
        let question = GenlMessage::from_payload(GenlCtrl { cmd, nlas });
        let mut kernel = Kernel::open()?;
        kernel.send(&packet::encode(question, NLM_F_REQUEST | flags, 1))?;
        let mut datagram = Vec::new();
        let mut families = Vec::new();
        loop {
            kernel.receive(&mut datagram)?;
            for received in packet::received(&datagram) {
                match received?.answer {
                    Answer::Packet(packet) => families.push(Family::parse(&packet.attributes)?),
                    Answer::End => return Ok(families),
                    Answer::Refused(error) => return Err(error),
                    Answer::Nothing => {}
                }
            }
        }
    }

    #[test]
    fn the_running_kernel_knows_its_controller() {
        let name = || vec![GenlCtrlAttrs::FamilyName("nlctrl".into())];
        let one = answers(name(), NLM_F_ACK).unwrap();
        assert_eq!(one[0].id, 16);
        assert!(one[0].group("notify").is_ok());
        let all = answers(Vec::new(), NLM_F_DUMP).unwrap();
        assert!(all.contains(&one[0]));
    }

    #[test]
    fn the_running_kernel_refuses_what_it_does_not_know() {
        let name = vec![GenlCtrlAttrs::FamilyName("no-such-family".into())];
        let error = answers(name, NLM_F_ACK).unwrap_err();
        let Error::Refused { errno, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(errno, nix::errno::Errno::ENOENT);
    }
}
