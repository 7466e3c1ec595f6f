// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What can go wrong with the kernel, and what to do about it.

use std::{fmt, io};

use nix::errno::Errno;

use super::uapi;

/// An error of the netlink layer.
#[derive(Debug)]
pub enum Error {
    /// The kernel has no such family: the module is not loaded.
    NoFamily,
    /// The family has no multicast group of this name.
    NoGroup(&'static str),
    /// The kernel refuses.
    Refused {
        /// Its reason.
        errno: Errno,
        /// Its words, and the attribute that it means.
        message: Option<String>,
        /// Where the attribute is in the request that is meant.
        offset: Option<u32>,
    },
    /// A message that cannot be read.
    Malformed(String),
    /// The socket failed.
    Socket(io::Error),
}

impl Error {
    /// A message that cannot be read, as `what` says.
    pub fn malformed(what: impl fmt::Display) -> Self {
        Self::Malformed(what.to_string())
    }

    /// The same, with who may ask for `command` when that is what the kernel refuses without a word.
    #[must_use]
    pub fn about(self, command: u8) -> Self {
        match self {
            Self::Refused {
                errno: errno @ (Errno::EPERM | Errno::EACCES),
                message: None,
                offset,
            } => Self::Refused {
                errno,
                message: who_may(command).map(Into::into),
                offset,
            },
            error => error,
        }
    }

    /// Whether it is for want of rights.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Refused { errno, .. } => matches!(errno, Errno::EPERM | Errno::EACCES),
            Self::Socket(error) => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// Who may ask for `command`, by the flags that the family's definition gives it.
fn who_may(command: u8) -> Option<&'static str> {
    Some(match command {
        uapi::ACCELTCP_CMD_DEVICE_GET
        | uapi::ACCELTCP_CMD_COUNTER_GET
        | uapi::ACCELTCP_CMD_PAIR_GET
        | uapi::ACCELTCP_CMD_ACL_GET
        | uapi::ACCELTCP_CMD_FLOW_GET => {
            "to ask cards needs root, or CAP_NET_ADMIN in this network namespace"
        }
        uapi::ACCELTCP_CMD_POLICY_ADD
        | uapi::ACCELTCP_CMD_POLICY_DEL
        | uapi::ACCELTCP_CMD_POLICY_FLUSH
        | uapi::ACCELTCP_CMD_POLICY_SET => {
            "to change the policy needs root, or CAP_NET_ADMIN in this network namespace"
        }
        uapi::ACCELTCP_CMD_COUNTER_RESET
        | uapi::ACCELTCP_CMD_KEY_ROTATE
        | uapi::ACCELTCP_CMD_LIMITS_SET
        | uapi::ACCELTCP_CMD_ACL_ADD
        | uapi::ACCELTCP_CMD_ACL_DEL
        | uapi::ACCELTCP_CMD_ACL_FLUSH => {
            "this needs root of the host: CAP_NET_ADMIN in the initial user namespace"
        }
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFamily => write!(
                f,
                "the module acceltcp is not loaded; load it: modprobe acceltcp"
            ),
            Self::NoGroup(name) => write!(
                f,
                "the module acceltcp has no multicast group {name:?}: another version is loaded"
            ),
            Self::Refused { errno, message, .. } => {
                match message {
                    Some(message) => write!(f, "{message} ({})", errno.desc())?,
                    None => write!(f, "{}", errno.desc())?,
                }
                match errno {
                    Errno::EPERM | Errno::EACCES if message.is_none() => {
                        write!(f, "; this needs root, or CAP_NET_ADMIN")
                    }
                    Errno::EOPNOTSUPP => {
                        write!(f, "; the loaded module may be of another version")
                    }
                    _ => Ok(()),
                }
            }
            Self::Malformed(what) => write!(f, "the kernel's answer cannot be read: {what}"),
            Self::Socket(error) => write!(f, "netlink socket: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_given() {
        let refused = Error::Refused {
            errno: Errno::EPERM,
            message: None,
            offset: None,
        };
        assert!(refused.is_permission());
        assert_eq!(
            refused.to_string(),
            "Operation not permitted; this needs root, or CAP_NET_ADMIN"
        );
        let denied = || Error::Refused {
            errno: Errno::EPERM,
            message: None,
            offset: None,
        };
        assert_eq!(
            denied().about(uapi::ACCELTCP_CMD_FLOW_GET).to_string(),
            "to ask cards needs root, or CAP_NET_ADMIN in this network namespace (Operation not permitted)"
        );
        let text = denied().about(uapi::ACCELTCP_CMD_ACL_ADD).to_string();
        assert!(text.contains("root of the host"), "{text}");
        // Everyone may ask for the limits; whoever refuses that knows more.
        let text = denied().about(uapi::ACCELTCP_CMD_LIMITS_GET).to_string();
        assert_eq!(text, denied().to_string());
        assert!(Error::NoFamily.to_string().contains("modprobe acceltcp"));
    }

    #[test]
    fn the_kernel_s_words_come_first() {
        let refused = Error::Refused {
            errno: Errno::EINVAL,
            message: Some("no such cgroup".into()),
            offset: None,
        };
        assert!(!refused.is_permission());
        assert_eq!(refused.to_string(), "no such cgroup (Invalid argument)");
        let refused = Error::Refused {
            errno: Errno::EPERM,
            message: Some("the rule is tc's".into()),
            offset: None,
        };
        assert_eq!(
            refused.about(uapi::ACCELTCP_CMD_ACL_DEL).to_string(),
            "the rule is tc's (Operation not permitted)"
        );
    }
}
