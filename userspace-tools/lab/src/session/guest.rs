// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The guest, through its agent.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{channel, Receiver, RecvTimeoutError, Sender},
        Arc, Mutex, PoisonError,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, Context, Result};
use lab_proto::{
    read_frame, write_frame, Activity, Answer, Ask, Event, Interface, Request, Size, VERSION,
};

use super::{
    isolate::patience,
    process::{Cmd, Control, Events, Output, Process},
};

/// How long an answer may take beyond the time that the request itself allows.
const SLACK: Duration = Duration::from_secs(30);

/// Who waits for which answer. `None` once the connection has ended.
type Waiting = Arc<Mutex<Option<HashMap<u32, Events>>>>;

/// The guest did not come up in time; the reason, with what was seen of it.
#[derive(Debug)]
pub(super) struct NoAgent(pub(super) String);

impl std::fmt::Display for NoAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAgent {}

/// How often the progress of a boot is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// How long a boot may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootLimit {
    pub(super) whole: Duration,
    /// Without a sign of life.
    pub(super) silence: Duration,
}

/// The guest of a session.
#[derive(Clone, Debug)]
pub struct Guest {
    link: Arc<Link>,
}

#[derive(Debug)]
struct Link {
    stream: Mutex<UnixStream>,
    waiting: Waiting,
    next: AtomicU32,
}

impl Guest {
    /// Waits for the agent at the other end of `stream`: for `limit.whole` at most, and no longer than `limit.silence`
    /// without a change of `progress`.
    pub(super) fn connect(
        stream: UnixStream,
        limit: BootLimit,
        progress: impl Fn() -> u64,
    ) -> Result<Self> {
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let reader = stream.try_clone().context("agent's stream")?;
        let (hello, greeting) = channel();
        let dispatch = Arc::clone(&waiting);
        thread::spawn(move || receive(reader, &hello, &dispatch));
        let begun = Instant::now();
        let (mut last, mut changed) = (progress(), begun);
        let greeted = loop {
            let greeted = greeting.recv_timeout(GLANCE.min(limit.silence));
            if greeted != Err(RecvTimeoutError::Timeout) {
                break greeted;
            }
            let now = progress();
            if now != last {
                (last, changed) = (now, Instant::now());
            }
            if begun.elapsed() >= limit.whole || changed.elapsed() >= limit.silence {
                break greeted;
            }
        };
        match greeted {
            Ok(VERSION) => Ok(Self {
                link: Arc::new(Link {
                    stream: Mutex::new(stream),
                    waiting,
                    next: AtomicU32::new(1),
                }),
            }),
            Ok(other) => bail!("agent speaks version {other} of the protocol, not {VERSION}"),
            Err(RecvTimeoutError::Timeout) => {
                let (whole, silent) = (begun.elapsed().as_secs(), changed.elapsed().as_secs());
                Err(NoAgent(format!("no agent after {whole} s, silent for {silent} s")).into())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the virtual machine ended"),
        }
    }

    /// Runs a command to its end, whatever its status.
    ///
    /// # Errors
    ///
    /// It cannot be started, takes too long, or the guest is gone.
    pub fn run(&self, cmd: impl Into<Cmd>) -> Result<Output> {
        self.spawn(cmd)?.wait()
    }

    /// Runs a command, which must succeed, and returns its standard output.
    ///
    /// # Errors
    ///
    /// As [`Guest::run`], or the status is not 0.
    pub fn run_ok(&self, cmd: impl Into<Cmd>) -> Result<String> {
        self.spawn(cmd)?.wait_ok()
    }

    /// Starts a command. That it cannot be started is told by [`Process::wait`].
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn spawn(&self, cmd: impl Into<Cmd>) -> Result<Process> {
        let cmd = cmd.into();
        let (id, answers) = self.ask(Ask::Run(cmd.command.clone()))?;
        let link = Arc::clone(&self.link);
        Process::new(cmd, answers, Arc::new(Handle { id, link }))
    }

    /// The TCP ports that listen, ascending.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn listening(&self) -> Result<Vec<u16>> {
        match self.call(Ask::Listening, Duration::ZERO)? {
            Answer::Ports(ports) => Ok(ports),
            other => unexpected(&other),
        }
    }

    /// Waits until `port` listens.
    ///
    /// # Errors
    ///
    /// It does not within `timeout`.
    pub fn wait_listening(&self, port: u16, timeout: Duration) -> Result<()> {
        self.wait_port(Some(port), Vec::new(), timeout).map(drop)
    }

    /// Waits until a port listens that is not in `known`, and returns it.
    ///
    /// # Errors
    ///
    /// There is none within `timeout`.
    pub fn wait_new_port(&self, known: Vec<u16>, timeout: Duration) -> Result<u16> {
        self.wait_port(None, known, timeout)
    }

    fn wait_port(&self, port: Option<u16>, known: Vec<u16>, timeout: Duration) -> Result<u16> {
        let timeout = patience(timeout);
        let ask = Ask::WaitListening {
            port,
            known,
            timeout,
        };
        match self.call(ask, timeout)? {
            Answer::Ports(ports) => ports.first().copied().context("no port"),
            other => unexpected(&other),
        }
    }

    /// Loads a kernel module from a file that the guest sees.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub fn load_module(&self, path: &str, params: &str) -> Result<()> {
        let ask = Ask::LoadModule {
            path: path.into(),
            params: params.into(),
        };
        self.done(ask, Duration::ZERO)
    }

    /// Names a network interface, gives it addresses and waits for its carrier.
    ///
    /// # Errors
    ///
    /// There is no such interface, or no carrier, within the time allowed.
    pub fn configure(&self, interface: Interface) -> Result<()> {
        let timeout = interface.timeout * 2;
        self.done(Ask::Configure(interface), timeout)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        match self.call(Ask::ReadFile(path.into()), Duration::ZERO)? {
            Answer::File(bytes) => Ok(bytes),
            other => unexpected(&other),
        }
    }

    /// Reads the guest's clock and its kernel's counters.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub fn activity(&self) -> Result<Activity> {
        match self.call(Ask::Activity, Duration::ZERO)? {
            Answer::Activity(activity) => Ok(activity),
            other => unexpected(&other),
        }
    }

    /// Has the guest power itself off; does not wait.
    pub(super) fn power_off(&self) -> Result<()> {
        self.link.send(0, Ask::PowerOff)
    }

    fn done(&self, ask: Ask, timeout: Duration) -> Result<()> {
        match self.call(ask, timeout)? {
            Answer::Done => Ok(()),
            other => unexpected(&other),
        }
    }

    fn call(&self, ask: Ask, timeout: Duration) -> Result<Answer> {
        let (id, answers) = self.ask(ask)?;
        let limit = timeout + patience(SLACK);
        match answers.recv_timeout(limit) {
            Ok(Answer::Failed(reason)) => bail!("guest: {reason}"),
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => {
                self.link.forget(id);
                bail!("guest: no answer after {limit:?}")
            }
            Err(RecvTimeoutError::Disconnected) => bail!("guest: the virtual machine ended"),
        }
    }

    fn ask(&self, ask: Ask) -> Result<(u32, Receiver<Answer>)> {
        let id = self.link.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = channel();
        match &mut *self.link.lock() {
            Some(waiting) => waiting.insert(id, sender),
            None => bail!("guest: the virtual machine ended"),
        };
        self.link.send(id, ask)?;
        Ok((id, answers))
    }
}

impl Link {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u32, Events>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: u32) {
        if let Some(waiting) = &mut *self.lock() {
            waiting.remove(&id);
        }
    }

    fn send(&self, id: u32, ask: Ask) -> Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *stream, &Request { id, ask }).context("guest: send")
    }
}

/// The way to a process in the guest.
struct Handle {
    id: u32,
    link: Arc<Link>,
}

impl Control for Handle {
    fn stdin(&self, bytes: Vec<u8>) -> Result<()> {
        for piece in bytes.chunks(lab_proto::MAX_PIECE) {
            self.link.send(self.id, Ask::Stdin(piece.to_vec()))?;
        }
        Ok(())
    }

    fn close_stdin(&self) -> Result<()> {
        self.link.send(self.id, Ask::CloseStdin)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.link.send(self.id, Ask::Signal(signal))
    }

    fn resize(&self, size: Size) -> Result<()> {
        self.link.send(self.id, Ask::Resize(size))
    }
}

/// Receives until the stream ends, and passes each answer to who waits for it.
fn receive(mut stream: UnixStream, hello: &Sender<u32>, waiting: &Waiting) {
    loop {
        match read_frame::<Event>(&mut stream) {
            Ok(Some(Event::Hello { version })) => {
                // Nobody waits if the time was over.
                let _ = hello.send(version);
            }
            Ok(Some(Event::Answer { id, answer })) => {
                let last = !matches!(answer, Answer::Stdout(_) | Answer::Stderr(_));
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(waiting) = &mut *waiting else { return };
                // Who gave up waiting is no concern here.
                let _ = match (last, waiting.get(&id)) {
                    (_, None) => Ok(()),
                    (false, Some(events)) => events.send(answer),
                    (true, Some(_)) => waiting.remove(&id).map_or(Ok(()), |e| e.send(answer)),
                };
            }
            Ok(None) => break,
            Err(error) => {
                eprintln!("lab: guest's agent: {error}");
                break;
            }
        }
    }
    // Drops all senders: who waits learns that nothing will come.
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn unexpected<T>(answer: &Answer) -> Result<T> {
    bail!("guest: unexpected answer {answer:?}")
}

#[cfg(test)]
mod tests {
    use lab_proto::Status;

    use super::*;

    const LIMIT: BootLimit = BootLimit {
        whole: Duration::from_secs(10),
        silence: Duration::from_secs(10),
    };

    fn agent(serve: impl FnOnce(UnixStream) + Send + 'static) -> Guest {
        let (here, mut there) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            write_frame(&mut there, &Event::Hello { version: VERSION }).unwrap();
            serve(there);
        });
        Guest::connect(here, LIMIT, || 0).unwrap()
    }

    fn answer(stream: &mut UnixStream, id: u32, answer: Answer) {
        write_frame(stream, &Event::Answer { id, answer }).unwrap();
    }

    #[test]
    fn answers_in_any_order_reach_their_commands() {
        let guest = agent(|mut stream| {
            let ids = [(); 2].map(|()| read_frame::<Request>(&mut stream).unwrap().unwrap().id);
            for id in ids.into_iter().rev() {
                answer(&mut stream, id, Answer::Stdout(id.to_string().into_bytes()));
            }
            for id in ids {
                answer(
                    &mut stream,
                    id,
                    Answer::Exit(Status::Exited(id.cast_signed())),
                );
            }
        });
        let (first, second) = (guest.spawn("a").unwrap(), guest.spawn("b").unwrap());
        for (process, id) in [(second, 2), (first, 1)] {
            let output = process.wait().unwrap();
            assert_eq!(output.stdout, id.to_string());
            assert_eq!(output.status, Status::Exited(id));
        }
    }

    #[test]
    fn failure_is_told_with_its_reason() {
        let guest = agent(|mut stream| {
            let id = read_frame::<Request>(&mut stream).unwrap().unwrap().id;
            answer(&mut stream, id, Answer::Failed("no such file".into()));
        });
        let error = guest.read_file("/x").unwrap_err();
        assert_eq!(error.to_string(), "guest: no such file");
    }

    #[test]
    fn end_of_the_machine_ends_all_waiting() {
        let guest = agent(|mut stream| {
            read_frame::<Request>(&mut stream).unwrap();
        });
        assert!(guest.run("sleep 1000").is_err());
        assert!(guest.listening().is_err());
    }

    #[test]
    fn a_silent_machine_is_given_up_before_its_time() {
        let (here, _there) = UnixStream::pair().unwrap();
        let limit = BootLimit {
            whole: Duration::MAX,
            silence: Duration::from_millis(10),
        };
        assert!(Guest::connect(here, limit, || 0)
            .unwrap_err()
            .is::<NoAgent>());
        // One that goes on has its whole time.
        let (here, _there) = UnixStream::pair().unwrap();
        let limit = BootLimit {
            whole: Duration::from_millis(30),
            silence: Duration::from_millis(20),
        };
        let glances = AtomicU32::new(0);
        let progress = || u64::from(glances.fetch_add(1, Ordering::Relaxed));
        assert!(Guest::connect(here, limit, progress)
            .unwrap_err()
            .is::<NoAgent>());
        assert!(glances.load(Ordering::Relaxed) > 2);
    }

    #[test]
    fn other_version_is_refused() {
        let (here, mut there) = UnixStream::pair().unwrap();
        write_frame(&mut there, &Event::Hello { version: 0 }).unwrap();
        let error = Guest::connect(here, LIMIT, || 0).unwrap_err();
        assert!(error.to_string().contains("version 0"), "{error}");
    }
}
