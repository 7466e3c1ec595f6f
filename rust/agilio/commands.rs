// SPDX-License-Identifier: GPL-2.0

//! Commands of the offloads, which ride the mailbox (`acceltcp_abi::cmd`).

use super::{
    reconfig::Session,
    vnic::Vnic, //
};
use crate::{
    net::{
        device::{
            Handle,
            NewDevice, //
        },
        sock::{
            self,
            NetId, //
        },
        work::DelayedWork, //
    },
    offload::device::{
        Commands,
        OffloadDevice, //
    },
};
use acceltcp_abi::{
    cmd::{
        self,
        Attach,
        Clock,
        Header,
        Key,
        ListenRemove,
        ListenReply,
        ReplyError,
        Request, //
    },
    mbox,
    setup::ListenRule, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// Bytes of the IPv4 and IPv6 headers with that of TCP.
const HEADERS_V4: u32 = 40;
/// See [`HEADERS_V4`].
const HEADERS_V6: u32 = 60;
/// A key makes cookies for so long, and is good for as long again: longer than any cookie lives.
const KEY_PERIOD: Delta = Delta::from_secs(300);
/// The card's clock may drift from the host's for so long.
const CLOCK_PERIOD: Delta = Delta::from_secs(60);
/// Most bytes of a reply that this driver reads.
const REPLY_MAX: usize = 64;

/// The card as the offloads see it.
pub(crate) struct Card<'a> {
    dev: Handle,
    service: Arc<DelayedWork<Vnic<'a>>>,
}

impl<'a> Card<'a> {
    /// The card behind `dev`.
    pub(super) fn new(dev: &NewDevice<'_>, service: Arc<DelayedWork<Vnic<'a>>>) -> Self {
        Self {
            dev: dev.handle(),
            service,
        }
    }
}

impl OffloadDevice for Card<'_> {
    fn net(&self) -> NetId {
        self.dev.net()
    }

    fn ifindex(&self) -> i32 {
        self.dev.ifindex()
    }

    fn mss(&self) -> (u16, u16) {
        let mtu = self.dev.mtu();
        let mss = |headers| mtu.saturating_sub(headers).min(u16::MAX.into()) as u16;
        (mss(HEADERS_V4), mss(HEADERS_V6))
    }

    fn wake(&self) {
        self.service.run_in(0);
    }
}

/// A card that takes commands, and when it was last given what it needs again and again.
pub(super) struct Attached {
    key: Instant<Monotonic>,
    clock: Instant<Monotonic>,
}

impl Attached {
    fn new() -> Self {
        Self {
            key: Instant::now(),
            clock: Instant::now(),
        }
    }

    /// Whether a new key and the time are due; they count as given then.
    fn due(&mut self) -> (bool, bool) {
        let elapsed = |last: &mut Instant<Monotonic>, period| {
            let due = last.elapsed() >= period;
            if due {
                *last = Instant::now();
            }
            due
        };
        (
            elapsed(&mut self.key, KEY_PERIOD),
            elapsed(&mut self.clock, CLOCK_PERIOD),
        )
    }
}

/// Sends commands within a session of the configuration channel.
struct Sender<'s, 'r, 'a> {
    session: &'s mut Session<'r, 'a>,
    place: usize,
}

impl Sender<'_, '_, '_> {
    /// Sends a command; its reply, when it is a `T`, is returned.
    fn send<T: zerocopy::FromBytes>(&mut self, request: &Request) -> Result<T> {
        let mut message = [0; Request::MAX.next_multiple_of(4)];
        let mut exact = [0; Request::MAX];
        let len = request.emit(0, &mut exact);
        for (to, from) in message.iter_mut().zip(exact.iter().take(len)) {
            *to = *from;
        }
        self.session
            .mailbox(self.place, mbox::CMD_ACCELTCP_BASE, |regs, value| {
                for (index, word) in message.chunks_exact(4).enumerate() {
                    let mut raw = [0; 4];
                    raw.copy_from_slice(word);
                    regs.write32(value + index * 4, u32::from_le_bytes(raw));
                }
            })?;
        let mut reply = [0; REPLY_MAX];
        let wanted = (Header::SIZE + core::mem::size_of::<T>()).min(REPLY_MAX);
        for (index, word) in reply.chunks_exact_mut(4).enumerate() {
            if index * 4 < wanted {
                let value = self
                    .session
                    .regs()
                    .read32(self.place + mbox::VAL + index * 4);
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        cmd::parse_reply_as(&reply, request.kind(), 0).map_err(|err| match err {
            ReplyError::Refused(errno) if errno != 0 => Error::from_errno(-i32::from(errno)),
            _ => EPROTO,
        })
    }
}

impl Commands for Sender<'_, '_, '_> {
    fn add(&mut self, rule: &ListenRule) -> Result<u32> {
        let reply: ListenReply = self.send(&Request::ListenAdd(*rule))?;
        Ok(reply.handle.get())
    }

    fn remove(&mut self, handle: u32) -> Result {
        let request = Request::ListenRemove(ListenRemove {
            handle: handle.into(),
        });
        self.send::<ListenReply>(&request).map(|_| ())
    }
}

impl<'a> Vnic<'a> {
    /// Runs `f`, which sends commands.
    fn with_commands<R>(&self, f: impl FnOnce(&mut Sender<'_, '_, 'a>) -> Result<R>) -> Result<R> {
        let place = self.caps.mbox.ok_or(EOPNOTSUPP)?;
        self.reconfig
            .with(|session| f(&mut Sender { session, place }))
    }

    /// Tells a card that has come up what this driver understands, and gives it a key and the time. Without
    /// success it stays a plain NIC.
    pub(super) fn attach(&self, control: &mut super::datapath::Control<'a>) {
        if !self.caps.sets_up() {
            return;
        }
        let attached = self.with_commands(|sender| {
            sender.send::<()>(&Request::Attach(Attach {
                flags: cmd::attach::HANDSHAKE_META.into(),
                ..Attach::default()
            }))?;
            sender.send::<()>(&Request::KeySet(Key {
                key: sock::random(),
            }))?;
            set_clock(sender)
        });
        match attached {
            Ok(()) => control.attached = Some(Attached::new()),
            Err(err) => dev_err!(self.device(), "card refuses the offloads ({:?})\n", err),
        }
    }

    /// Gives the card the rules that listeners want, and now and then a new key and the time.
    pub(super) fn sync_offload(&self) {
        let mut control = self.control.lock();
        let Some(attached) = &mut control.attached else {
            return;
        };
        let (rotate, set) = attached.due();
        let synced = self.with_commands(|sender| {
            control.rules.sync(&self.card, sender)?;
            if rotate {
                sender.send::<()>(&Request::KeyRotate(Key {
                    key: sock::random(),
                }))?;
            }
            if set {
                set_clock(sender)?;
            }
            Ok(())
        });
        if let Err(err) = synced {
            dev_warn!(
                self.device(),
                "card and listeners: {:?}, trying again\n",
                err
            );
        }
    }
}

fn set_clock(sender: &mut Sender<'_, '_, '_>) -> Result {
    let request = Request::ClockSet(Clock {
        host_ms: sock::clock_ms().into(),
        ..Clock::default()
    });
    sender.send::<cmd::ClockReply>(&request).map(|_| ())
}
