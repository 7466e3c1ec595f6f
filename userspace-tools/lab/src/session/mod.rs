// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Cards, guests and the wire side.
//!
//! A command that uses sessions goes into namespaces of its own first, then boots guests there:
//!
//! ```no_run
//! use lab::{session::{self, Driver, Entered, Session}, util::Layout};
//!
//! fn run(layout: &Layout) -> anyhow::Result<std::process::ExitCode> {
//!     if let Entered::Done(code) = session::enter(layout)? {
//!         return Ok(code);
//!     }
//!     let session = Session::builder().name("ping").driver(Driver::Nfp).start(layout)?;
//!     session.guest().run_ok("ethtool -t nic0")?;
//!     session.wire().run_ok("ping -c 3 10.99.0.2")?;
//!     session.card(0)?.faults("seed=1,loss=0.01")?;
//!     let server = session.guest().spawn("iperf3 -s -1")?;
//!     session.guest().wait_listening(5201, std::time::Duration::from_secs(10))?;
//!     session.wire().run_ok("iperf3 -c 10.99.0.2 -t 2")?;
//!     server.wait_ok()?;
//!     session.shutdown()?; // Fails if the kernel had a problem.
//!     Ok(std::process::ExitCode::SUCCESS)
//! }
//! ```
//!
//! The guest's root is the build root, read-only with a writable overlay in memory; its network
//! interface of card n is `nic<n>` with the addresses 10.99.n.2 and fd99:n::2. Commands of the wire
//! side are programs of the same build root in the network namespace that holds the cards' TAPs
//! `wire<n>`, with 10.99.n.1 and fd99:n::1. Both see the checkout's `build/` as `/build`.
//!
//! One program start can run many sessions one after the other. At the same time only one of them
//! can have a given TAP; further ones need another wire port ([`Builder::wire`]).

mod builder;
mod card;
mod console;
mod driver;
mod guest;
mod isolate;
mod kvm;
mod leaks;
mod machine;
mod process;
mod resolve;
mod tools;
mod wire;

use std::{
    fs::File,
    path::Path,
    process::{Child, ExitStatus},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail, Context, Result};
use lab_count::{Counts, Profile};
use lab_proto::Interface;

use crate::util::Kernel;
use leaks::Left;

pub use builder::{Builder, Clock, Kvm};
pub use card::{Action, Card, Counters};
pub use driver::Driver;
pub use guest::Guest;
pub use isolate::{enter, is_inside, Entered};
pub use lab_proto::{Activity, Size, Status};
pub use process::{Cmd, Output, Piece, Process, Remote};
pub use wire::Wire;

pub(crate) use isolate::{join, patience};
pub(crate) use tools::inner_path;

/// How long the parts of a session may take to end by themselves.
const END: Duration = Duration::from_secs(20);

/// How long the driver may take to register an interface, and that to get its carrier.
const LINK: Duration = Duration::from_secs(30);

/// A running guest with its cards. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Session {
    // Dropped in this order: QEMU before the cards that it uses.
    machine: Mutex<machine::Machine>,
    cards: Vec<Card>,
    guest: Guest,
    wire: Wire,
    console: console::Console,
    counts: Option<File>,
    profile: Option<File>,
    paths: driver::Paths,
    host: u8,
    tap: bool,
    kvm: bool,
    clock: Clock,
    boot_time: Duration,
}

impl Session {
    /// A session with one card, one vCPU and this project's driver, unless set otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The guest.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The wire side.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// A card, counted from 0.
    ///
    /// # Errors
    ///
    /// The session has fewer cards.
    pub fn card(&self, number: usize) -> Result<&Card> {
        self.cards
            .get(number)
            .with_context(|| format!("no card {number}, the session has {}", self.cards.len()))
    }

    /// All cards.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// Guest instructions since the start of the machine.
    ///
    /// # Errors
    ///
    /// The session does not count ([`Builder::count`]).
    pub fn instructions(&self) -> Result<Counts> {
        let file = self.counts.as_ref().context("session does not count")?;
        Counts::read(file).context("counter file")
    }

    /// The kernel's instructions since the start of the machine, by blocks; `None` without
    /// [`Builder::profile`].
    ///
    /// # Errors
    ///
    /// The profile file cannot be read.
    pub fn profile(&self) -> Result<Option<Profile>> {
        let read = |file| Profile::read(file).context("profile file");
        self.profile.as_ref().map(read).transpose()
    }

    /// Whether the guest runs on hardware virtualisation.
    pub fn kvm(&self) -> bool {
        self.kvm
    }

    /// What the guest's clock follows.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Time from the start of the machine to the agent's greeting.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// The log of the guest's console.
    pub fn console(&self) -> &Path {
        self.console.path()
    }

    /// Lines of the guest's console that tell of a kernel problem, such as `WARNING:`.
    ///
    /// # Errors
    ///
    /// The console's log cannot be read.
    pub fn kernel_problems(&self) -> Result<Vec<String>> {
        self.console.problems()
    }

    /// Loads a driver and sets up the interfaces of all cards; waits for their carriers, except
    /// with [`Builder::wire`]. [`Builder::start`] does so for the driver that it was given.
    ///
    /// # Errors
    ///
    /// The module does not load, or an interface does not come up.
    pub fn load_driver(&self, driver: Driver, params: &str) -> Result<()> {
        let loaded = self.guest.read_file("/proc/modules")?;
        let loaded = String::from_utf8_lossy(&loaded);
        for &(name, file) in self.paths.dependencies(driver) {
            let is_it = |line: &str| line.split(' ').next() == Some(name);
            if !loaded.lines().any(is_it) {
                self.guest.load_module(&self.paths.stock(file)?, "")?;
            }
        }
        if let Some(path) = self.paths.module(driver)? {
            self.guest.load_module(&path, params)?;
        }
        match driver {
            Driver::None => Ok(()),
            // The other end of a cable may not be there yet.
            _ => self.set_up(self.tap),
        }
    }

    /// Waits until the wire side knows the guest's address on the link, for sessions that follow others in one process: connections of
    /// the guest before, whose peer is gone, ask for it while this one boots, and what is sent when the kernel gives up to
    /// ask fails at once (EHOSTUNREACH).
    ///
    /// # Errors
    ///
    /// The guest does not answer.
    pub fn wait_reachable(&self) -> Result<()> {
        const LINE: &str =
            "for i in $(seq 20); do ping -q -n -c 1 -W 1 10.99.0.2 && exit 0; sleep 0.1; done; exit 1";
        let pinged = self.wire().run_ok(LINE);
        pinged
            .map(drop)
            .context("the wire side does not reach the guest")
    }

    /// Unloads a driver.
    ///
    /// # Errors
    ///
    /// The module is not loaded, or in use.
    pub fn unload_driver(&self, driver: Driver) -> Result<()> {
        match driver.module_name() {
            Some(module) => self.guest.run_ok(Cmd::new(["rmmod", module])).map(drop),
            None => Ok(()),
        }
    }

    /// Names the interfaces of all cards, gives them their addresses and waits for their carriers.
    ///
    /// # Errors
    ///
    /// An interface does not come up.
    pub fn configure(&self) -> Result<()> {
        self.set_up(true)
    }

    fn set_up(&self, carrier: bool) -> Result<()> {
        for number in 0..self.cards.len() {
            self.guest.configure(Interface {
                device: machine::pci_address(number),
                name: format!("nic{number}"),
                addresses: vec![
                    format!("10.99.{number}.{}/24", self.host),
                    format!("fd99:{number}::{}/64", self.host),
                ],
                carrier,
                timeout: isolate::patience(LINK),
            })?;
        }
        Ok(())
    }

    /// Powers the guest off and waits for the end of all parts.
    ///
    /// # Errors
    ///
    /// A part did not end, or ended badly, or the kernel had a problem.
    pub fn shutdown(self) -> Result<()> {
        let kernel = self.paths.layout().guest_kernel();
        let left = match kernel {
            Kernel::Debug => self.look_for_leaks(),
            Kernel::Stock | Kernel::Kcsan => Ok(Left::default()),
        };
        let ended = self.end();
        let mut reports = self.console.reports()?;
        if kernel == Kernel::Kcsan {
            // The kernel has races of its own, which are not looked for here.
            reports.retain(|report| !report.is_race() || report.mentions("acceltcp"));
        }
        // What the kernel reported may well be why it could not be asked.
        let (left, failed) = match left {
            Ok(left) => (left, None),
            Err(error) => (Left::default(), Some(error)),
        };
        reports.extend(left.reports);
        if !reports.is_empty() {
            let tools = &isolate::current()?.tools;
            let lines = resolve::resolve(tools, self.paths.layout(), &reports, left.text);
            bail!(
                "the guest's kernel had problems, see {}:\n  {}",
                self.console().display(),
                lines.join("\n  ")
            );
        }
        failed.map_or(ended, Err)
    }

    fn end(&self) -> Result<()> {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        self.guest
            .power_off()
            .and_then(|()| machine.finish(isolate::patience(END)))
            .map_err(|error| anyhow!("power off: {error:#}{}", self.console.tail()))?;
        self.cards
            .iter()
            .try_for_each(|card| card.finish(isolate::patience(END)))
    }
}

/// Waits for a child's end.
fn wait_child(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    const INTERVAL: Duration = Duration::from_millis(5);
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            bail!("still runs after {patience:?}");
        }
        thread::sleep(INTERVAL);
    }
}
