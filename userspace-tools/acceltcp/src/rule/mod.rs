// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rules of the policy as operators write them: options of `policy add`, and lines of a file.

mod args;
mod file;
mod ports;
mod prefix;
mod save;

pub use args::RuleArgs;
pub use file::{parse, Line, Mistake, Mistakes};
pub use ports::Ports;
pub use prefix::Prefix;
pub use save::line;
