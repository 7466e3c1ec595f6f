// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of the kernel as lines of a file.

use std::{borrow::Cow, path::Path};

use anyhow::{Context, Result};

use super::{Ports, Prefix};
use crate::{
    netlink::policy::{Terms, DEFAULT_PRIORITY},
    system::{cgroup, names},
};

/// The line that adds a rule with these terms again.
///
/// # Errors
///
/// When the network device, or the cgroup below `cgroups`, has gone.
pub fn line(terms: &Terms, cgroups: &Path) -> Result<String> {
    let mut words: Vec<String> = Vec::new();
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    if let Some(first) = terms.port_first {
        let last = terms.port_last.unwrap_or(first);
        option("port", Ports { first, last }.to_string());
    }
    if let Some(address) = terms.address {
        option(
            "address",
            Prefix::new(address, terms.prefix_len).to_string(),
        );
    }
    if let Some(index) = terms.ifindex {
        let name = names::interface_name(index);
        option(
            "dev",
            name.with_context(|| format!("network device {index} has gone"))?,
        );
    }
    if let Some(uid) = terms.uid {
        // The number, when the name would not lead back to it.
        let name = names::user_name(uid);
        let name = name.filter(|name| names::user_id(name).is_ok_and(|found| found == uid));
        option("uid", name.unwrap_or_else(|| uid.to_string()));
    }
    if let Some(number) = terms.cgroup {
        let path = cgroup::path(cgroups, number);
        let path = path.with_context(|| format!("cgroup {number} has gone"))?;
        let path = path.to_str().map(str::to_string);
        option("cgroup", path.context("the cgroup's path is no UTF-8")?);
    }
    option("offload", terms.offloads.to_string());
    if let Some(bytes) = terms.max_data {
        option("max-data", bytes.to_string());
    }
    if let Some(priority) = terms.priority.filter(|p| *p != DEFAULT_PRIORITY) {
        option("priority", priority.to_string());
    }
    let quoted: Result<Vec<_>> = words.iter().map(|word| quoted(word)).collect();
    Ok(quoted?.join(" "))
}

/// `word`, in quotes if the reader of a file would not take it as it is.
fn quoted(word: &str) -> Result<Cow<'_, str>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_,./:@%+".contains(c);
    match word.chars().all(plain) {
        true => Ok(Cow::Borrowed(word)),
        false => shlex::try_quote(word).context("a name has a NUL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{parse, Resolver};

    #[test]
    fn lines_round_trip() {
        let mount = tempfile::tempdir().unwrap();
        std::fs::create_dir(mount.path().join("with 'space")).unwrap();
        let resolver = Resolver {
            cgroups: mount.path().into(),
        };
        let text = "\
--offload setup,teardown
--port 80 --offload none
--port 80-90 --address 10.0.0.0/8 --dev lo --uid root --offload setup,defer --max-data 1460 --priority 3
--address ::1 --uid 4000000000 --cgroup \"/with 'space\" --offload teardown,no-hold
";
        let saved: Vec<String> = parse("rules", text)
            .unwrap()
            .iter()
            .map(|one| line(&one.rule.terms(&resolver).unwrap(), mount.path()).unwrap())
            .collect();
        assert_eq!(saved, text.lines().collect::<Vec<_>>());
    }

    #[test]
    fn the_usual_priority_is_not_said() {
        let terms = Terms {
            priority: Some(DEFAULT_PRIORITY),
            ..Terms::default()
        };
        assert_eq!(line(&terms, Path::new("/")).unwrap(), "--offload none");
    }

    #[test]
    fn what_has_gone_is_told() {
        let mount = tempfile::tempdir().unwrap();
        let gone = Terms {
            cgroup: Some(u64::MAX),
            ..Terms::default()
        };
        let error = line(&gone, mount.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("cgroup {} has gone", u64::MAX));
        let gone = Terms {
            ifindex: Some(u32::MAX),
            ..Terms::default()
        };
        assert!(line(&gone, mount.path()).is_err());
    }
}
