// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest between a client and a server of the wire side, all of which do what a test says.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::super::peer::Peer;
use crate::session::Session;

/// What all of them run.
pub(super) const SCRIPT: &str = concat!(
    include_str!("../teardown/ends.py"),
    include_str!("splice.py"),
    include_str!("../ulp/ulp.py"),
    include_str!("../bpf.py"),
    include_str!("../stall.py"),
    include_str!("../commands.py")
);

/// Port of the guest's listener.
pub(in super::super) const PORT: u16 = 7000;
/// Port of the server.
pub(in super::super) const SERVER: u16 = 9000;

/// Addresses of the guest and of the server.
pub(in super::super) const V4: [&str; 2] = ["10.99.0.2", "10.99.0.1"];
pub(in super::super) const V6: [&str; 2] = ["fd99:0::2", "fd99:0::1"];

/// The client's socket is "c", the guest's are "a" to it and "b" to the server, whose own is "s".
pub(in super::super) struct Middle<'a> {
    pub(in super::super) session: &'a Session,
    pub(in super::super) client: Peer,
    pub(in super::super) guest: Peer,
    pub(in super::super) server: Peer,
}

impl<'a> Middle<'a> {
    /// With listeners; that of the guest has the ULP, and asks for these offloads.
    pub(in super::super) fn new(session: &'a Session, flags: u32) -> Result<Self> {
        Self::with(session, Peer::guest_script(session, SCRIPT)?, flags)
    }

    /// In a network namespace of the guest's.
    pub(in super::super) fn in_netns(session: &'a Session, name: &str, flags: u32) -> Result<Self> {
        Self::with(session, Peer::netns_script(session, name, SCRIPT)?, flags)
    }

    /// With a script that runs already in the guest.
    pub(super) fn with(session: &'a Session, guest: Peer, flags: u32) -> Result<Self> {
        let mut middle = Self {
            session,
            client: Peer::wire_script(session, SCRIPT)?,
            guest,
            server: Peer::wire_script(session, SCRIPT)?,
        };
        middle.host(&json!({"do": "listen", "name": "l", "port": PORT, "flags": flags}))?;
        let server = json!({"do": "listen", "name": "l", "port": SERVER, "flags": null});
        middle.server(&server)?;
        Ok(middle)
    }

    /// A step of the guest.
    pub(in super::super) fn host(&mut self, step: &Value) -> Result<Value> {
        self.guest.ask(step).context("in the guest")
    }

    /// A step of the client.
    pub(in super::super) fn client(&mut self, step: &Value) -> Result<Value> {
        self.client.ask(step).context("at the client")
    }

    /// A step of the server.
    pub(in super::super) fn server(&mut self, step: &Value) -> Result<Value> {
        self.server.ask(step).context("at the server")
    }

    /// A step of the guest that must fail so.
    pub(in super::super) fn refused(&mut self, step: &Value, error: &str) -> Result<()> {
        let found = self.guest.refused(step)?;
        // Python's name of the same number.
        let found = if found == "ENOTSUP" {
            "EOPNOTSUPP"
        } else {
            &found
        };
        ensure!(found == error, "{step}: {found} instead of {error}");
        Ok(())
    }

    /// Connects the client to the guest.
    pub(in super::super) fn open_client(&mut self, [guest, _]: [&str; 2]) -> Result<()> {
        self.client(&json!({"do": "connect", "name": "c", "host": guest, "port": PORT}))?;
        // A listener that is served by the card may wait for data, but not this one.
        self.host(&json!({"do": "accept", "name": "a", "listener": "l"}))?;
        Ok(())
    }

    /// Connects the guest to the server.
    pub(in super::super) fn open_server(&mut self, [_, server]: [&str; 2]) -> Result<()> {
        let connect = json!({
            "do": "connect", "name": "b", "host": server, "port": SERVER, "flags": 0,
        });
        self.host(&connect)?;
        self.server(&json!({"do": "accept", "name": "s", "listener": "l"}))?;
        Ok(())
    }

    /// Opens both connections.
    pub(in super::super) fn open(&mut self, hosts: [&str; 2]) -> Result<()> {
        self.open_client(hosts)?;
        self.open_server(hosts)
    }

    /// Opens both connections, and splices them.
    pub(in super::super) fn open_spliced(&mut self, hosts: [&str; 2]) -> Result<()> {
        self.open(hosts)?;
        self.splice()
    }

    /// Splices both connections.
    pub(in super::super) fn splice(&mut self) -> Result<()> {
        self.host(&json!({"do": "splice", "name": "a", "other": "b"}))?;
        self.active()
    }

    /// Both connections are spliced.
    pub(in super::super) fn active(&mut self) -> Result<()> {
        for name in ["a", "b"] {
            let info = self.info(name)?;
            ensure!(info["state"] == "active" && info["reason"] == "", "{info}");
        }
        Ok(())
    }

    /// What the kernel says of a connection of the guest's.
    pub(in super::super) fn info(&mut self, name: &str) -> Result<Value> {
        self.host(&json!({"do": "info", "name": name}))
    }

    /// From the client to the server.
    pub(in super::super) fn up(&mut self, size: u64) -> Result<()> {
        self.client
            .start(&json!({"do": "stream", "name": "c", "size": size}))?;
        self.server(&json!({"do": "receive", "name": "s", "size": size}))?;
        self.client.answer().map(drop)
    }

    /// From the server to the client.
    pub(in super::super) fn down(&mut self, size: u64) -> Result<()> {
        self.server
            .start(&json!({"do": "stream", "name": "s", "size": size}))?;
        self.client(&json!({"do": "receive", "name": "c", "size": size}))?;
        self.server.answer().map(drop)
    }

    /// The client, or the server, sees this end, and has received so much in all.
    pub(in super::super) fn sees(&mut self, client: bool, kind: &str, bytes: u64) -> Result<()> {
        let found = match client {
            true => self.client(&json!({"do": "end", "name": "c"}))?,
            false => self.server(&json!({"do": "end", "name": "s"}))?,
        };
        let who = if client { "client" } else { "server" };
        ensure!(
            found == json!({"kind": kind, "bytes": bytes}),
            "{who}: {found}"
        );
        Ok(())
    }

    /// Both connections of the guest end, for this reason; what `recv()` says of both.
    pub(in super::super) fn over(&mut self, reason: &str) -> Result<[String; 2]> {
        let mut kinds = [String::new(), String::new()];
        for (name, kind) in ["a", "b"].into_iter().zip(&mut kinds) {
            let found = self.host(&json!({"do": "over", "name": name}))?;
            ensure!(
                found["POLLIN"] == true && found["POLLHUP"] == true,
                "{name}: {found}"
            );
            *kind = found["kind"].as_str().unwrap_or_default().to_owned();
            let is_error = kind != "end";
            ensure!(found["POLLERR"] == is_error, "{name}: {found}");
            let info = self.info(name)?;
            ensure!(
                info["state"] == "ended" && info["reason"] == reason,
                "{name}: {info}"
            );
        }
        Ok(kinds)
    }

    /// Closes what is open of these.
    pub(in super::super) fn close(&mut self, client: bool, server: bool) -> Result<()> {
        let close = |name: &str| json!({"do": "close", "name": name});
        if client {
            self.client(&close("c"))?;
        }
        if server {
            self.server(&close("s"))?;
        }
        self.host(&close("a"))?;
        self.host(&close("b"))?;
        Ok(())
    }
}
