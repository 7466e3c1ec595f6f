// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Long steps: what is going on, for how long, and where its output is.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        mpsc::{self, RecvTimeoutError},
        Mutex, PoisonError,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{bail, Context, Result};

use super::{process, Layout};

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 20;
/// Between two signs of life on a terminal.
const TICK_TERMINAL: Duration = Duration::from_secs(1);
/// Between two signs of life in a file.
const TICK_PLAIN: Duration = Duration::from_secs(20);

/// Steps that have ended in this process, with the time that each took.
static ENDED: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// The steps that have ended so far, in the order of their ends.
pub(crate) fn ended() -> Vec<(String, Duration)> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// One step, shown from its start to its end. Dropped without [`Step::done`] it has failed.
#[derive(Debug)]
pub struct Step {
    title: String,
    log: PathBuf,
    start: Instant,
    ticker: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    complete: bool,
}

impl Step {
    /// Starts a step whose output goes to `build/log/NAME.log`.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn start(layout: &Layout, name: &str, title: &str) -> Result<Self> {
        let folder = layout.log();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = folder.join(format!("{name}.log"));
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;

        let terminal = io::stderr().is_terminal();
        if !terminal {
            eprintln!("lab: {title} ...");
        }
        let start = Instant::now();
        let (stop, stopped) = mpsc::channel();
        let shown = title.to_owned();
        let ticker = thread::spawn(move || tick(&shown, start, terminal, &stopped));
        Ok(Self {
            title: title.to_owned(),
            log,
            start,
            ticker: Some((stop, ticker)),
            complete: false,
        })
    }

    /// The step's log, for programs that write it themselves.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Runs a command whose output goes to the step's log.
    ///
    /// # Errors
    ///
    /// The command failed; the error holds the last lines of the log and its path.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let log = File::options().append(true).open(&self.log)?;
        let status = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .with_context(|| format!("cannot run {}", process::name(command)))?;
        if !status.success() {
            bail!(
                "could not {} ({status})\n{}\nThe whole output is in {}",
                self.title,
                tail(&self.log, TAIL_LINES),
                self.log.display()
            );
        }
        Ok(())
    }

    /// Ends the step well.
    pub fn done(mut self) {
        self.complete = true;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some((stop, ticker)) = self.ticker.take() {
            drop(stop);
            // A panic there has already been printed.
            let _ = ticker.join();
        }
        ENDED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((self.title.clone(), self.start.elapsed()));
        let word = if self.complete { "done" } else { "failed" };
        let start = if io::stderr().is_terminal() {
            "\r\x1b[K"
        } else {
            ""
        };
        eprintln!(
            "{start}lab: {}: {word} ({:.1} s)",
            self.title,
            self.start.elapsed().as_secs_f32()
        );
    }
}

fn tick(title: &str, start: Instant, terminal: bool, stopped: &mpsc::Receiver<()>) {
    let period = if terminal { TICK_TERMINAL } else { TICK_PLAIN };
    loop {
        if terminal {
            eprint!("\r\x1b[Klab: {title} ... {} s", start.elapsed().as_secs());
            // Nobody can be told that the terminal is gone.
            let _ = io::stderr().flush();
        }
        match stopped.recv_timeout(period) {
            Err(RecvTimeoutError::Timeout) if !terminal => {
                eprintln!("lab: {title} ... {} s", start.elapsed().as_secs());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The last `lines` lines of a file, empty when it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    /// More than twenty lines of any use.
    const LIMIT: u64 = 16 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LIMIT)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let kept = &all[all.len().saturating_sub(lines)..];
    kept.iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_the_last_lines_and_the_log() {
        let folder = std::env::temp_dir().join(format!("lab-step-{}", std::process::id()));
        let layout = Layout::at(&folder);
        let step = Step::start(&layout, "numbers", "count").expect("writable");
        step.run(Command::new("seq").arg("5")).expect("seq works");
        let error = step
            .run(Command::new("sh").args(["-c", "seq 100 140; exit 7"]))
            .expect_err("status 7 is a failure")
            .to_string();
        assert!(error.contains("could not count"), "{error}");
        assert!(error.contains("    121\n"), "{error}");
        assert!(!error.contains("    120\n"), "{error}");
        assert!(error.contains("build/log/numbers.log"), "{error}");
        drop(step);
        fs::remove_dir_all(&folder).expect("removable");
    }
}
