// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Source lines for the addresses in a report of the kernel.
//!
//! Only kernels that the lab has built come with line tables. What cannot be resolved stays as the
//! kernel printed it: a report is of use without.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{console::Report, tools::inner_path, tools::Tools};
use crate::{setup::LLVM, util::Layout};

/// Where `symbol+0x12/0x34 [module]` points to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    /// The kernel itself if none.
    module: Option<String>,
    symbol: String,
    offset: u64,
}

/// The code of a module that was loaded: where it was, to resolve what the kernel could not any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) start: u64,
}

/// Lines of reports with the source lines behind each place.
pub(super) fn resolve(
    tools: &Tools,
    layout: &Layout,
    reports: &[Report],
    text: Option<Text>,
) -> Vec<String> {
    let mut known = BTreeMap::new();
    if layout.guest_kernel().is_built() {
        // What fails here is told, and no reason to hide the report itself.
        match lookup(tools, layout, reports, text) {
            Ok(found) => known = found,
            Err(error) => eprintln!("lab: source lines of the report: {error:#}"),
        }
    }
    let mut lines = Vec::new();
    for report in reports {
        for line in &report.0 {
            let source = place(line, text).and_then(|place| known.get(&place));
            match source {
                Some(source) => lines.push(format!("{line} at {}", source.join(" <- "))),
                None => lines.push(line.clone()),
            }
        }
        lines.push(String::new());
    }
    lines.pop();
    lines
}

/// Source lines by place, the innermost function first.
fn lookup(
    tools: &Tools,
    layout: &Layout,
    reports: &[Report],
    text: Option<Text>,
) -> Result<BTreeMap<Place, Vec<String>>> {
    let lines = reports.iter().flat_map(|report| &report.0);
    let places: Vec<Place> = lines.filter_map(|line| place(line, text)).collect();
    let (own, kernel): (Vec<Place>, Vec<Place>) = places
        .into_iter()
        .partition(|place| place.module.as_deref() == Some("acceltcp"));
    let kernel = kernel.into_iter().filter(|place| place.module.is_none());
    let mut found = in_kernel(tools, layout, kernel.collect())?;
    found.extend(in_module(tools, layout, own)?);
    Ok(found)
}

/// What llvm-symbolizer prints for an address.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Symbolized {
    #[serde(default)]
    loc: Vec<Location>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Location {
    file_name: String,
    line: u64,
}

fn in_kernel(
    tools: &Tools,
    layout: &Layout,
    places: Vec<Place>,
) -> Result<BTreeMap<Place, Vec<String>>> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let image = inner_path(layout, &layout.built_kernel().join("vmlinux"))?;
    let mut command = tools.command(&format!("llvm-symbolizer{LLVM}"), "/");
    command
        .arg("--output-style=JSON")
        .arg(format!("--obj={image}"));
    let asked: String = places
        .iter()
        .map(|place| format!("{}+{:#x}\n", place.symbol, place.offset))
        .collect();
    let answers = talk(&mut command, &asked)?;
    let mut found = BTreeMap::new();
    for (place, answer) in places.into_iter().zip(answers.lines()) {
        let symbolized: Symbolized =
            serde_json::from_str(answer).unwrap_or(Symbolized { loc: Vec::new() });
        let lines = symbolized.loc.iter();
        let lines: Vec<String> = lines
            .map(|at| format!("{}:{}", shorten(&at.file_name), at.line))
            .collect();
        if !lines.is_empty() {
            found.insert(place, lines);
        }
    }
    Ok(found)
}

/// A module is not linked: an address means something only within its section, which
/// llvm-symbolizer has no words for.
fn in_module(
    tools: &Tools,
    layout: &Layout,
    places: Vec<Place>,
) -> Result<BTreeMap<Place, Vec<String>>> {
    let mut found = BTreeMap::new();
    if places.is_empty() {
        return Ok(found);
    }
    let module = inner_path(layout, &layout.module())?;
    let table = talk(tools.command("nm", "/").args(["-f", "sysv", &module]), "")?;
    let symbols = symbols(&table);
    for place in places {
        let (section, value) = match symbols.get(place.symbol.as_str()) {
            Some(symbol) => *symbol,
            None if place.symbol.is_empty() => (".text", 0),
            None => continue,
        };
        let address = format!("{:#x}", value + place.offset);
        let mut command = tools.command("addr2line", "/");
        command.args(["-i", "-e", &module, "-j", section, &address]);
        let lines: Vec<String> = talk(&mut command, "")?
            .lines()
            .filter(|line| !line.starts_with("??"))
            .map(|line| shorten(line.split(" (").next().unwrap_or(line)).to_owned())
            .collect();
        if !lines.is_empty() {
            found.insert(place, lines);
        }
    }
    Ok(found)
}

/// Sections and values of the functions in what `nm -f sysv` prints.
fn symbols(table: &str) -> BTreeMap<&str, (&str, u64)> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split('|').map(str::trim).collect();
            let [name, value, _, kind, _, _, section] = fields[..] else {
                return None;
            };
            let value = u64::from_str_radix(value, 16).ok()?;
            (kind == "FUNC").then_some((name, (section, value)))
        })
        .collect()
}

/// Runs a program with this input and returns its output.
fn talk(command: &mut Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| name.clone())?;
    let stdin = child.stdin.take();
    let input = input.to_owned();
    // On a thread of its own, so that neither pipe fills up while the other one is waited for.
    let feeder = std::thread::spawn(move || {
        stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()))
    });
    let output = child.wait_with_output().with_context(|| name.clone())?;
    // A program that needs no input ends before it has read it.
    let _ = feeder.join();
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A source file as seen from the top of its tree.
fn shorten(path: &str) -> &str {
    for top in ["/build/debug-kernels/source/", "/src/"] {
        if let Some(rest) = path.strip_prefix(top) {
            return rest;
        }
    }
    path.strip_prefix("./").unwrap_or(path)
}

/// The place that a line of a report names, if any.
fn place(line: &str, text: Option<Text>) -> Option<Place> {
    let is_rip = line.contains("RIP:");
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if let Some((symbol, offset)) = parse(word.trim_start_matches("0010:")) {
            let module = words.peek().and_then(|next| {
                let name = next.strip_prefix('[')?;
                Some(name.strip_suffix(']').unwrap_or(name).to_owned())
            });
            return Some(Place {
                module,
                symbol: symbol.to_owned(),
                // All others are return addresses: the call is before them.
                offset: offset.saturating_sub(u64::from(!is_rip)),
            });
        }
        let absolute = word.strip_prefix("0x").filter(|digits| digits.len() == 16);
        let absolute = absolute.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        /// More than the module has of code.
        const REACH: u64 = 0x20_0000;
        if let (Some(address), Some(text)) = (absolute, text) {
            let offset = address.checked_sub(text.start).filter(|at| *at < REACH)?;
            return Some(Place {
                module: Some("acceltcp".into()),
                symbol: String::new(),
                offset: offset.saturating_sub(1),
            });
        }
    }
    None
}

/// `symbol+0x12/0x34`.
fn parse(word: &str) -> Option<(&str, u64)> {
    let (symbol, rest) = word.split_once("+0x")?;
    let (offset, size) = rest.split_once("/0x")?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    hex(size.trim_end_matches([')', ',', ';', ':']))?;
    let symbol = symbol.trim_start_matches(['(', '[', '{', '<']);
    Some((symbol, hex(offset)?)).filter(|(symbol, _)| !symbol.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(module: Option<&str>, symbol: &str, offset: u64) -> Option<Place> {
        Some(Place {
            module: module.map(str::to_owned),
            symbol: symbol.into(),
            offset,
        })
    }

    #[test]
    fn places_are_read() {
        let read = |line| place(line, None);
        assert_eq!(read(" tcp_close+0x12/0x340"), at(None, "tcp_close", 0x11));
        assert_eq!(
            read(" ? f+0x10/0x34 [acceltcp]"),
            at(Some("acceltcp"), "f", 0xf)
        );
        assert_eq!(
            read("RIP: 0010:g.cold+0x2/0x34 [acceltcp]"),
            at(Some("acceltcp"), "g.cold", 2)
        );
        let lock = "ffff888(&x->lock){+.-.}-{3:3}, at: h+0x20/0x60 [acceltcp]";
        assert_eq!(read(lock), at(Some("acceltcp"), "h", 0x1f));
        assert_eq!(read("Read of size 8 at addr ffff888004f2b800"), None);
        assert_eq!(read("1 + 2 / 3"), None);
    }

    #[test]
    fn code_of_an_unloaded_module_is_found_by_its_address() {
        let text = Some(Text {
            start: 0xffff_ffff_c000_0000,
        });
        assert_eq!(
            place("    0xffffffffc0000124", text),
            at(Some("acceltcp"), "", 0x123)
        );
        assert_eq!(place("    0xffffffff81000124", text), None);
    }

    #[test]
    fn functions_are_read_from_nm() {
        let table = "\
Symbols from acceltcp.ko:

Name                  Value           Class        Type         Size             Line  Section

f                   |0000000000000010|   T  |              FUNC|0000000000000056|     |.text
__x                 |0000000000000000|   D  |            OBJECT|0000000000000040|     |.data
init_module         |0000000000000010|   T  |              FUNC|000000000000000a|     |.init.text
";
        let found = symbols(table);
        assert_eq!(found.len(), 2);
        assert_eq!(found["init_module"], (".init.text", 0x10));
    }
}
