// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The machine's own package mirror and apt's settings for reaching it.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result};

use crate::util::process;

/// apt's settings that matter for reaching a mirror.
const SETTINGS: &[&str] = &[
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Check-",
    "Acquire::ForceIPv",
    "Acquire::Languages",
    "Acquire::Retries",
];

/// One package index that apt is configured for.
#[derive(Debug)]
struct Target<'a> {
    uri: &'a str,
    release: &'a str,
    component: &'a str,
    origin: &'a str,
}

/// The mirror of Debian's main archive that this machine's apt uses. apt itself reads its
/// configuration, so both forms of source files and all their options are understood.
///
/// # Errors
///
/// apt has no such mirror configured.
pub(crate) fn from_apt() -> Result<String> {
    let text = process::capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
        "Identifier: Packages",
    ]))?;
    choose(&text, &|path| fs::read_to_string(path).ok()).context(
        "found no mirror of Debian's main archive in apt's configuration: \
         name one with `lab setup --mirror URL`",
    )
}

/// The machine's settings for reaching the mirror, in the form of apt.conf.
///
/// # Errors
///
/// apt-config does not run.
pub(crate) fn apt_settings() -> Result<String> {
    let text = process::capture(Command::new("apt-config").args(["dump", "Acquire"]))?;
    Ok(settings(&text))
}

fn settings(dump: &str) -> String {
    dump.lines()
        .filter(|line| SETTINGS.iter().any(|prefix| line.starts_with(prefix)))
        // A program that finds proxies is not there inside the root.
        .filter(|line| !line.ends_with(" \"\";") && !line.contains("Auto-Detect"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn choose(text: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let targets: Vec<Target<'_>> = text.lines().filter_map(parse).collect();
    let with_updates: BTreeSet<&str> = targets
        .iter()
        .filter(|target| target.release.ends_with("-updates"))
        .map(|target| target.uri)
        .collect();
    targets
        .iter()
        .filter(|target| target.component == "main" && !target.release.contains(['-', '/']))
        .filter_map(|target| {
            let uri = resolve(target.uri, read)?;
            // The origin is known once the lists were fetched. Other archives' sources may name
            // the same release and component, so one sign of Debian's own is asked for.
            let known = !target.origin.is_empty() && !target.origin.starts_with("$(");
            if known && target.origin != "Debian" {
                return None;
            }
            let signs = 4 * i32::from(known)
                + 2 * i32::from(with_updates.contains(target.uri))
                + i32::from(uri.ends_with("/debian"));
            (signs > 0).then_some((signs, uri))
        })
        // The first of the best, as apt itself prefers.
        .rev()
        .max_by_key(|(signs, _)| *signs)
        .map(|(_, uri)| uri)
}

fn parse(line: &str) -> Option<Target<'_>> {
    let mut fields = line.split('|');
    Some(Target {
        uri: fields.next()?,
        release: fields.next()?,
        component: fields.next()?,
        origin: fields.next()?,
    })
}

/// A plain address, without a slash at its end. `mirror+file:` (as on cloud images) names a file
/// with one address a line.
fn resolve(uri: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let plain = |uri: &str| {
        ["http://", "https://"]
            .iter()
            .any(|scheme| uri.starts_with(scheme))
            .then(|| uri.trim_end_matches('/').to_owned())
    };
    match uri.strip_prefix("mirror+file:") {
        Some(path) => {
            let path = format!("/{}", path.trim_matches('/'));
            read(&path)?
                .lines()
                .filter_map(|line| plain(line.split_whitespace().next()?))
                .next()
        }
        None => plain(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn prefers_the_archive_that_says_it_is_debian() {
        let text = "\
https://apt.example.com/|bookworm|main|Example
http://mirror.example.org/debian/|bookworm|main|Debian
http://mirror.example.org/debian/|bookworm-updates|main|Debian
http://mirror.example.org/debian-security/|bookworm-security|main|Debian
";
        assert_eq!(
            choose(text, &none).as_deref(),
            Some("http://mirror.example.org/debian")
        );
    }

    #[test]
    fn works_before_the_lists_were_fetched() {
        let text = "\
https://apt.example.com/|bookworm|main|$(ORIGIN)
https://proxy.example.net/cache/deb/|bookworm|main|$(ORIGIN)
https://proxy.example.net/cache/deb/|bookworm-updates|main|$(ORIGIN)
";
        assert_eq!(
            choose(text, &none).as_deref(),
            Some("https://proxy.example.net/cache/deb")
        );
        assert_eq!(
            choose("https://apt.example.com/|bookworm|main|\n", &none),
            None
        );
        assert_eq!(choose("", &none), None);
    }

    #[test]
    fn follows_mirror_files() {
        let read = |path: &str| {
            (path == "/etc/apt/mirrors/debian.list")
                .then(|| "# ours\nhttps://deb.example.org/debian priority:1\n".to_owned())
        };
        let text = "mirror+file:///etc/apt/mirrors/debian.list/|trixie|main|\n";
        assert_eq!(
            choose(text, &read).as_deref(),
            Some("https://deb.example.org/debian")
        );
    }

    #[test]
    fn keeps_only_settings_that_say_something() {
        let dump = "\
Acquire \"\";
Acquire::http \"\";
Acquire::http::Proxy \"http://proxy.example.net:3128\";
Acquire::http::Proxy-Auto-Detect \"/usr/local/bin/find-proxy\";
Acquire::https::CaInfo \"\";
Acquire::Check-Valid-Until \"false\";
Acquire::GzipIndexes \"true\";
";
        assert_eq!(
            settings(dump),
            "Acquire::http::Proxy \"http://proxy.example.net:3128\";\n\
             Acquire::Check-Valid-Until \"false\";\n"
        );
    }
}
