// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Socket options of AccelTCP: what a TCP socket asks of the card, and what it has.
//!
//! ```no_run
//! use acceltcp_socket::{set_offload, status, Offload};
//!
//! # fn main() -> std::io::Result<()> {
//! let listener = std::net::TcpListener::bind("0.0.0.0:8080")?;
//! set_offload(&listener, Offload::SETUP | Offload::DEFER)?;
//! println!("{:?}", status(&listener)?);
//! # Ok(())
//! # }
//! ```
//!
//! The options may be set before or after `listen()`. The card is told by the driver some time after
//! both have happened; until then, and whenever the card cannot, the host sets connections up as ever.
//!
//! C header: `include/uapi/linux/acceltcp.h`

mod offload;
mod option;
pub mod uapi;

pub use offload::{Offload, UnknownOffload};
pub use option::{offload, set_offload, status, Reason, Status};
