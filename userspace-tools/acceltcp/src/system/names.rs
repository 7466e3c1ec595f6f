// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Names and numbers of network devices and users.

use std::{collections::HashMap, ffi::CString};

use anyhow::{bail, Context, Result};
use nix::{
    net::if_::if_nametoindex,
    unistd::{Uid, User},
};

/// Number of the network device `name`.
pub fn interface_index(name: &str) -> Result<u32> {
    if_nametoindex(name).with_context(|| format!("there is no network device {name:?}"))
}

/// Name of the network device with the number `index`; none if it has gone.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: The kernel writes at most `IF_NAMESIZE` bytes.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    let bytes: Vec<u8> = name
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| c.to_ne_bytes()[0])
        .collect();
    let name = CString::new(bytes).ok()?.into_string().ok()?;
    Some(name.replace(char::is_control, "\u{fffd}"))
}

/// Number of a user, given by name or number.
pub fn user_id(user: &str) -> Result<u32> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    match User::from_name(user) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => bail!("there is no user {user:?}"),
        Err(error) => Err(error).with_context(|| format!("user {user:?}")),
    }
}

/// Name of the user with the number `uid`, if it has one.
pub fn user_name(uid: u32) -> Option<String> {
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    Some(user.name.replace(char::is_control, "\u{fffd}"))
}

/// Names that were asked for before, so that lists with hundreds of thousands of lines look each one up once.
#[derive(Debug, Default)]
pub struct Names {
    interfaces: HashMap<u32, Option<String>>,
    users: HashMap<u32, Option<String>>,
}

impl Names {
    /// As [`interface_name`].
    pub fn interface(&mut self, index: u32) -> Option<String> {
        let names = self.interfaces.entry(index);
        names.or_insert_with(|| interface_name(index)).clone()
    }

    /// As [`user_name`].
    pub fn user(&mut self, uid: u32) -> Option<String> {
        let names = self.users.entry(uid);
        names.or_insert_with(|| user_name(uid)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_round_trip() {
        let index = interface_index("lo").unwrap();
        assert_eq!(Names::default().interface(index).as_deref(), Some("lo"));
        assert_eq!(interface_name(u32::MAX), None);
        let error = interface_index("no-such-dev").unwrap_err();
        assert!(error.to_string().contains("no network device"));
    }

    #[test]
    fn users_round_trip() {
        assert_eq!(user_id("root").unwrap(), 0);
        assert_eq!(user_id("4000000000").unwrap(), 4_000_000_000);
        assert_eq!(Names::default().user(0).as_deref(), Some("root"));
        assert!(user_id("no such user").is_err());
        assert!(user_id("-1").is_err());
    }
}
