// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The functions of a running kernel and its modules.

use std::collections::BTreeMap;

use anyhow::{ensure, Result};

/// A function.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Function {
    /// The module that it is in; the kernel itself if none.
    pub(super) module: Option<String>,
    /// Its name, without what the compiler appended for a part or a variant of it.
    pub(super) name: String,
}

/// Functions by the addresses of their first instructions.
#[derive(Debug, Default)]
pub struct Symbols(BTreeMap<u64, Function>);

impl Symbols {
    /// Reads what `/proc/kallsyms` says to root.
    ///
    /// # Errors
    ///
    /// It tells no addresses.
    pub fn parse(text: &str) -> Result<Self> {
        let mut symbols: BTreeMap<u64, (Rank, Function)> = BTreeMap::new();
        for (address, kind, function) in text.lines().filter_map(line) {
            let rank = Rank {
                local: kind.is_ascii_lowercase() || kind == 'W',
                underscores: function.name.len() - function.name.trim_start_matches('_').len(),
            };
            match symbols.get(&address) {
                Some((better, _)) if *better <= rank => {}
                _ => drop(symbols.insert(address, (rank, function))),
            }
        }
        ensure!(
            symbols.len() > 1,
            "the guest's kernel does not tell its functions' addresses"
        );
        let named = |(address, (_, function))| (address, function);
        Ok(Self(symbols.into_iter().map(named).collect()))
    }

    /// The function that an address lies in, and whether it is its first instruction.
    pub(super) fn find(&self, address: u64) -> Option<(&Function, bool)> {
        let (&start, function) = self.0.range(..=address).next_back()?;
        Some((function, start == address))
    }
}

/// Which one of several names of an address is taken: the least.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    local: bool,
    underscores: usize,
}

/// Address, kind and name of a function; `None` for all else.
fn line(line: &str) -> Option<(u64, char, Function)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?.chars().next()?;
    let name = words.next()?;
    let module = words
        .next()
        .and_then(|word| word.strip_prefix('[')?.strip_suffix(']'));
    // A label begins no function, and what pads one is never executed.
    let skip = address == 0 || name.starts_with('.') || name.starts_with("__pfx_");
    (matches!(kind, 't' | 'T' | 'w' | 'W') && !skip).then(|| {
        let function = Function {
            module: module.map(str::to_string),
            name: base(name),
        };
        (address, kind, function)
    })
}

/// The name as the source has it: several functions of one path, and the parts that the compiler made
/// of one, are the same one here.
fn base(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        Ok(path) => format!("{path:#}"),
        Err(_) => name.split('.').next().unwrap_or(name).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff810001f0 t __pfx_tcp_ack
ffffffff81000200 t tcp_ack
ffffffff81000400 t __x64_sys_read
ffffffff81000400 T ksys_read
ffffffff81000500 t tcp_ack.cold
ffffffff81000600 D jiffies
ffffffffc0000000 t .Ltmp7\t[acceltcp]
ffffffffc0000000 t _RNvNtCs1234_8acceltcp5setup6accept\t[acceltcp]
ffffffffc0000100 t nft_do_chain\t[nf_tables]
";

    fn found(address: u64) -> (Option<String>, String, bool) {
        let symbols = Symbols::parse(TEXT).unwrap();
        let (function, first) = symbols.find(address).unwrap();
        (function.module.clone(), function.name.clone(), first)
    }

    #[test]
    fn address_belongs_to_the_function_before_it() {
        assert_eq!(found(0xffff_ffff_8100_0200), (None, "tcp_ack".into(), true));
        assert_eq!(
            found(0xffff_ffff_8100_03ff),
            (None, "tcp_ack".into(), false)
        );
        // Data and padding end no function.
        assert_eq!(
            found(0xffff_ffff_8100_0610),
            (None, "tcp_ack".into(), false)
        );
        assert_eq!(
            found(0xffff_ffff_8100_01f4),
            (None, "startup_64".into(), false)
        );
        let symbols = Symbols::parse(TEXT).unwrap();
        assert!(symbols.find(0xffff_ffff_80ff_ffff).is_none());
    }

    #[test]
    fn public_name_is_preferred() {
        assert_eq!(found(0xffff_ffff_8100_0000).1, "startup_64");
        assert_eq!(found(0xffff_ffff_8100_0400).1, "ksys_read");
    }

    #[test]
    fn modules_and_rust_paths_are_told() {
        let (module, name, first) = found(0xffff_ffff_c000_0000);
        assert_eq!(module.as_deref(), Some("acceltcp"));
        assert_eq!((name.as_str(), first), ("acceltcp::setup::accept", true));
        assert_eq!(found(0xffff_ffff_c000_0101).0.as_deref(), Some("nf_tables"));
    }

    #[test]
    fn hidden_addresses_are_an_error() {
        let hidden = "0000000000000000 T _text\n0000000000000000 t tcp_ack\n";
        assert!(Symbols::parse(hidden).is_err());
    }
}
