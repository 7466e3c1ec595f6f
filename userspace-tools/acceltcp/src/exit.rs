// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Exit statuses.

use std::{io, process::ExitCode};

use crate::netlink;

/// How the program ends. Usage errors (2) are clap's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// All is done.
    Ok,
    /// Something went wrong.
    Failed,
    /// The module, or its netlink family, is not there.
    NoModule,
    /// The caller has not the rights.
    NoPermission,
    /// `doctor` has found something that must be mended.
    Unhealthy,
}

impl Status {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::NoModule => 3,
            Self::NoPermission => 4,
            Self::Unhealthy => 5,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        status.code().into()
    }
}

/// The status that `error` leads to.
pub fn of(error: &anyhow::Error) -> Status {
    match error.downcast_ref::<netlink::Error>() {
        Some(netlink::Error::NoFamily) => Status::NoModule,
        Some(error) if error.is_permission() => Status::NoPermission,
        _ => Status::Failed,
    }
}

/// Whether it is that nobody reads the output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match cause.downcast_ref::<io::Error>() {
            Some(error) => Some(error.kind()),
            None => cause
                .downcast_ref::<serde_json::Error>()
                .and_then(serde_json::Error::io_error_kind),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn errors_lead_to_their_status() {
        let refused = |errno| netlink::Error::Refused {
            errno,
            message: None,
            offset: None,
        };
        for (error, status) in [
            (netlink::Error::NoFamily, Status::NoModule),
            (refused(Errno::EPERM), Status::NoPermission),
            (refused(Errno::EINVAL), Status::Failed),
        ] {
            // Words around an error do not hide it.
            let error = Err::<(), _>(error).context("rule 3").unwrap_err();
            assert_eq!(of(&error), status);
        }
        assert_eq!(of(&anyhow::anyhow!("else")), Status::Failed);
    }

    #[test]
    fn closed_pipes_are_recognised() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&closed().into()));
        assert!(is_broken_pipe(&serde_json::Error::io(closed()).into()));
        assert!(!is_broken_pipe(&anyhow::anyhow!("else")));
    }
}
