// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which backend gets which request.

use std::{
    net::SocketAddr,
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};

/// A backend of the command line: `[HOST][/PATH]=ADDR`, or `ADDR`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Backend {
    host: String,
    path: String,
    address: SocketAddr,
}

impl FromStr for Backend {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (prefix, address) = text.rsplit_once('=').unwrap_or(("", text));
        let slash = prefix.find('/').unwrap_or(prefix.len());
        let (host, path) = prefix.split_at(slash);
        Ok(Self {
            host: host.to_ascii_lowercase(),
            path: path.into(),
            address: address.parse().with_context(|| format!("{address:?}"))?,
        })
    }
}

/// Backends that take turns.
#[derive(Debug)]
struct Group {
    host: String,
    path: String,
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl Group {
    /// No host and no path are the beginning of all; a path ends where a part of the target's does.
    fn serves(&self, host: &str, path: &str) -> bool {
        let rest = path.strip_prefix(&self.path);
        let whole = |rest: &str| {
            self.path.is_empty()
                || self.path.ends_with('/')
                || rest.is_empty()
                || rest.starts_with(['/', '?'])
        };
        (self.host.is_empty() || self.host.eq_ignore_ascii_case(host)) && rest.is_some_and(whole)
    }
}

/// All backends, those with the longest prefixes first.
#[derive(Debug)]
pub(crate) struct Backends(Vec<Group>);

impl Backends {
    pub(crate) fn new(backends: &[Backend]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for backend in backends {
            let same =
                |group: &&mut Group| (&group.host, &group.path) == (&backend.host, &backend.path);
            match groups.iter_mut().find(same) {
                Some(group) => group.addresses.push(backend.address),
                None => groups.push(Group {
                    host: backend.host.clone(),
                    path: backend.path.clone(),
                    addresses: vec![backend.address],
                    next: AtomicUsize::new(0),
                }),
            }
        }
        groups.sort_by_key(|group| std::cmp::Reverse((!group.host.is_empty(), group.path.len())));
        Self(groups)
    }

    /// The backend whose turn it is.
    pub(crate) fn pick(&self, host: &str, path: &str) -> Option<SocketAddr> {
        let group = self.0.iter().find(|group| group.serves(host, path))?;
        let turn = group.next.fetch_add(1, Ordering::Relaxed) % group.addresses.len();
        group.addresses.get(turn).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_equals_take_turns() {
        let lines = [
            "127.0.0.1:1",
            "/images=127.0.0.1:2",
            "/images=127.0.0.1:3",
            "Example.org=127.0.0.1:4",
            "example.org/images/=[::1]:5",
        ];
        let backends = Backends::new(&lines.map(|line| line.parse().unwrap()));
        let port = |host, path| backends.pick(host, path).unwrap().port();
        assert_eq!(port("", "/"), 1);
        assert_eq!(port("", "/imagesque"), 1);
        assert_eq!(
            [
                port("", "/images"),
                port("", "/images?a"),
                port("", "/images/b")
            ],
            [2, 3, 2]
        );
        assert_eq!(port("example.ORG", "/images"), 4);
        assert_eq!(port("example.org", "/images/c"), 5);
        let only = Backends::new(&["/a=127.0.0.1:1".parse().unwrap()]);
        assert_eq!(only.pick("", "/"), None);
        assert!("/a=nowhere".parse::<Backend>().is_err());
    }
}
