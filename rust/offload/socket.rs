// SPDX-License-Identifier: GPL-2.0

//! The ULP "acceltcp" and its socket options (`include/uapi/linux/acceltcp.h`).

use super::{
    accept,
    ack::AckPredictor,
    counters::Counter,
    device,
    forecast::Forecast,
    late,
    listen,
    netns::Netns,
    policy::Rule,
    splice,
    teardown, //
};
use crate::net::{
    listeners::Listeners,
    netfilter,
    skb::SkBuff,
    sock::Socket,
    ulp::{
        self,
        OptionValue,
        Shared,
        Ulp,
        UlpLocked, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Level of the socket options.
pub(crate) const SOL_ACCELTCP: c_int = 300;
/// What a socket asks for.
pub(crate) const ACCELTCP_OFFLOAD: c_int = 1;
/// What a socket has.
pub(crate) const ACCELTCP_STATUS: c_int = 2;

/// Joins two connections, and tells of that.
pub(crate) const ACCELTCP_SPLICE: c_int = 3;
/// Takes them back.
pub(crate) const ACCELTCP_UNSPLICE: c_int = 4;

/// Bits of [`ACCELTCP_OFFLOAD`].
pub(crate) mod flag {
    /// The card sets connections up.
    pub(crate) const SETUP: u32 = 1 << 0;
    /// The card ends connections.
    pub(crate) const TEARDOWN: u32 = 1 << 1;
    /// The client speaks first.
    pub(crate) const DEFER: u32 = 1 << 3;
    /// The server speaks first.
    pub(crate) const SERVER_FIRST: u32 = 1 << 4;
    /// No answer waits for the end of its connection.
    pub(crate) const NO_HOLD: u32 = 1 << 5;
    /// All bits that a socket may ask for.
    pub(crate) const ALL: u32 = SETUP | TEARDOWN | DEFER | SERVER_FIRST | NO_HOLD;
    /// The card relays connections; for [`Netns::offloads`](super::Netns::offloads) only.
    pub(crate) const SPLICE: u32 = 1 << 2;
    /// The kinds of offloads.
    pub(crate) const KINDS: u32 = SETUP | TEARDOWN | SPLICE;

    /// Whether a socket may ask for `flags`: nothing unknown, and nothing without what it belongs to.
    pub(crate) fn is_valid(flags: u32) -> bool {
        let has = |bit| flags & bit != 0;
        flags & !ALL == 0
            && (has(SETUP) || !has(DEFER | SERVER_FIRST))
            && (has(TEARDOWN) || !has(NO_HOLD))
            && !(has(DEFER) && has(SERVER_FIRST))
    }
}

/// Why connections are set up by the host.
pub(crate) mod reason {
    /// They are set up by the card.
    pub(crate) const NONE: u32 = 0;
    /// SETUP is not set.
    pub(crate) const NOT_ASKED: u32 = 1;
    /// The socket does not listen.
    pub(crate) const NOT_LISTENING: u32 = 2;
    /// No card, nor VLAN device on one, is up that it can be reached by.
    pub(crate) const NO_DEVICE: u32 = 3;
    /// A card has no room.
    pub(crate) const TABLE_FULL: u32 = 4;
    /// TCP-MD5 or TCP-AO.
    pub(crate) const AUTHENTICATED: u32 = 5;
    /// Multipath TCP.
    pub(crate) const MPTCP: u32 = 6;
    /// `net.ipv4.tcp_syncookies` is 0.
    pub(crate) const SYNCOOKIES: u32 = 7;
    /// Any address, on a host that forwards.
    pub(crate) const FORWARDING: u32 = 8;
    /// A card has not been told yet of the listener as it is now.
    pub(crate) const PENDING: u32 = 9;
    /// The socket has another ULP.
    pub(crate) const OTHER_ULP: u32 = 10;
    /// The sysctl `net.acceltcp.offloads` does not have it.
    pub(crate) const DISABLED: u32 = 11;
    /// The host had no memory.
    pub(crate) const NO_MEMORY: u32 = 12;
    /// The namespace has as many listeners with cards as `net.acceltcp.quota_listeners` allows.
    pub(crate) const QUOTA: u32 = 13;
    /// Another listener, which the host serves, gets the SYNs.
    pub(crate) const OTHER_LISTENER: u32 = 14;
}

/// What a socket asks for; its children share it until they ask for something else.
pub(crate) struct Options {
    asked: u32,
    /// The rule that asks for it; 0 when the application does.
    policy: u32,
    /// Most bytes of data with which connections are handed over.
    max_data: usize,
    forecast: Forecast,
    acks: AckPredictor,
    /// What the namespace of the sockets has set.
    netns: Arc<Netns>,
}

impl Options {
    /// What the application or a rule asks for: bits of [`flag`].
    pub(crate) fn asked(&self) -> u32 {
        self.asked
    }

    /// The same without offloads that are switched off.
    pub(crate) fn flags(&self) -> u32 {
        self.asked & (self.netns.offloads() | !flag::KINDS)
    }

    /// The rule that asks for it; 0 when the application does.
    pub(crate) fn policy(&self) -> u32 {
        self.policy
    }

    /// What the namespace of the sockets has set.
    pub(super) fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }

    /// Most bytes of data with which a connection is handed over.
    pub(super) fn max_data(&self) -> usize {
        self.max_data.min(self.netns.max_bytes())
    }

    /// When connections are expected to end.
    pub(super) fn forecast(&self) -> &Forecast {
        &self.forecast
    }

    /// Whether acknowledgements of requests may be delayed.
    pub(super) fn acks(&self) -> &AckPredictor {
        &self.acks
    }

    fn new(netns: Arc<Netns>, flags: u32) -> Result<Shared<Self>> {
        Self::make(netns, flags, 0, None)
    }

    /// What the rule of this number says for `sk`.
    pub(super) fn by_policy(sk: Socket<'_>, id: u32, rule: &Rule) -> Result<Shared<Self>> {
        Self::make(Netns::of(sk)?, rule.offloads, id, rule.max_data)
    }

    /// Whether the calling process may ask for something for `sk`.
    fn may_ask(&self, sk: Socket<'_>) -> Result {
        if self.netns.is_open_to_all() || sk.may_administer() {
            return Ok(());
        }
        self.netns.count(Counter::refused_unprivileged);
        Err(EPERM)
    }

    fn make(
        netns: Arc<Netns>,
        asked: u32,
        policy: u32,
        max_data: Option<u32>,
    ) -> Result<Shared<Self>> {
        let max_data = max_data.map_or(usize::MAX, |bytes| bytes as usize);
        Shared::new(Self {
            asked,
            policy,
            max_data,
            forecast: Forecast::new(),
            acks: AckPredictor::new(),
            netns,
        })
    }
}

static OPS: ulp::Ops<Options> = ulp::Ops::new();

impl Ulp for Options {
    const NAME: &'static CStr = c"acceltcp";
    const LEVEL: c_int = SOL_ACCELTCP;
    type Listener = listen::Listener;

    fn ops() -> &'static ulp::Ops<Self> {
        &OPS
    }

    fn listeners() -> &'static Listeners<Self::Listener> {
        listen::list()
    }

    fn init(sk: Socket<'_>) -> Result<Shared<Self>> {
        if sk.is_mptcp() {
            return Err(EOPNOTSUPP);
        }
        Self::new(Netns::of(sk)?, 0)
    }

    fn set_option(
        sk: Socket<'_>,
        data: &Shared<Self>,
        option: c_int,
        value: &OptionValue,
    ) -> Result<Option<Shared<Self>>> {
        match option {
            ACCELTCP_OFFLOAD => {}
            ACCELTCP_SPLICE if data.netns.offloads() & flag::SPLICE == 0 => return Err(EOPNOTSUPP),
            ACCELTCP_SPLICE => {
                data.may_ask(sk)?;
                // What is on its way to the host yet comes by the hook.
                netfilter::Registration::<accept::Hook>::ensure(sk)?;
                return splice::start(sk, &data.netns, value.read()?).map(|()| None);
            }
            ACCELTCP_UNSPLICE if value.read_u32()? == 0 => {
                return splice::take_back(sk).map(|()| None);
            }
            ACCELTCP_UNSPLICE => return Err(EINVAL),
            _ => return Err(ENOPROTOOPT),
        }
        let flags = value.read_u32()?;
        if !flag::is_valid(flags) {
            return Err(EINVAL);
        }
        if flags != 0 {
            data.may_ask(sk)?;
        }
        if flags & flag::SETUP != 0 && sk.listener_info().authenticated {
            return Err(EOPNOTSUPP);
        }
        if flags & (flag::SETUP | flag::TEARDOWN) != 0 {
            netfilter::Registration::<accept::Hook>::ensure(sk)?;
        }
        Self::new(data.netns.clone(), flags).map(Some)
    }

    fn get_option(
        sk: Socket<'_>,
        data: &Shared<Self>,
        option: c_int,
        to: &mut [u8; 64],
    ) -> Result<usize> {
        if option == ACCELTCP_SPLICE {
            return Ok(splice::info(sk, to));
        }
        let flags = data.asked();
        let (why, rules) = match option {
            ACCELTCP_STATUS => listen::status(sk, data)?,
            _ => (0, 0),
        };
        let words = [flags, why, rules, 0];
        let count = match option {
            ACCELTCP_OFFLOAD => 1,
            ACCELTCP_STATUS => words.len(),
            _ => return Err(ENOPROTOOPT),
        };
        for (to, word) in to.chunks_exact_mut(4).zip(words.iter().take(count)) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(count * 4)
    }

    fn claim(data: &Self) -> Option<Result<Shared<Self>>> {
        // As a socket begins that is given the ULP by its application.
        (data.policy() != 0).then(|| Self::new(data.netns.clone(), 0))
    }

    fn changed(sk: &UlpLocked<'_, Self>) {
        listen::update(sk);
    }

    fn closed() {
        listen::removed();
    }

    fn came_late(sk: Socket<'_>, frame: SkBuff) {
        Netns::count_in(sk.namespace(), Counter::teardown_backlog);
        late::give_back(frame, sk.namespace(), Some(sk));
    }

    fn parting(sk: Socket<'_>) {
        splice::parting(sk);
    }

    fn left(id: usize) {
        splice::left(id);
    }

    fn gave_way(sk: Socket<'_>) {
        Netns::count_in(sk.namespace(), Counter::fallback_other_ulp);
    }

    fn answers(data: &Self) -> bool {
        // Short transactions: one segment less for the host to send.
        data.flags() & (flag::TEARDOWN | flag::NO_HOLD) == flag::TEARDOWN && data.acks.may_delay()
    }

    fn has_device(sk: &UlpLocked<'_, Self>) -> bool {
        let device = sk.ingress().or_else(|| sk.egress()).and_then(device::find);
        device.is_some_and(|device| device.credits().max_data() != 0)
    }

    fn wait_ns(data: &Self) -> u32 {
        match data.flags() & (flag::TEARDOWN | flag::NO_HOLD) {
            flag::TEARDOWN => data.forecast.wait_ns(data.netns.hold_us()),
            _ => 0,
        }
    }

    fn held(data: &Self) {
        data.forecast.held();
        data.netns.count(Counter::teardown_held);
    }

    fn may_close(sk: Socket<'_>, data: &Self) -> bool {
        data.flags() & flag::TEARDOWN != 0 && teardown::may_hand_over(sk, data)
    }

    fn closing(sk: &UlpLocked<'_, Self>) -> bool {
        teardown::hand_over(sk)
    }
}
