// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Enumerations and flags of the family, with the names of its definition.

use std::{borrow::Cow, fmt, str::FromStr};

use bitflags::Flags;
use serde::{Serialize, Serializer};

use super::uapi;

macro_rules! enumeration {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $number:ident, $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $type {
            $($(#[$vdoc])* $variant,)*
            /// One that this tool does not know yet.
            Unknown(u32),
        }

        impl From<u32> for $type {
            fn from(number: u32) -> Self {
                match number {
                    $(uapi::$number => Self::$variant,)*
                    number => Self::Unknown(number),
                }
            }
        }

        impl $type {
            /// Its name in the family's definition.
            pub fn name(self) -> Cow<'static, str> {
                match self {
                    $(Self::$variant => Cow::Borrowed($name),)*
                    Self::Unknown(number) => Cow::Owned(format!("unknown-{number}")),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.name())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.name())
            }
        }
    };
}

enumeration! {
    /// State of a card.
    DeviceState {
        /// Its network device is down.
        Down = ACCELTCP_DEVICE_STATE_DOWN, "down";
        /// It is up, and has no offloads.
        Plain = ACCELTCP_DEVICE_STATE_PLAIN, "plain";
        /// It is up, with its offloads.
        Attached = ACCELTCP_DEVICE_STATE_ATTACHED, "attached";
        /// It does not answer.
        Dead = ACCELTCP_DEVICE_STATE_DEAD, "dead";
    }
}

enumeration! {
    /// What becomes of a frame that a rule of an access list matches.
    AclAction {
        /// It goes on.
        Allow = ACCELTCP_ACL_ACTION_ALLOW, "allow";
        /// The card drops it.
        Deny = ACCELTCP_ACL_ACTION_DENY, "deny";
    }
}

impl AclAction {
    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::Allow => uapi::ACCELTCP_ACL_ACTION_ALLOW,
            Self::Deny => uapi::ACCELTCP_ACL_ACTION_DENY,
            Self::Unknown(number) => number,
        }
    }
}

enumeration! {
    /// Who has made a rule of an access list.
    AclOrigin {
        /// An operator.
        Operator = ACCELTCP_ACL_ORIGIN_OPERATOR, "operator";
        /// A filter of tc.
        Tc = ACCELTCP_ACL_ORIGIN_TC, "tc";
    }
}

enumeration! {
    /// Memory of a card.
    Memory {
        /// On the chip.
        Sram = ACCELTCP_MEMORY_SRAM, "sram";
        /// Beside it.
        Dram = ACCELTCP_MEMORY_DRAM, "dram";
    }
}

enumeration! {
    /// State of a connection that a card ends.
    FlowState {
        /// Our FIN is not acknowledged.
        FinWait1 = ACCELTCP_FLOW_STATE_FIN_WAIT_1, "fin-wait-1";
        /// Our FIN is acknowledged; the peer's has not come.
        FinWait2 = ACCELTCP_FLOW_STATE_FIN_WAIT_2, "fin-wait-2";
        /// Both FINs are under way.
        Closing = ACCELTCP_FLOW_STATE_CLOSING, "closing";
        /// The peer's FIN came first, and ours is not acknowledged.
        LastAck = ACCELTCP_FLOW_STATE_LAST_ACK, "last-ack";
        /// Both are acknowledged.
        TimeWait = ACCELTCP_FLOW_STATE_TIME_WAIT, "time-wait";
    }
}

impl FlowState {
    /// Those that are known, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::FinWait1,
        Self::FinWait2,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// Its bit in the attribute `states`.
    pub fn bit(self) -> u32 {
        match self {
            Self::FinWait1 => 1 << uapi::ACCELTCP_FLOW_STATE_FIN_WAIT_1,
            Self::FinWait2 => 1 << uapi::ACCELTCP_FLOW_STATE_FIN_WAIT_2,
            Self::Closing => 1 << uapi::ACCELTCP_FLOW_STATE_CLOSING,
            Self::LastAck => 1 << uapi::ACCELTCP_FLOW_STATE_LAST_ACK,
            Self::TimeWait => 1 << uapi::ACCELTCP_FLOW_STATE_TIME_WAIT,
            Self::Unknown(_) => 0,
        }
    }
}

impl FromStr for FlowState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| {
            let known = Self::ALL.map(|state| state.name());
            format!("{text:?} is none of {}", known.join(", "))
        })
    }
}

enumeration! {
    /// What became of a spliced pair.
    SpliceReason {
        /// The host has its connections back.
        Returned = ACCELTCP_PAIR_END_RETURNED, "returned";
        /// Both peers have closed.
        Closed = ACCELTCP_PAIR_END_CLOSED, "closed";
        /// A peer has reset its connection.
        Reset = ACCELTCP_PAIR_END_RESET, "reset";
        /// Nothing was heard for too long.
        Idle = ACCELTCP_PAIR_END_IDLE, "idle";
        /// A socket was closed.
        Aborted = ACCELTCP_PAIR_END_ABORTED, "aborted";
        /// A peer did not acknowledge what the host had sent.
        Timeout = ACCELTCP_PAIR_END_TIMEOUT, "timeout";
        /// The card could not make sense of it.
        Refused = ACCELTCP_PAIR_END_REFUSED, "refused";
        /// The card was lost.
        Lost = ACCELTCP_PAIR_END_LOST, "lost";
    }
}

enumeration! {
    /// Why a listener's connections are set up by the host.
    Reason {
        /// They are set up by the card.
        None = ACCELTCP_HOST_REASON_NONE, "none";
        /// Neither the application nor a rule asks for it.
        NotAsked = ACCELTCP_HOST_REASON_NOT_ASKED, "not-asked";
        /// The socket does not listen any more.
        NotListening = ACCELTCP_HOST_REASON_NOT_LISTENING, "not-listening";
        /// No card that it can be reached by is up.
        NoDevice = ACCELTCP_HOST_REASON_NO_DEVICE, "no-device";
        /// A card has no room.
        TableFull = ACCELTCP_HOST_REASON_TABLE_FULL, "table-full";
        /// TCP-MD5 or TCP-AO.
        Authenticated = ACCELTCP_HOST_REASON_AUTHENTICATED, "authenticated";
        /// Multipath TCP.
        Mptcp = ACCELTCP_HOST_REASON_MPTCP, "mptcp";
        /// The sysctl net.ipv4.tcp_syncookies is 0.
        Syncookies = ACCELTCP_HOST_REASON_SYNCOOKIES, "syncookies";
        /// Any address, on a host that forwards.
        Forwarding = ACCELTCP_HOST_REASON_FORWARDING, "forwarding";
        /// A card has not been told of the listener yet.
        Pending = ACCELTCP_HOST_REASON_PENDING, "pending";
        /// The socket has another upper layer protocol.
        OtherUlp = ACCELTCP_HOST_REASON_OTHER_ULP, "other-ulp";
        /// The sysctl net.acceltcp.offloads does not have it.
        Disabled = ACCELTCP_HOST_REASON_DISABLED, "disabled";
        /// The host had no memory; it tries again.
        NoMemory = ACCELTCP_HOST_REASON_NO_MEMORY, "no-memory";
        /// Its namespace has as many as it may.
        Quota = ACCELTCP_HOST_REASON_QUOTA, "quota";
        /// Another listener, which the host serves, gets the SYNs.
        OtherListener = ACCELTCP_HOST_REASON_OTHER_LISTENER, "other-listener";
    }
}

impl Reason {
    /// What it means, and what can be done; a part of a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::None => "the card sets its connections up",
            Self::NotAsked => "neither the application nor a rule asks for setup",
            Self::NotListening => "the socket does not listen any more",
            Self::NoDevice => "no card is up that it can be reached by; set one up, in its network namespace",
            Self::TableFull => "a card has no room for its rules; offload fewer listeners",
            Self::Authenticated => "it uses TCP-MD5 or TCP-AO, which stay with the host",
            Self::Mptcp => {
                "it uses Multipath TCP (Go's default); run it with GODEBUG=multipathtcp=0, or turn MPTCP off in it"
            }
            Self::Syncookies => "sysctl -w net.ipv4.tcp_syncookies=1",
            Self::Forwarding => {
                "it is for any address, and this host forwards; bind it to an address, or turn forwarding off"
            }
            Self::Pending => "a card has not been told of it yet; that takes a second at most",
            Self::OtherUlp => "the socket has another upper layer protocol, such as kTLS",
            Self::Disabled => "the sysctl net.acceltcp.offloads does not have it",
            Self::NoMemory => "the host had no memory; it tries again",
            Self::Quota => "its namespace has as many as the sysctl net.acceltcp.quota_listeners allows",
            Self::OtherListener => {
                "another listener of the port gets the SYNs, and the host serves that one; give it to the card, too"
            }
            Self::Unknown(_) => "this tool is older than the module",
        }
    }
}

bitflags::bitflags! {
    /// Offloads, and how they are done.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Offloads: u32 {
        /// The card sets connections up.
        const SETUP = uapi::ACCELTCP_OFFLOAD_FLAG_SETUP;
        /// The card ends connections.
        const TEARDOWN = uapi::ACCELTCP_OFFLOAD_FLAG_TEARDOWN;
        /// The card relays spliced connections.
        const SPLICE = uapi::ACCELTCP_OFFLOAD_FLAG_SPLICE;
        /// A connection comes with its first data.
        const DEFER = uapi::ACCELTCP_OFFLOAD_FLAG_DEFER;
        /// The server speaks first.
        const SERVER_FIRST = uapi::ACCELTCP_OFFLOAD_FLAG_SERVER_FIRST;
        /// No answer waits for the end of its connection.
        const NO_HOLD = uapi::ACCELTCP_OFFLOAD_FLAG_NO_HOLD;
    }
}

/// Names of the offloads' bits.
const OFFLOADS: [(&str, Offloads); 6] = [
    ("setup", Offloads::SETUP),
    ("teardown", Offloads::TEARDOWN),
    ("splice", Offloads::SPLICE),
    ("defer", Offloads::DEFER),
    ("server-first", Offloads::SERVER_FIRST),
    ("no-hold", Offloads::NO_HOLD),
];

impl Offloads {
    /// Their names; bits that this tool does not know are one number.
    pub fn names(self) -> Vec<Cow<'static, str>> {
        names_of(self, &OFFLOADS)
    }
}

/// Names of the bits of `flags`; those that `known` has not are one number.
fn names_of<F: Flags<Bits = u32> + Copy>(
    flags: F,
    known: &[(&'static str, F)],
) -> Vec<Cow<'static, str>> {
    let mut names = Vec::new();
    let mut unknown = flags;
    for (name, bit) in known {
        if flags.contains(*bit) {
            names.push(Cow::Borrowed(*name));
        }
        unknown.remove(*bit);
    }
    if !unknown.is_empty() {
        names.push(Cow::Owned(format!("{:#x}", unknown.bits())));
    }
    names
}

bitflags::bitflags! {
    /// What a rule of the policy names that is not there.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct Pending: u32 {
        /// No network device has the name.
        const DEVICE = uapi::ACCELTCP_POLICY_PENDING_DEVICE;
        /// The cgroup is not there.
        const CGROUP = uapi::ACCELTCP_POLICY_PENDING_CGROUP;
    }
}

/// Names of the bits of [`Pending`].
const PENDING: [(&str, Pending); 2] = [("device", Pending::DEVICE), ("cgroup", Pending::CGROUP)];

impl Serialize for Pending {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names_of(*self, &PENDING))
    }
}

/// A list with commas, or `none`.
impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_empty() {
            true => f.pad("none"),
            false => f.pad(&self.names().join(",")),
        }
    }
}

impl Serialize for Offloads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = include_str!("../../../../Documentation/netlink/specs/acceltcp.yaml");

    /// Names of the entries of an enumeration of the family's definition.
    fn entries(of: &str) -> Vec<&'static str> {
        let start = format!("\n    name: {of}\n");
        let (_, rest) = DEFINITION.split_once(&start).unwrap();
        let rest = rest.split("\n  -\n").next().unwrap();
        let lines = rest.split("attribute-sets:").next().unwrap().lines();
        lines
            .filter_map(|line| line.strip_prefix("        name: "))
            .collect()
    }

    #[test]
    fn names_are_those_of_the_definition() {
        fn of<T: From<u32>>(name: impl Fn(T) -> Cow<'static, str>) -> Vec<String> {
            let all = (0..).map(|number| name(T::from(number)).into_owned());
            all.take_while(|name| !name.starts_with("unknown"))
                .collect()
        }
        assert_eq!(of(DeviceState::name), entries("device-state"));
        assert_eq!(of(Memory::name), entries("memory"));
        assert_eq!(of(Reason::name), entries("host-reason"));
        assert_eq!(Offloads::all().names(), entries("offload-flag"));
        assert_eq!(
            names_of(Pending::all(), &PENDING),
            entries("policy-pending")
        );
    }

    #[test]
    fn what_is_unknown_is_shown() {
        assert_eq!(Reason::from(99).to_string(), "unknown-99");
        let offloads = Offloads::from_bits_retain(0x81);
        assert_eq!(offloads.to_string(), "setup,0x80");
        assert_eq!(
            serde_json::to_string(&offloads).unwrap(),
            r#"["setup","0x80"]"#
        );
        assert_eq!(Offloads::empty().to_string(), "none");
    }
}
