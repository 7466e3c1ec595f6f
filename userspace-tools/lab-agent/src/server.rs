// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The server: requests in, events out.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{bail, Context, Result};
use lab_proto::{read_frame, write_frame, Activity, Answer, Ask, Event, Request, PORT, VERSION};
use nix::{
    sys::signal::{kill, Signal},
    time::{clock_gettime, ClockId},
};

use crate::{init::load_module, link, listening, process::Process};

/// The way back to the lab; frames of all threads go through one lock.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Mutex<File>>);

impl Outlet {
    /// An outlet into the port.
    pub(crate) fn new(port: File) -> Self {
        Self(Arc::new(Mutex::new(port)))
    }

    /// Sends an answer. If the lab is gone, reading will tell.
    pub(crate) fn answer(&self, id: u32, answer: Answer) {
        self.send(&Event::Answer { id, answer });
    }

    fn send(&self, event: &Event) {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write_frame(&mut *port, event) {
            eprintln!("lab-agent: send: {error}");
        }
    }
}

/// Running commands by request id. A command removes itself when it ends.
pub(crate) type Processes = Arc<Mutex<HashMap<u32, Process>>>;

/// Serves until the lab asks for the power to be switched off or goes away.
///
/// # Errors
///
/// There is no port, or it fails.
pub(crate) fn serve() -> Result<()> {
    let path = find_port()?;
    let mut port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    let outlet = Outlet::new(port.try_clone()?);
    let processes = Processes::default();
    link::up("lo").context("lo")?;
    outlet.send(&Event::Hello { version: VERSION });
    while let Some(request) = read_frame::<Request>(&mut port).context("receive")? {
        let Request { id, ask } = request;
        match ask {
            Ask::PowerOff => {
                stop_all(&processes);
                return Ok(());
            }
            Ask::Run(command) => {
                if let Err(error) = Process::start(id, command, &outlet, &processes) {
                    outlet.answer(id, Answer::Failed(format!("{error:#}")));
                }
            }
            Ask::Stdin(bytes) => with(&processes, id, |process| process.feed(bytes)),
            Ask::CloseStdin => with(&processes, id, Process::close),
            Ask::Resize(size) => with(&processes, id, |process| process.resize(size)),
            Ask::Signal(signal) => with(&processes, id, |process| process.signal(signal)),
            other => {
                let outlet = outlet.clone();
                thread::spawn(move || {
                    let answer =
                        answer(other).unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
                    outlet.answer(id, answer);
                });
            }
        }
    }
    stop_all(&processes);
    Ok(())
}

/// Requests that are answered once.
fn answer(ask: Ask) -> Result<Answer> {
    match ask {
        Ask::Listening => Ok(Answer::Ports(listening::ports()?.into_iter().collect())),
        Ask::WaitListening {
            port,
            known,
            timeout,
        } => Ok(Answer::Ports(vec![listening::wait(port, &known, timeout)?])),
        Ask::LoadModule { path, params } => load_module(&path, &params).map(|()| Answer::Done),
        Ask::Configure(interface) => link::configure(&interface).map(|()| Answer::Done),
        Ask::Activity => activity().map(Answer::Activity),
        Ask::ReadFile(path) => Ok(Answer::File(fs::read(&path).context(path)?)),
        Ask::Run(_)
        | Ask::Stdin(_)
        | Ask::CloseStdin
        | Ask::Resize(_)
        | Ask::Signal(_)
        | Ask::PowerOff => bail!("not a request that is answered once"),
    }
}

/// Reads the clock and the kernel's counters.
fn activity() -> Result<Activity> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_string());
    Ok(Activity {
        clock: clock_gettime(ClockId::CLOCK_MONOTONIC_RAW)
            .context("clock")?
            .into(),
        interrupts: read("/proc/interrupts")?,
        stat: read("/proc/stat")?,
    })
}

fn with(processes: &Processes, id: u32, act: impl FnOnce(&mut Process)) {
    let mut processes = processes.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(process) = processes.get_mut(&id) {
        act(process);
    }
}

/// Ends everything but the two processes of this program.
fn stop_all(processes: &Processes) {
    let processes = processes.lock().unwrap_or_else(PoisonError::into_inner);
    for process in processes.values() {
        if let Err(error) = kill(process.group(), Signal::SIGKILL) {
            eprintln!("lab-agent: kill {}: {error}", process.group());
        }
    }
}

/// Finds the device of the port named [`PORT`]; there is no udev that would link it.
fn find_port() -> Result<PathBuf> {
    let class = "/sys/class/virtio-ports";
    let entries = fs::read_dir(class).context(class)?;
    for entry in entries.collect::<io::Result<Vec<_>>>()? {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT {
            return Ok(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    bail!("no virtio-serial port named {PORT}")
}
