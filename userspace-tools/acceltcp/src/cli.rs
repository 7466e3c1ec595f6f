// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The command line.

use clap::{Parser, Subcommand, ValueEnum};

use crate::{commands, manual};

/// Shows and steers TCP offloads to the NIC
///
/// Without a command it shows the status.
#[derive(Debug, Parser)]
#[command(name = "acceltcp", version, after_help = manual::EXIT_STATUS.to_string(), after_long_help = manual::epilogue())]
pub struct Cli {
    /// Write JSON
    #[arg(short, long, global = true)]
    pub json: bool,
    /// When to use colours; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to use them, for output that goes to a terminal or not.
    pub fn resolve(self, terminal: bool) -> bool {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => terminal && !unwanted,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show cards, listeners and policy on one screen
    Status(commands::status::Args),
    /// Show counters
    Stats(commands::stats::Args),
    /// Show listening sockets, and why the host serves them
    Listeners,
    /// Show the connections that cards end
    Flows(commands::flows::Args),
    /// Show spliced pairs of connections
    Splices(commands::splices::Args),
    /// Show and change the rules for unmodified applications
    #[command(subcommand)]
    Policy(commands::policy::Command),
    /// Show and change access lists, by which cards drop frames of the wire
    #[command(subcommand)]
    Acl(commands::acl::Command),
    /// Show and change how full cards may get
    Limits(commands::limits::Args),
    /// Keys of the cards' cookies
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// Print events of cards and of spliced pairs as they come
    ///
    /// A table that is nearly full, or is not any more, is an event, and so is the end of a spliced pair. A card that comes, or changes its state, is an event; one that goes is not, but ip monitor link tells of its
    /// network device.
    Monitor,
    /// Show cards, rates of counters and listeners as they change
    Top(commands::top::Args),
    /// Look for what keeps offloads from working, and say what to do
    Doctor,
    /// Write the man pages, or completions for a shell
    #[command(subcommand, hide = true)]
    Generate(commands::generate::Command),
}

impl Default for Command {
    fn default() -> Self {
        Self::Status(commands::status::Args::default())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_status_is_shown_unless_something_else_is_asked_for() {
        let cli = Cli::try_parse_from(["acceltcp", "-j"]).unwrap();
        assert!(cli.json && cli.command.is_none());
        assert!(matches!(Command::default(), Command::Status(_)));
    }

    #[test]
    fn colours_are_for_terminals() {
        assert!(!Color::Auto.resolve(false));
        assert!(Color::Always.resolve(false) && !Color::Never.resolve(true));
    }
}
