// SPDX-License-Identifier: GPL-2.0

//! The ULP "acceltcp" and its socket options (`include/uapi/linux/acceltcp.h`).

use super::{
    accept,
    counters::{
        count,
        Counter, //
    },
    forecast::Forecast,
    late,
    listen,
    splice,
    teardown, //
};
use crate::net::{
    listeners::Listeners,
    netfilter,
    skb::SkBuff,
    sock::{
        Locked,
        Socket, //
    },
    ulp::{
        OptionValue,
        Ulp, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
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
    /// All bits.
    pub(crate) const ALL: u32 = SETUP | TEARDOWN | DEFER | SERVER_FIRST | NO_HOLD;
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
}

/// What a socket asks for; its children share it until they ask for something else.
pub(crate) struct Options {
    flags: Atomic<u32>,
    forecast: Forecast,
}

impl Options {
    /// Bits of [`flag`].
    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    fn new(flags: u32) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                flags: Atomic::new(flags),
                forecast: Forecast::new(),
            },
            GFP_KERNEL,
        )?)
    }
}

impl Ulp for Options {
    const NAME: &'static CStr = c"acceltcp";
    const LEVEL: c_int = SOL_ACCELTCP;
    type Listener = listen::Listener;

    fn listeners() -> &'static Listeners<Self::Listener> {
        listen::list()
    }

    fn init(sk: Socket<'_>) -> Result<Arc<Self>> {
        if sk.is_mptcp() {
            return Err(EOPNOTSUPP);
        }
        Self::new(0)
    }

    fn set_option(
        sk: Socket<'_>,
        _data: &Arc<Self>,
        option: c_int,
        value: &OptionValue,
    ) -> Result<Option<Arc<Self>>> {
        match option {
            ACCELTCP_OFFLOAD => {}
            ACCELTCP_SPLICE => {
                // What is on its way to the host yet comes by the hook.
                netfilter::Registration::<accept::Hook>::ensure(sk)?;
                return splice::start(sk, value.read()?).map(|()| None);
            }
            ACCELTCP_UNSPLICE if value.read_u32()? == 0 => {
                return splice::take_back(sk).map(|()| None);
            }
            ACCELTCP_UNSPLICE => return Err(EINVAL),
            _ => return Err(ENOPROTOOPT),
        }
        let flags = value.read_u32()?;
        let (defer, first) = (flags & flag::DEFER != 0, flags & flag::SERVER_FIRST != 0);
        let no_hold = flags & flag::NO_HOLD != 0;
        if flags & !flag::ALL != 0
            || (defer || first) && flags & flag::SETUP == 0
            || defer && first
            || no_hold && flags & flag::TEARDOWN == 0
        {
            return Err(EINVAL);
        }
        if flags & flag::SETUP != 0 && sk.listener_info().authenticated {
            return Err(EOPNOTSUPP);
        }
        if flags & (flag::SETUP | flag::TEARDOWN) != 0 {
            netfilter::Registration::<accept::Hook>::ensure(sk)?;
        }
        Self::new(flags).map(Some)
    }

    fn get_option(
        sk: Socket<'_>,
        data: &Arc<Self>,
        option: c_int,
        to: &mut [u8; 64],
    ) -> Result<usize> {
        if option == ACCELTCP_SPLICE {
            return Ok(splice::info(sk, to));
        }
        let flags = data.flags();
        let (why, rules) = match option {
            ACCELTCP_STATUS => listen::status(sk, flags)?,
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

    fn changed(sk: Locked<'_>, data: &Arc<Self>) {
        listen::update(sk, data.flags());
    }

    fn closed() {
        listen::removed();
    }

    fn came_late(sk: Socket<'_>, frame: SkBuff) {
        count(Counter::teardown_backlog);
        late::give_back(frame, Some(sk));
    }

    fn parting(sk: Socket<'_>) {
        splice::parting(sk);
    }

    fn answers(data: &Self) -> bool {
        // Short transactions: one segment less for the host to send.
        data.flags() & flag::TEARDOWN != 0
    }

    fn wait_ns(data: &Self) -> u32 {
        match data.flags() & (flag::TEARDOWN | flag::NO_HOLD) {
            flag::TEARDOWN => data.forecast.wait_ns(),
            _ => 0,
        }
    }

    fn held(data: &Self) {
        data.forecast.held();
        count(Counter::teardown_held);
    }

    fn closing(sk: Locked<'_>, data: &Arc<Self>) -> bool {
        data.flags() & flag::TEARDOWN != 0 && teardown::hand_over(sk, &data.forecast)
    }
}
