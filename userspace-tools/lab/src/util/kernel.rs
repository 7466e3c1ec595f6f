// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kernels that a guest can run.

use std::time::Duration;

/// The guest's kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Kernel {
    /// The distribution's, unmodified
    #[default]
    Stock,
    /// Its source with checks of memory, locks, RCU, DMA and object lives, and fault injection
    Debug,
    /// Its source with checks for data races
    Kcsan,
}

impl Kernel {
    /// Its name, as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Debug => "debug",
            Self::Kcsan => "kcsan",
        }
    }

    /// Whether the lab builds it itself.
    pub fn is_built(self) -> bool {
        self != Self::Stock
    }

    /// Scales a time limit that suits a quiet machine and the stock kernel.
    ///
    /// Limits end what hangs; they judge nothing. So they leave room for a machine that is busy with other
    /// tests, and for checks of the kernel, which take three to five times as long.
    pub fn patience(self, limit: Duration) -> Duration {
        let factor = if self.is_built() { 10 } else { 3 };
        limit.saturating_mul(factor)
    }

    /// `name`, with the kernel's own behind it unless it is the stock one.
    pub(crate) fn suffixed(self, name: &str) -> String {
        match self {
            Self::Stock => name.to_owned(),
            _ => format!("{name}-{}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stock_keeps_plain_names() {
        assert_eq!(Kernel::Stock.suffixed("module"), "module");
        assert_eq!(Kernel::Debug.suffixed("module"), "module-debug");
        assert_ne!(Kernel::Kcsan.suffixed("x"), Kernel::Debug.suffixed("x"));
    }
}
