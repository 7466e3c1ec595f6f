// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Colours.

use std::fmt;

/// What a text says by its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// Of little interest.
    Weak,
    /// As it should be.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
}

impl Tone {
    /// `text` in its colour, if `color`.
    pub fn paint(self, color: bool, text: impl fmt::Display) -> String {
        let code = match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Weak => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
        };
        match color && !code.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_used_when_asked_for() {
        assert_eq!(Tone::Good.paint(true, "up"), "\x1b[32mup\x1b[0m");
        assert_eq!(Tone::Good.paint(false, "up"), "up");
        assert_eq!(Tone::Plain.paint(true, "up"), "up");
    }
}
