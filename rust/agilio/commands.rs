// SPDX-License-Identifier: GPL-2.0

//! Commands of the offloads, which ride the mailbox (`acceltcp_abi::cmd`).

use super::{
    datapath::Control,
    reconfig::Session,
    vnic::Vnic, //
};
use crate::{
    net::{
        device::{
            DeviceId,
            NewDevice, //
        },
        genl::Event,
        skb::SkBuff,
        sock,
        weak::{
            Location,
            Port,
            WeakDevice, //
        },
        work::Worker, //
    },
    offload::{
        acl::Order,
        counters::{
            count_many,
            Counter, //
        },
        credits::Credits,
        device::{
            changed,
            Commands,
            Marks,
            OffloadDevice,
            Report, //
        },
        flows::Listing,
        keys::Rotation,
        owners::Share,
        rules::Published,
        splice::pairs::Pairs, //
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
        ListenReplace,
        ListenReply,
        ReplyError,
        Request,
        SpliceReply,
        TeardownReply, //
    },
    mbox,
    meta::TxMeta,
    setup::ListenRule,
    splice::Splice,
    teardown::HandOver, //
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

/// The card's clock may drift from the host's for so long.
const CLOCK_PERIOD: Delta = Delta::from_secs(60);
/// Most bytes of a reply whose length is fixed.
const REPLY_MAX: usize = 64;

/// The card as the offloads see it.
#[pin_data]
pub(crate) struct Card {
    dev: Arc<WeakDevice>,
    id: DeviceId,
    credits: Arc<Credits>,
    pairs: Arc<Worker<Pairs>>,
    marks: Marks,
    #[pin]
    published: Published,
}

impl Card {
    /// The card behind `dev`.
    pub(super) fn new(dev: &NewDevice<'_>) -> Result<Arc<Self>> {
        let credits = Arc::new(Credits::new(), GFP_KERNEL)?;
        let pairs = Pairs::new()?;
        Arc::pin_init(
            pin_init!(Self {
                id: dev.id(),
                dev: dev.weak().clone(),
                credits,
                pairs,
                marks: Marks::new(),
                published <- Published::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Its credits and pairs, for those who hear of them.
    pub(super) fn accounts(&self) -> (&Arc<Credits>, &Arc<Worker<Pairs>>) {
        (&self.credits, &self.pairs)
    }

    /// Sends a frame behind `meta`, if `commit` says so.
    fn send(&self, frame: SkBuff, meta: &TxMeta, commit: &mut dyn FnMut() -> Result) -> Result {
        let mut metadata = [0; TxMeta::MAX_WITH_TYPES];
        let size = meta.emit_with_types(&mut metadata);
        let metadata = metadata.get(..size).ok_or(EINVAL)?;
        self.dev.send(frame, metadata, commit)
    }
}

impl OffloadDevice for Card {
    fn ports(&self) -> Result<KVec<Port>> {
        self.dev.ports()
    }

    fn wake(&self) {
        self.dev.run_service_in(0);
    }

    fn published(&self) -> &Published {
        &self.published
    }

    fn id(&self) -> DeviceId {
        self.id
    }

    fn credits(&self) -> &Credits {
        &self.credits
    }

    fn hand_over(
        &self,
        template: SkBuff,
        message: &HandOver,
        len: usize,
        share: Option<Share>,
    ) -> Result {
        self.send(template, &TxMeta::HandOver(*message), &mut || {
            self.credits.take_of(share, len)
        })
    }

    fn pairs(&self) -> &Worker<Pairs> {
        &self.pairs
    }

    fn splice(&self, templates: SkBuff, message: &Splice, data: [usize; 2]) -> Result {
        self.send(templates, &TxMeta::Splice(*message), &mut || {
            // Whoever lost the pairs before the ring came up again has not waited for this one.
            if !self
                .pairs
                .expects(message.pair.get(), message.generation.get())
            {
                return Err(ENETDOWN);
            }
            let taken = self.credits.take_buffers(data);
            taken.then_some(()).ok_or(ENOSPC)
        })
    }

    fn report(&self) -> Result<Report> {
        let mut report = Report::default();
        self.dev.inquire(&mut report)?;
        self.marks.raise(&mut report);
        Ok(report)
    }

    fn location(&self) -> Option<Location> {
        self.dev.location()
    }

    fn list(&self, mut listing: Listing) -> Result<Listing> {
        self.dev.inquire(&mut listing)?;
        Ok(listing)
    }

    fn tell(&self, event: Event) -> Result {
        self.dev.inquire(&mut Some(event))
    }

    fn acl(&self, order: &mut Order) -> Result {
        self.dev.inquire(order)
    }

    fn counters(&self) -> Result<KVVec<u64>> {
        let mut counters: KVVec<u64> = KVVec::new();
        self.dev.inquire(&mut counters)?;
        Ok(counters)
    }

    fn splice_command(&self, message: &Splice) -> Result {
        let frame = SkBuff::empty_frame(TxMeta::MAX_WITH_TYPES)?;
        self.send(frame, &TxMeta::Splice(*message), &mut || Ok(()))
    }
}

/// A card that takes commands, and when it was last given what it needs again and again.
pub(super) struct Attached {
    keys: Rotation,
    clock: Instant<Monotonic>,
}

impl Attached {
    fn new() -> Self {
        Self {
            keys: Rotation::new(),
            clock: Instant::now(),
        }
    }
}

/// Sends commands within a session of the configuration channel.
pub(super) struct Sender<'s, 'r, 'a> {
    session: &'s mut Session<'r, 'a>,
    place: usize,
}

impl Sender<'_, '_, '_> {
    /// Sends a command; its reply, when it is a `T`, is returned.
    pub(super) fn send<T: zerocopy::FromBytes>(&mut self, request: &Request) -> Result<T> {
        let mut reply = [0; REPLY_MAX];
        let wanted = (Header::SIZE + core::mem::size_of::<T>()).min(REPLY_MAX);
        self.exchange(request, reply.get_mut(..wanted).ok_or(EINVAL)?)?;
        cmd::parse_reply_as(&reply, request.kind(), 0).map_err(refusal)
    }

    /// Sends a command, and reads so many bytes of its reply as there is room for.
    pub(super) fn exchange(&mut self, request: &Request, reply: &mut [u8]) -> Result {
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
        for (index, bytes) in reply.chunks_mut(4).enumerate() {
            let place = self.place + mbox::VAL + index * 4;
            let word = self.session.regs().read32(place).to_le_bytes();
            for (to, from) in bytes.iter_mut().zip(word) {
                *to = from;
            }
        }
        Ok(())
    }
}

/// What a reply that is no answer means.
pub(super) fn refusal(err: ReplyError) -> Error {
    match err {
        ReplyError::Refused(errno) if errno != 0 => Error::from_errno(-i32::from(errno)),
        _ => EPROTO,
    }
}

impl Commands for Sender<'_, '_, '_> {
    fn add(&mut self, rule: &ListenRule) -> Result<u32> {
        let reply: ListenReply = self.send(&Request::ListenAdd(*rule))?;
        Ok(reply.handle.get())
    }

    fn replace(&mut self, handle: u32, rule: &ListenRule) -> Result {
        let request = Request::ListenReplace(ListenReplace {
            handle: handle.into(),
            rule: *rule,
        });
        self.send::<ListenReply>(&request).map(|_| ())
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
    pub(super) fn with_commands<R>(
        &self,
        f: impl FnOnce(&mut Sender<'_, '_, 'a>) -> Result<R>,
    ) -> Result<R> {
        let place = self.caps.mbox.ok_or(EOPNOTSUPP)?;
        self.reconfig
            .with(|session| f(&mut Sender { session, place }))
    }

    /// Tells a card that has come up what this driver understands, and gives it a key and the time. Without
    /// success it stays a plain NIC.
    pub(super) fn attach(&self, control: &mut Control) {
        if !self.caps.sets_up() {
            return;
        }
        let mut understood = cmd::attach::HANDSHAKE_META;
        if self.caps.tears_down() {
            understood |= cmd::attach::CREDITS_META;
        }
        if self.caps.splices() {
            understood |= cmd::attach::SPLICE_META;
        }
        if self.caps.tells_owners() {
            understood |= cmd::attach::OWNERS_META;
        }
        let attached = self.with_commands(|sender| {
            sender.send::<()>(&Request::Attach(Attach {
                flags: understood.into(),
                ..Attach::default()
            }))?;
            sender.send::<()>(&Request::KeySet(Key {
                key: sock::random(),
            }))?;
            set_clock(sender)?;
            if self.caps.tears_down() {
                let reply: TeardownReply = sender.send(&Request::TeardownRead)?;
                let owners = self.card.credits.owners();
                owners.start(self.caps.tells_owners());
                self.card.credits.start(&reply);
            }
            if self.caps.splices() {
                let reply: SpliceReply = sender.send(&Request::SpliceRead)?;
                self.card.pairs.start(&reply);
            }
            Ok(())
        });
        match attached {
            Ok(()) => {
                control.attached = Some(Attached::new());
                changed();
            }
            Err(err) => dev_err!(self.device(), "card refuses the offloads ({:?})\n", err),
        }
    }

    /// Gives the card the rules that listeners want, and now and then a new key and the time.
    pub(super) fn sync_offload(&self) {
        let mut control = self.control.lock();
        let Control {
            attached, rules, ..
        } = &mut *control;
        let Some(attached) = attached else {
            return;
        };
        let synced = self.with_commands(|sender| {
            rules.sync(&*self.card, sender)?;
            attached.keys.run(|| {
                sender.send::<()>(&Request::KeyRotate(Key {
                    key: sock::random(),
                }))
            })?;
            if attached.clock.elapsed() >= CLOCK_PERIOD {
                set_clock(sender)?;
                attached.clock = Instant::now();
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

    /// What the card has of connections that it ends, as far as it answers.
    pub(super) fn read_teardown(&self, control: &Control) -> Option<TeardownReply> {
        if control.attached.is_none() || !self.caps.tears_down() {
            return None;
        }
        self.with_commands(|sender| sender.send(&Request::TeardownRead))
            .ok()
    }

    /// The card has forgotten the connections that it was ending or relaying; `told` is what it has said before. Nobody hands over
    /// any more, and notices of credits do not come either.
    pub(super) fn end_teardown(&self, told: Option<&TeardownReply>) {
        let credits = &self.card.credits;
        if let Some(told) = told {
            // Not all that has ended was told of.
            credits.returned(told.flows_done.get(), told.buffers_done.get());
        }
        let pairs = self.card.pairs.stop();
        if pairs != 0 {
            dev_warn!(
                self.device(),
                "{} pairs of connections that the card was relaying are lost\n",
                pairs
            );
        }
        let lost = credits.stop();
        if lost != 0 {
            count_many(Counter::teardown_lost, lost.into());
            dev_warn!(
                self.device(),
                "{} connections that the card was ending are lost\n",
                lost
            );
        }
    }

    /// It is not known any more what the card has.
    pub(super) fn withdraw_offload(&self) {
        self.control.lock().rules.withdraw(&*self.card);
    }
}

fn set_clock(sender: &mut Sender<'_, '_, '_>) -> Result {
    let request = Request::ClockSet(Clock {
        host_ms: sock::clock_ms().into(),
        ..Clock::default()
    });
    sender.send::<cmd::ClockReply>(&request).map(|_| ())
}
