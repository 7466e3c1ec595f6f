// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The life of the process: puts the parts together, serves one VMM, takes them apart.

use crate::cli::Cli;
use crate::control::ControlServer;
use crate::counters::Counters;
use crate::device::card::{Card, Parts};
use crate::device::control::Controller;
use crate::device::imem;
use crate::device::registers::Identity;
use crate::device::server;
use crate::device::worker::Workers;
use crate::wire::{self, Capture, Options};
use acceltcp_abi::tlv::features;
use anyhow::{bail, Context};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

/// Runs a card until its VMM goes away or SIGTERM or SIGINT comes, or prints its memory map.
///
/// # Errors
///
/// When something that the command line names cannot be opened, or the VMM's stream breaks.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    let nic = match cli.plain {
        false => imem::stack(cli.tables.capacity()),
        true => imem::plain(),
    }
    .context("the tables do not fit the card's memory")?;
    if cli.memory_map {
        print!("{}", imem::Map::of(&nic));
        return Ok(());
    }
    let (Some(socket), Some(wire_spec)) = (&cli.socket, &cli.wire) else {
        bail!("a card needs a socket and a wire");
    };
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot take signals")?;
    let counters = Arc::new(Counters::new());
    let known_card = Arc::new(OnceLock::<Weak<Card>>::new());
    let listener = known_card.clone();
    let wire = wire::open(
        &Options {
            wire: wire_spec.clone(),
            queues: usize::from(cli.workers),
            capture: cli.wire_pcap.clone(),
            faults: cli.faults,
        },
        counters.clone(),
        Box::new(move |up| {
            if let Some(card) = listener.get().and_then(Weak::upgrade) {
                card.set_peer(up);
            }
        }),
    )
    .context("cannot open the wire")?;
    let identity = Identity {
        mac: cli.mac,
        rings: usize::from(cli.rings),
        format: cli.datapath,
        features: (!cli.plain).then_some(
            features::SETUP
                | features::TEARDOWN
                | features::SPLICE
                | features::ACL
                | features::FLOWS
                | features::OWNERS,
        ),
    };
    let host_capture = match &cli.host_pcap {
        Some(path) => Some(Capture::create(path, "host").context("cannot capture")?),
        None => None,
    };
    let card = Arc::new(Card::new(Parts {
        identity,
        nic,
        workers: usize::from(cli.workers),
        wire: wire.clone(),
        host_capture,
        counters,
    }));
    known_card.get_or_init(|| Arc::downgrade(&card));
    card.set_peer(wire.link_up());

    let workers = Workers::start(&card).context("cannot start a thread")?;
    let control = match &cli.control {
        Some(path) => {
            let controller = Controller::new(card.clone(), wire, cli.faults);
            let server = ControlServer::start(path, Arc::new(controller));
            Some(server.context("cannot open the control socket")?)
        }
        None => None,
    };
    let server = server::listen(socket, &card)
        .with_context(|| format!("cannot listen at {}", socket.display()))?;
    println!("ready");
    std::io::stdout().flush().context("cannot say ready")?;

    let (ended, end) = mpsc::channel();
    let served = ended.clone();
    let served_card = card.clone();
    // Left behind on a signal: it is blocked on its socket, and the process ends.
    thread::spawn(move || served.send(server::serve(&server, served_card)));
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = ended.send(Ok(()));
        }
    });
    let result = end.recv().context("the server is gone")?;

    drop(control);
    workers.stop();
    let _ = std::fs::remove_file(socket);
    result.context("the VMM's stream broke")
}
