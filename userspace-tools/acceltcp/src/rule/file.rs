// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Files of rules: one a line, in the syntax of `policy add`. Quotes and backslashes work as in a shell,
//! and `#` begins a comment.

use std::fmt;

use clap::Parser;

use super::RuleArgs;

/// A line of a file, as a command line.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
struct Options {
    #[command(flatten)]
    rule: RuleArgs,
}

/// A rule of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Number of its line, from 1.
    pub number: usize,
    /// What it says.
    pub rule: RuleArgs,
}

/// A line that cannot be understood, or be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Number of the line, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub what: String,
}

/// All lines of a file that cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes {
    /// Name of the file.
    pub file: String,
    /// The lines, in order.
    pub lines: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Mistake { number, what }) in self.lines.iter().enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{number}: {what}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The rules in `text`, or all its mistakes.
///
/// # Errors
///
/// When a line cannot be understood. `file` is for the message only.
pub fn parse(file: &str, text: &str) -> Result<Vec<Line>, Mistakes> {
    let mut rules = Vec::new();
    let mut mistakes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match parse_line(line) {
            Ok(Some(rule)) => rules.push(Line { number, rule }),
            Ok(None) => {}
            Err(what) => mistakes.push(Mistake { number, what }),
        }
    }
    match mistakes.is_empty() {
        true => Ok(rules),
        false => Err(Mistakes {
            file: file.into(),
            lines: mistakes,
        }),
    }
}

/// The rule in a line; none if it is empty.
fn parse_line(line: &str) -> Result<Option<RuleArgs>, String> {
    let words = shlex::split(line).ok_or("a quote is not closed, or a backslash ends the line")?;
    if words.is_empty() {
        return Ok(None);
    }
    let options = Options::try_parse_from(words).map_err(|error| brief(&error))?;
    Ok(Some(options.rule))
}

/// What clap says, without the hints for a command line, on one line.
fn brief(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraphs = said.split("\n\n");
    let told = paragraphs.take_while(|p| !p.starts_with("Usage:") && !p.starts_with("For more"));
    let lines: Vec<&str> = told.flat_map(str::lines).map(str::trim).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# The web.
--port 80 --offload setup,teardown,defer   # speaks second

  --port 8000-8099 --address 10.0.0.0/8 --uid www-data --priority 10
--cgroup '/user.slice/with space' --offload none --max-data 1460
";

    #[test]
    fn rules_comments_and_quotes() {
        let rules = parse("rules", FILE).unwrap();
        let numbers: Vec<_> = rules.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [2, 4, 5]);
        assert_eq!(rules[0].rule.offload.to_string(), "setup,teardown,defer");
        assert_eq!(rules[1].rule.uid.as_deref(), Some("www-data"));
        assert_eq!(rules[1].rule.offload.to_string(), "setup,teardown");
        let cgroup = rules[2].rule.cgroup.as_deref().unwrap();
        assert_eq!(cgroup.to_str(), Some("/user.slice/with space"));
        assert!(rules[2].rule.offload.is_empty());
        assert!(parse("rules", "").unwrap().is_empty());
    }

    #[test]
    fn all_mistakes_are_told_with_their_lines() {
        let text = "\
--port 80
--port 0
port 80
--prot 80
--port 'x
--max-data 0
--help
--port 1 --port 2
";
        let mistakes = parse("rules", text).unwrap_err();
        let text = mistakes.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert_eq!(
            lines[0],
            "rules:2: invalid value '0' for '--port <N[-M]>': \"0\" is no port from 1 to 65535"
        );
        assert_eq!(lines[1], "rules:3: unexpected argument 'port' found");
        assert!(lines[2].starts_with("rules:4: unexpected argument '--prot' found"));
        assert!(lines[2].contains("--port"), "{text}");
        assert!(lines[3].starts_with("rules:5: a quote is not closed"));
        assert!(lines[4].starts_with("rules:6: invalid value '0' for '--max-data <BYTES>'"));
        assert_eq!(lines[5], "rules:7: unexpected argument '--help' found");
        assert!(lines[6].starts_with("rules:8:") && lines[6].contains("multiple times"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([-a-z0-9 =,/'\"#\\\\\n]|--port |--uid ){0,60}") {
            let _ = parse("rules", &text);
        }
    }
}
