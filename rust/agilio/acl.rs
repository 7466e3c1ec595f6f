// SPDX-License-Identifier: GPL-2.0

//! The access list on the card.
//!
//! The card has it, or does not receive: it is installed before the rings are switched on, and whenever it is not known
//! any more what the card has, the datapath is restarted.

use super::{
    commands::Sender,
    datapath::Control,
    vnic::Vnic, //
};
use crate::{
    net::{
        device::Device,
        flower::Flower, //
    },
    offload::acl::{
        Counts,
        List,
        OnCard,
        Order,
        Origin,
        What, //
    }, //
};
use acceltcp_abi::{
    acl::{
        AclCounts,
        AclName,
        AclReply,
        AclRule, //
    },
    cmd::Request, //
};
use kernel::prelude::*;

impl OnCard for Sender<'_, '_, '_> {
    fn add(&mut self, rule: &AclRule) -> Result {
        self.send::<AclReply>(&Request::AclAdd(*rule)).map(drop)
    }

    fn remove(&mut self, handle: u32) -> Result {
        let name = AclName {
            handle: handle.into(),
        };
        match self.send::<AclReply>(&Request::AclRemove(name)) {
            // It was reset meanwhile.
            Err(err) if err == ENOENT => Ok(()),
            reply => reply.map(drop),
        }
    }

    fn flush(&mut self) -> Result {
        self.send::<AclReply>(&Request::AclFlush).map(drop)
    }

    fn read(&mut self, handle: u32) -> Result<Counts> {
        let name = AclName {
            handle: handle.into(),
        };
        let reply: AclCounts = self.send(&Request::AclRead(name))?;
        Ok(reply.into())
    }
}

/// Whether the card has not done what it was asked for. After any other error it may have, or not.
fn is_refusal(err: Error) -> bool {
    [ENOSPC, EINVAL, EOPNOTSUPP, EEXIST].contains(&err)
}

impl Vnic<'_> {
    /// Gives the card the access list, before it receives anything. Without success it must not receive.
    pub(super) fn install_acl(&self, control: &mut Control) -> Result {
        if !self.caps.filters() {
            return Ok(());
        }
        let list = &mut control.acl;
        let installed = self.with_commands(|sender| list.install(sender));
        installed.inspect_err(|err| {
            dev_err!(
                self.device(),
                "card does not take its access list of {} rules ({:?}), it stays down\n",
                list.len(),
                err
            );
        })
    }

    /// Changes the access list by `f`, or reads it. `EOPNOTSUPP` when the card has none.
    pub(super) fn with_acl<R>(
        &self,
        f: impl FnOnce(&mut List, &mut dyn OnCard) -> Result<R>,
    ) -> Result<R> {
        if !self.caps.filters() {
            return Err(EOPNOTSUPP);
        }
        let mut control = self.control.lock();
        let list = &mut control.acl;
        self.with_commands(|sender| {
            let mut watched = Watched {
                sender,
                lost: false,
            };
            let result = f(list, &mut watched);
            if watched.lost && self.health.distrust() {
                dev_warn!(
                    self.device(),
                    "card and access list may differ, restarting\n"
                );
                self.service.run_service_in(0);
            }
            result
        })
    }
}

impl Vnic<'_> {
    /// Carries out what tc wants (RTNL).
    pub(super) fn classify(&self, flower: Flower<'_>) -> Result {
        self.with_acl(|list, card| match flower {
            Flower::Add {
                cookie,
                rule,
                priority,
            } => list
                .add(&rule, priority, Origin::Tc(cookie), card)
                .map(drop),
            Flower::Remove { cookie } => list.remove_tc(cookie, card),
            Flower::Stats {
                cookie,
                frames,
                bytes,
            } => {
                let news = list.news(cookie, card)?;
                (*frames, *bytes) = (news.frames, news.bytes);
                Ok(())
            }
        })
    }
}

/// Notices commands of which it is not known whether the card has carried them out.
struct Watched<'s, 'c, 'r, 'a> {
    sender: &'s mut Sender<'c, 'r, 'a>,
    lost: bool,
}

impl Watched<'_, '_, '_, '_> {
    fn changes(&mut self, result: Result) -> Result {
        self.lost |= result.is_err_and(|err| !is_refusal(err));
        result
    }
}

impl OnCard for Watched<'_, '_, '_, '_> {
    fn add(&mut self, rule: &AclRule) -> Result {
        let result = self.sender.add(rule);
        self.changes(result)
    }

    fn remove(&mut self, handle: u32) -> Result {
        let result = self.sender.remove(handle);
        // What it would not remove is not wanted any more, whatever it says.
        self.lost |= result.is_err();
        result
    }

    fn flush(&mut self) -> Result {
        let result = self.sender.flush();
        self.changes(result)
    }

    fn read(&mut self, handle: u32) -> Result<Counts> {
        self.sender.read(handle)
    }
}

/// Carries out what an operator wants, if it is for this card (RTNL).
pub(super) fn order(dev: &Device<Vnic<'_>>, order: &mut Order) -> Result {
    let ifindex = dev.ifindex();
    if dev.net() != order.net || order.ifindex.is_some_and(|wanted| wanted != ifindex) {
        return Ok(());
    }
    order.found = Some(ifindex);
    let vnic = dev.private();
    if !vnic.caps.filters() && matches!(order.what, What::Tell { .. }) {
        return Ok(());
    }
    vnic.with_acl(|list, card| match &mut order.what {
        What::Add { rule, priority } => {
            let handle = list.add(rule, *priority, Origin::Operator, card)?;
            rule.handle = handle.into();
            Ok(())
        }
        What::Remove(handle) => list.remove(*handle, card),
        What::Flush => list.flush(card),
        What::Tell {
            handle,
            skip,
            most,
            told,
            total,
        } => {
            *total = list.len();
            list.tell(*handle, (*skip, *most), told, card)
        }
    })
}
