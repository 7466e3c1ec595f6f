// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a session is made of, and its start.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU32, Ordering},
        Mutex,
    },
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure, Context, Result};

use super::{
    card::{Card, Settings},
    console::Console,
    driver::{Driver, Paths},
    guest::{BootLimit, Guest, NoAgent},
    isolate, kvm,
    machine::{Config, Machine},
    tools::inner_path,
    wire::Wire,
    Session,
};
use crate::{
    setup::Facts,
    util::{Kernel, Layout},
};

/// How long the guest may take to boot.
const BOOT: Duration = Duration::from_secs(120);
/// How long it may print nothing; the longest pause of one that boots is some 2 s on a quiet machine.
const SILENCE: Duration = Duration::from_secs(15);

/// Files of the counting plugin in the session's folder.
const COUNTS: &str = "count";
const PROFILE: &str = "profile";

/// Most cards of a guest: one PCI slot each, and one subnet.
const MAX_CARDS: usize = 8;

/// Whether to use hardware virtualisation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Kvm {
    /// If it really runs a guest, and nothing is counted.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What a guest's clock and timers follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Clock {
    /// The clock on the wall. An emulated guest is slow by it, and a busy machine makes it slower: a
    /// timer expires after fewer instructions then.
    Wall,
    /// Executed instructions, a nanosecond each, while the guest runs; the wall while it is idle.
    /// Emulated guests only; all vCPUs share a thread.
    Instructions,
}

impl Clock {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Instructions => "instructions",
        }
    }
}

/// Settings of a session; see [`Session::builder`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Builder {
    name: String,
    vcpus: u32,
    cards: usize,
    memory_mb: u32,
    driver: Driver,
    params: String,
    append: Vec<String>,
    count: bool,
    profile: bool,
    kvm: Kvm,
    clock: Option<Clock>,
    host: u8,
    settings: Settings,
    boot: Duration,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: "session".into(),
            vcpus: 1,
            cards: 1,
            memory_mb: 1024,
            driver: Driver::default(),
            params: String::new(),
            append: Vec::new(),
            count: false,
            profile: false,
            kvm: Kvm::default(),
            clock: None,
            host: 2,
            settings: Settings::default(),
            boot: BOOT,
        }
    }
}

impl Builder {
    /// Names the logs: `build/log/<name>-console.log` and so on. Default: `session`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Number of vCPUs. Default: 1.
    pub fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Raises the number of vCPUs to `vcpus`.
    pub(crate) fn at_least_vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = self.vcpus.max(vcpus);
        self
    }

    /// Number of cards, 0 to 8. Default: 1.
    pub fn cards(mut self, cards: usize) -> Self {
        self.cards = cards;
        self
    }

    /// Memory of the guest in MiB. Default: 1024.
    pub fn memory_mb(mut self, memory_mb: u32) -> Self {
        self.memory_mb = memory_mb;
        self
    }

    /// The driver that is loaded after the boot. Default: this project's.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// Parameters of the driver's module.
    pub fn module_params(mut self, params: &str) -> Self {
        self.params = params.into();
        self
    }

    /// One more parameter of the kernel.
    pub fn append(mut self, parameter: &str) -> Self {
        self.append.push(parameter.into());
        self
    }

    /// Faults of the wire of all cards, such as `seed=1,loss=0.01`.
    pub fn faults(mut self, spec: &str) -> Self {
        self.settings.faults = Some(spec.into());
        self
    }

    /// Captures the wire; with several cards the number of the card is put before the extension.
    pub fn pcap(mut self, path: &Path) -> Self {
        self.settings.wire_pcap = Some(path.to_path_buf());
        self
    }

    /// Captures what passes between host and card; else as [`Builder::pcap`].
    pub fn host_pcap(mut self, path: &Path) -> Self {
        self.settings.host_pcap = Some(path.to_path_buf());
        self
    }

    /// Last part of the guest's addresses on all cards. Default: 2. Guests back to back need
    /// different ones.
    pub fn host(mut self, host: u8) -> Self {
        self.host = host;
        self
    }

    /// Wire port of the cards, as the model takes it; a TAP `wire<n>` otherwise. Paths are relative
    /// to the session's folder: `unix:../link.sock` joins two sessions of one program start.
    pub fn wire(mut self, spec: &str) -> Self {
        self.settings.wire = Some(spec.into());
        self
    }

    /// Further arguments of the model, for all cards.
    pub fn model_args<I: IntoIterator>(mut self, args: I) -> Self
    where
        I::Item: Into<String>,
    {
        self.settings.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Counts guest instructions ([`Session::instructions`]). Default: no.
    pub fn count(mut self, count: bool) -> Self {
        self.count = count;
        self
    }

    /// Counts guest instructions, those of the kernel by blocks too ([`Session::profile`]). Default: no.
    pub fn profile(mut self, profile: bool) -> Self {
        self.profile = profile;
        self.count |= profile;
        self
    }

    /// Hardware virtualisation. Default: automatic.
    pub fn kvm(mut self, kvm: Kvm) -> Self {
        self.kvm = kvm;
        self
    }

    /// What the guest's clock follows. Default: executed instructions if they are counted
    /// ([`Builder::count`]), else the wall.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Time limit of the boot. Default: 120 s.
    pub(super) fn boot_limit(mut self, limit: Duration) -> Self {
        self.boot = limit;
        self
    }

    /// Starts the cards, boots the guest, loads the driver and sets up the interfaces.
    ///
    /// # Errors
    ///
    /// [`super::enter`] was not called, a part does not start, or the guest does not boot in time.
    pub fn start(self, layout: &Layout) -> Result<Session> {
        match self.start_once(layout) {
            // An emulated machine whose clocks jump, as they do on a host that is busy with other things,
            // may stop before it gets to run anything. That says nothing about what is to be tested.
            Err(error) if error.is::<NoAgent>() => {
                eprintln!("lab: {error:#}; trying once more");
                self.start_once(layout)
            }
            result => result,
        }
    }

    fn start_once(&self, layout: &Layout) -> Result<Session> {
        ensure!(
            self.cards <= MAX_CARDS,
            "{} cards, at most {MAX_CARDS}",
            self.cards
        );
        ensure!(self.vcpus > 0, "a guest needs a vCPU");
        ensure!(
            self.driver != Driver::Nfp || !layout.guest_kernel().is_built(),
            "only the stock kernel has the upstream driver"
        );
        let run = isolate::current()?;
        let facts = Facts::load(layout)?;
        let kvm = match self.kvm {
            Kvm::On => true,
            Kvm::Off => false,
            Kvm::Auto => {
                !self.count
                    && self.clock != Some(Clock::Instructions)
                    && kvm::works(layout, &facts)?
            }
        };
        let clock = self.clock.unwrap_or(match self.count {
            true => Clock::Instructions,
            false => Clock::Wall,
        });
        ensure!(
            !(kvm && clock == Clock::Instructions),
            "only an emulated guest's clock can follow instructions"
        );
        let dir = new_dir(&run.dir)?;
        let base = self.log_base(layout, run.number)?;
        let log = |part: &str| PathBuf::from(format!("{}-{part}.log", base.display()));

        let console = Console::new(log("console"));
        let file = |wanted: bool, name: &str, size: usize| {
            let new = || plugin_file(&dir.join(name), size);
            wanted.then(new).transpose()
        };
        let counts = file(self.count, COUNTS, lab_count::FILE_SIZE)?;
        let profile = file(self.profile, PROFILE, lab_count::PROFILE_SIZE)?;
        let cards = self.start_cards(layout, &dir, log)?;
        let config = self.machine_config(layout, &facts, &dir, &console, (kvm, clock))?;
        let started = Instant::now();
        let (machine, port) = Machine::start(&config, &dir, &log("qemu"), &run.tools)?;
        let kernel = layout.guest_kernel();
        let limit = BootLimit {
            whole: kernel.patience(self.boot),
            silence: kernel.patience(SILENCE),
        };
        let guest = Guest::connect(port, limit, || console.size()).map_err(|error| {
            let logs = [machine.tail(), console.tail()].concat();
            let text = format!("boot the guest: {error:#}{logs}");
            match error.downcast::<NoAgent>() {
                Ok(_) => anyhow::Error::new(NoAgent(text)),
                Err(_) => anyhow!(text),
            }
        })?;
        let session = Session {
            machine: Mutex::new(machine),
            cards,
            guest,
            wire: Wire::new(run.tools.clone()),
            console,
            counts,
            profile,
            paths: Paths {
                layout: layout.clone(),
                release: facts.kernel_release,
            },
            host: self.host,
            tap: self.settings.wire.is_none(),
            kvm,
            clock,
            boot_time: started.elapsed(),
        };
        session
            .load_driver(self.driver, &self.params)
            .map_err(|error| {
                let name = self.driver.name();
                anyhow!("load driver {name}: {error:#}{}", session.console.tail())
            })?;
        Ok(session)
    }

    fn start_cards(
        &self,
        layout: &Layout,
        dir: &Path,
        log: impl Fn(&str) -> PathBuf,
    ) -> Result<Vec<Card>> {
        let run = isolate::current()?;
        let program = layout.bin().join("agilio-model");
        (0..self.cards)
            .map(|number| {
                let mut settings = self.settings.clone();
                for path in [&mut settings.wire_pcap, &mut settings.host_pcap]
                    .into_iter()
                    .flatten()
                {
                    // The model runs in the session's folder.
                    *path = std::path::absolute(numbered(path, number, self.cards))?;
                }
                let log = log(&format!("card{number}"));
                Card::start(number, &program, dir, log, &settings, &run.tools)
            })
            .collect()
    }

    fn machine_config(
        &self,
        layout: &Layout,
        facts: &Facts,
        dir: &Path,
        console: &Console,
        (kvm, clock): (bool, Clock),
    ) -> Result<Config> {
        let guest = layout.guest_kernel();
        let image = facts.image(layout);
        let kernel = match guest {
            Kernel::Stock => {
                let inner = image
                    .strip_prefix(layout.root())
                    .context("kernel outside of the build root")?;
                format!("/{}", inner.display())
            }
            _ => inner_path(layout, &image)?,
        };
        let mut append: Vec<String> = checks(guest).iter().map(|p| (*p).into()).collect();
        append.extend(self.append.iter().cloned());
        let dir = inner_path(layout, dir)?;
        let count = match self.count {
            true => {
                let plugin = inner_path(layout, &layout.lib().join("liblab_count.so"))?;
                let profile = match self.profile {
                    true => format!(",profile={dir}/{PROFILE}"),
                    false => String::new(),
                };
                Some(format!("{plugin},counters={dir}/{COUNTS}{profile}"))
            }
            false => None,
        };
        Ok(Config {
            vcpus: self.vcpus,
            memory_mb: memory_mb(guest, self.memory_mb),
            cards: self.cards,
            kvm,
            clock,
            // While KASAN's kernel looks at its CPU, an interrupt finds no shadow for five.
            four_levels: guest.is_built(),
            kernel,
            append,
            console: inner_path(layout, console.path())?,
            dir,
            count,
        })
    }

    /// Path of the logs without their ends. Runs that go on at the same time get names of their own.
    fn log_base(&self, layout: &Layout, run: u32) -> Result<PathBuf> {
        let logs = layout.log();
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let name = match run {
            1 => self.name.clone(),
            _ => format!("{}.{run}", self.name),
        };
        Ok(logs.join(name))
    }
}

/// Parameters with which a kernel makes the most of its checks.
///
/// An emulated CPU keeps what it has translated of a page until it sees a write to it. It does not see
/// those of virtiofsd, so that a page of code that is used again for other code would be run as it was.
/// The distribution's kernel zeroes pages when they are allocated, and so must all others.
fn checks(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::Stock => &[],
        // Every report, not only the first; no complaint about a slow machine; and no interface that
        // nobody has asked for.
        Kernel::Debug => &[
            "init_on_alloc=1",
            "watchdog_thresh=60",
            "dummy.numdummies=0",
            "kasan_multi_shot",
        ],
        Kernel::Kcsan => &[
            "init_on_alloc=1",
            "watchdog_thresh=60",
            "dummy.numdummies=0",
        ],
    }
}

/// Memory for a guest that would have `memory_mb` with the stock kernel: an eighth is KASAN's, and
/// more is what the checkers remember.
fn memory_mb(kernel: Kernel, memory_mb: u32) -> u32 {
    match kernel {
        Kernel::Stock => memory_mb,
        _ => memory_mb.saturating_mul(3) / 2,
    }
}

/// A new folder for a session.
fn new_dir(run: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let dir = run.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// A file that the counting plugin maps.
fn plugin_file(path: &Path, size: usize) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    file.set_len(size as u64)?;
    Ok(file)
}

/// `x.pcapng` of card 1 is `x.1.pcapng` if there are several.
fn numbered(path: &Path, number: usize, cards: usize) -> PathBuf {
    if cards < 2 {
        return path.to_path_buf();
    }
    let end = path.extension().unwrap_or_default().to_string_lossy();
    path.with_extension(format!("{number}.{end}").trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_of_several_cards_are_apart() {
        let path = Path::new("/x/a.pcapng");
        assert_eq!(numbered(path, 0, 1), path);
        assert_eq!(numbered(path, 1, 2), Path::new("/x/a.1.pcapng"));
        assert_eq!(numbered(Path::new("/x/a"), 1, 2), Path::new("/x/a.1"));
    }
}
