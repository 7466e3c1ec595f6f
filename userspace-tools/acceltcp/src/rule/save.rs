// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of the kernel as lines of a file.

use std::borrow::Cow;

use super::{Ports, Prefix};
use crate::{
    netlink::policy::{Terms, DEFAULT_PRIORITY},
    system::names,
};

/// The line that adds a rule with these terms again.
pub fn line(terms: &Terms) -> String {
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
    if let Some(device) = &terms.device {
        option("dev", device.clone());
    }
    if let Some(uid) = terms.uid {
        // The number, when the name would not lead back to it.
        let name = names::user_name(uid);
        let name = name.filter(|name| names::user_id(name).is_ok_and(|found| found == uid));
        option("uid", name.unwrap_or_else(|| uid.to_string()));
    }
    if let Some(path) = &terms.cgroup {
        option("cgroup", path.clone());
    }
    option("offload", terms.offloads.to_string());
    if let Some(bytes) = terms.max_data {
        option("max-data", bytes.to_string());
    }
    if let Some(priority) = terms.priority.filter(|p| *p != DEFAULT_PRIORITY) {
        option("priority", priority.to_string());
    }
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

/// `word`, in quotes if the reader of a file would not take it as it is.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_,./:@%+".contains(c);
    match word.chars().all(plain) {
        true => Cow::Borrowed(word),
        // What comes from the kernel has no NUL, which alone cannot be quoted.
        false => shlex::try_quote(word).unwrap_or(Cow::Borrowed(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::parse;

    #[test]
    fn lines_round_trip() {
        let text = "\
--offload setup,teardown
--port 80 --offload none
--port 80-90 --address 10.0.0.0/8 --dev lo --uid root --offload setup,defer --max-data 1460 --priority 3
--address ::1 --dev 'not there' --uid 4000000000 --cgroup \"/with 'space\" --offload teardown,no-hold
";
        let saved: Vec<String> = parse("rules", text)
            .unwrap()
            .iter()
            .map(|one| line(&one.rule.terms().unwrap()))
            .collect();
        assert_eq!(saved, text.lines().collect::<Vec<_>>());
    }

    #[test]
    fn the_usual_priority_is_not_said() {
        let terms = Terms {
            priority: Some(DEFAULT_PRIORITY),
            ..Terms::default()
        };
        assert_eq!(line(&terms), "--offload none");
    }
}
