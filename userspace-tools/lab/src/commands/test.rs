// SPDX-License-Identifier: GPL-2.0 OR MIT

//! `lab test`.

use std::{
    collections::BTreeSet,
    fs, hint,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    build,
    session::{self, Entered},
    setup::{self, haproxy},
    tests::{
        self, chain, debug, runner,
        schedule::{self, Job},
        select, summary, LabTest,
    },
    util::{Kernel, Layout},
};

/// Arguments of `lab test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Beginnings of names, or globs; `unit` means the unit and property tests. All tests without, and
    /// all lab tests of this project's driver with a kernel that is not the stock one
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Show the guest's console and all output
    #[arg(short = 'V', long)]
    pub verbose: bool,
    /// Tests that run at the same time; without it two for each processor if there is memory, and 1 with --verbose
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// Run everything so many times, and say which tests failed how often
    #[arg(long, default_value_t = 1, hide_default_value = true, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Run up to N failed lab tests a second time, alone, and list those that pass then as flaky. A run with more
    /// failures than that stays as it is
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub again: usize,
    /// Keep every processor busy with other work meanwhile
    #[arg(long)]
    pub load: bool,
    /// vCPUs of each guest; tests that need more have more
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub vcpus: u32,
    /// List the lab tests
    #[arg(long)]
    pub list: bool,
    /// Run these lab tests in this process
    #[arg(long, hide = true, value_name = "NAME")]
    pub one: Vec<String>,
}

/// Runs the command.
///
/// # Errors
///
/// The set-up or the build failed. Failing tests are no error, but an exit status.
pub fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    if !args.one.is_empty() {
        return inside(layout, args);
    }
    if args.list {
        for test in tests::all() {
            println!("{:24} {}", test.name, test.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut tally = runner::Tally::default();
    match all(args, layout, &mut tally) {
        Ok(()) => {}
        // The count stays the last line, whatever happens.
        Err(error) => {
            println!("FAILED: {error:#}");
            tally.failed += 1;
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(ExitCode::from(u8::from(tally.failed > 0)))
}

/// Runs all chosen tests.
fn all(args: &Args, layout: &Layout, tally: &mut runner::Tally) -> Result<()> {
    setup::check_machine()?;
    let tests = tests::all();
    let (jobs, filters) = choose(args, layout, &tests);
    let labs = || {
        jobs.iter().filter_map(|job| match job {
            Job::Lab(test) => Some(*test),
            Job::Unit(_) => None,
        })
    };
    if let Some(test) = labs().find(|test| injects(test)) {
        anyhow::ensure!(
            layout.guest_kernel() == Kernel::Debug,
            "{} needs `--kernel debug`",
            test.name
        );
    }
    if labs().next().is_some() {
        let facts = build::ensure(layout)?;
        if labs().any(LabTest::needs_debs) {
            build::debs(layout, &facts)?;
        }
        if labs().any(LabTest::needs_haproxy) {
            haproxy::ensure(layout, false)?;
        }
    }
    let workers = match args.jobs {
        _ if args.verbose => 1,
        Some(jobs) => jobs.into(),
        None => workers(),
    };
    let options = runner::Options {
        vcpus: args.vcpus,
        verbose: args.verbose,
    };
    let busy = args.load.then(Busy::start);
    let mut runs = Vec::new();
    for number in 1..=args.repeat {
        if args.repeat > 1 {
            println!("== run {number} of {}", args.repeat);
        }
        let mut run = schedule::run(layout, &jobs, workers, options)?;
        let failed = run.failed(&tests);
        if !failed.is_empty() && failed.len() <= args.again {
            println!("== failed tests a second time, alone");
            let jobs: Vec<Job<'_>> = failed.into_iter().map(Job::Lab).collect();
            run.supersede(schedule::run(layout, &jobs, 1, options)?);
        }
        tally.add(run.tally());
        if let Some(filter) = filters
            .iter()
            .find(|filter| !run.units.iter().any(|unit| unit.found(filter)))
        {
            anyhow::bail!(
                "no test has a name like {filter}; `lab test --list` lists the lab tests"
            );
        }
        runs.push(run);
    }
    drop(busy);
    print!("{}", summary::stages(&runs));
    print!("{}", summary::flaky(&runs));
    if args.repeat > 1 {
        print!("{}", summary::repetitions(&runs));
    }
    Ok(())
}

/// The jobs that are meant, and the names among them that must be those of unit tests.
fn choose<'a>(
    args: &'a Args,
    layout: &Layout,
    tests: &'a [LabTest],
) -> (Vec<Job<'a>>, BTreeSet<&'a str>) {
    let mut jobs: Vec<Job<'a>> = tests
        .iter()
        .filter(|test| {
            by_default(layout, args, test)
                || args
                    .names
                    .iter()
                    .any(|name| select::matches(name, &test.name))
        })
        .filter(|test| match test.lacks(layout) {
            // A test that is asked for by its whole name runs in any case.
            Some(lack) if !args.names.contains(&test.name) => {
                println!("skipped {}: {lack}", test.name);
                false
            }
            _ => true,
        })
        .map(Job::Lab)
        .collect();
    // A name that is no lab test's is a filter for the unit tests.
    let filters: BTreeSet<&str> = args
        .names
        .iter()
        .filter(|name| !tests.iter().any(|test| select::matches(name, &test.name)))
        .map(|name| if name == "unit" { "" } else { name.as_str() })
        .collect();
    jobs.extend(filters.iter().copied().map(Job::Unit));
    if args.names.is_empty() && !layout.guest_kernel().is_built() {
        jobs.push(Job::Unit(""));
    }
    (jobs, filters)
}

/// Threads that compute without end, one for each processor.
struct Busy {
    stop: Arc<AtomicBool>,
}

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        Self { stop }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How many tests run at the same time. Most wait now and then, for timers and for peers: one for each processor leaves
/// processors idle.
fn workers() -> usize {
    /// What a test may use: the guest's memory, its cards, its programs.
    const NEEDS: u64 = 2 << 30;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let room = available_memory().map_or(1, |bytes| {
        usize::try_from(bytes / NEEDS).unwrap_or(usize::MAX)
    });
    (2 * processors).min(room).max(1)
}

/// Bytes of memory that programs can still have (proc_meminfo(5): MemAvailable).
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Whether a test runs though nobody named it. Other kernels than the stock one are there to watch
/// this project's module, and one of them has faults to inject.
fn by_default(layout: &Layout, args: &Args, test: &LabTest) -> bool {
    args.names.is_empty()
        && !test.name.starts_with(tests::LONG)
        && match layout.guest_kernel() {
            Kernel::Stock => !injects(test),
            Kernel::Debug => !test.name.starts_with("upstream-") && !test.needs_debs(),
            Kernel::Kcsan => {
                !test.name.starts_with("upstream-") && !test.needs_debs() && !injects(test)
            }
        }
}

fn injects(test: &LabTest) -> bool {
    test.name.starts_with(debug::PREFIX)
}

/// Runs lab tests in namespaces of their own.
fn inside(layout: &Layout, args: &Args) -> Result<ExitCode> {
    let tests = args
        .one
        .iter()
        .map(|name| tests::named(name))
        .collect::<Result<Vec<_>>>()?;
    if let Entered::Done(code) = session::enter(layout)? {
        return Ok(code);
    }
    match tests.as_slice() {
        [test] if args.verbose => {
            let console = layout.log().join(format!("{}-console.log", test.name));
            // What an earlier run left would be shown first.
            let _ = fs::remove_file(&console);
            thread::spawn(move || follow(&console));
            chain::shown(layout, test, args.vcpus)?;
        }
        tests => chain::run(layout, tests, args.vcpus)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what is appended to a file, until this process ends. The file may not be there yet, or
/// begin anew.
fn follow(path: &Path) {
    const INTERVAL: Duration = Duration::from_millis(200);
    let mut shown = 0;
    loop {
        if let Ok(mut file) = fs::File::open(path) {
            let length = file.metadata().map_or(0, |data| data.len());
            if length < shown {
                shown = 0;
            }
            let mut bytes = Vec::new();
            if file.seek(SeekFrom::Start(shown)).is_ok() && file.read_to_end(&mut bytes).is_ok() {
                shown += bytes.len() as u64;
                // Whoever watched is gone if this fails.
                let _ = std::io::stdout().write_all(&bytes);
            }
        }
        thread::sleep(INTERVAL);
    }
}
