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
//! A proxy that has decided where a connection goes has the card join both connections, and is told when they end:
//!
//! ```no_run
//! use acceltcp_socket::{splice, splice_info, SpliceOptions};
//! use std::{io::{Read, Write}, net::{TcpListener, TcpStream}, time::Duration};
//!
//! # fn main() -> std::io::Result<()> {
//! let (mut client, _) = TcpListener::bind("0.0.0.0:8080")?.accept()?;
//! let mut head = [0; 4096];
//! let length = client.read(&mut head)?;
//! let mut server = TcpStream::connect("192.0.2.1:80")?;
//! server.write_all(&head[..length])?;
//! let idle = Some(Duration::from_secs(300));
//! splice(&client, &server, SpliceOptions { idle, ..SpliceOptions::default() })?;
//! // The card relays. There is nothing to read until the end of both connections.
//! client.read(&mut head)?;
//! println!("{:?}", splice_info(&client)?);
//! # Ok(())
//! # }
//! ```
//!
//! C header: `include/uapi/linux/acceltcp.h`

mod offload;
mod option;
mod splice;
pub mod uapi;

pub use offload::{Offload, UnknownOffload};
pub use option::{offload, set_offload, status, Reason, Status};
pub use splice::{
    splice, splice_info, unsplice, SpliceInfo, SpliceOptions, SpliceReason, SpliceState,
};
