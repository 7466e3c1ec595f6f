// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The server: one thread, any number of clients, no client that can hold up another one.

use super::request::{answer, refusal};
use super::CardControl;
use crate::wire::port::{poll_for, readable, StopFlag};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest request.
const MAX_LINE: usize = 64 << 10;
/// Bytes of answers that a client may leave unread before its requests are left unread too.
const MAX_UNREAD: usize = 256 << 10;
/// Most clients at a time; more wait for one to leave.
const MAX_CLIENTS: usize = 32;
/// Pause after the listener failed, for instance because the process has no file left.
const LISTENER_PAUSE: Duration = Duration::from_millis(100);

/// A running control socket; it ends when this is dropped.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    stop: Arc<StopFlag>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Listens at `path` for clients that drive `card`. A socket left behind by a dead process is replaced.
    pub fn start(path: &Path, card: Arc<dyn CardControl>) -> io::Result<Self> {
        let context = |err: io::Error| {
            io::Error::new(err.kind(), format!("control {}: {err}", path.display()))
        };
        let listener = listen(path).map_err(context)?;
        let stop = Arc::new(StopFlag::new()?);
        let server = Server {
            listener,
            card,
            stop: stop.clone(),
            clients: Vec::new(),
        };
        let thread = thread::Builder::new().name("control".into());
        let thread = thread.spawn(move || server.run())?;
        Ok(Self {
            path: path.to_owned(),
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
        // It is of no use to anybody any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(err) if err.kind() == ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Err(err);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Server {
    listener: UnixListener,
    card: Arc<dyn CardControl>,
    stop: Arc<StopFlag>,
    clients: Vec<Client>,
}

impl Server {
    fn run(mut self) {
        while !self.stop.is_raised() {
            if let Err(err) = self.turn() {
                eprintln!("control socket ends here: {err}");
                return;
            }
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> io::Result<()> {
        let mut fds = vec![readable(&self.stop)];
        fds.extend(self.clients.iter().map(Client::poll_fd));
        let full = self.clients.len() >= MAX_CLIENTS;
        if !full {
            fds.push(readable(&self.listener));
        }
        poll_for(&mut fds, None)?;
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let card = &*self.card;
        // Index 0 is the stop.
        let mut ready_client = ready[1..].iter();
        self.clients
            .retain_mut(|client| ready_client.next() != Some(&true) || client.serve(card).is_ok());
        if !full && ready.last() == Some(&true) {
            self.accept();
        }
        Ok(())
    }

    fn accept(&mut self) {
        let client = self.listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(Client::new(stream))
        });
        match client {
            Ok(client) => self.clients.push(client),
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(err) => {
                eprintln!("control socket takes no client: {err}");
                // It stays readable: without a pause this would spin.
                let _ = poll_for(&mut [readable(&*self.stop)], Some(LISTENER_PAUSE));
            }
        }
    }
}

struct Client {
    stream: UnixStream,
    /// What came of a line that has not ended yet.
    input: Vec<u8>,
    /// Whether the rest of the line is thrown away.
    oversized: bool,
    /// Answers not written yet.
    output: Vec<u8>,
    /// Whether the client will send nothing more.
    ended: bool,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            oversized: false,
            output: Vec::new(),
            ended: false,
        }
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.output.len() < MAX_UNREAD
    }

    fn poll_fd(&self) -> PollFd<'_> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.wants_input());
        flags.set(PollFlags::OUT, !self.output.is_empty());
        PollFd::new(&self.stream, flags)
    }

    /// Reads, answers and writes what goes without waiting. `Err` when the client is gone.
    fn serve(&mut self, card: &dyn CardControl) -> io::Result<()> {
        if self.wants_input() {
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(len) => self.take(card, &chunk[..len]),
                Err(err) if is_transient(&err) => {}
                Err(err) => return Err(err),
            }
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(len) => drop(self.output.drain(..len)),
                Err(err) if is_transient(&err) => break,
                Err(err) => return Err(err),
            }
        }
        if self.ended && self.output.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Splits what came into lines and answers each.
    fn take(&mut self, card: &dyn CardControl, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            if self.input.len() + text.len() > MAX_LINE {
                self.oversized = true;
                self.input.clear();
            }
            if !self.oversized {
                self.input.extend_from_slice(text);
            }
            if ended {
                self.answer_line(card);
            }
        }
    }

    fn answer_line(&mut self, card: &dyn CardControl) {
        let line = std::mem::take(&mut self.input);
        if std::mem::take(&mut self.oversized) {
            let error = format!("bad request: longer than {MAX_LINE} bytes");
            self.put(&refusal(&error).to_string());
        } else if !line.trim_ascii().is_empty() {
            self.put(&answer(card, &line));
        }
    }

    fn put(&mut self, answer: &str) {
        self.output.extend_from_slice(answer.as_bytes());
        self.output.push(b'\n');
    }
}

fn is_transient(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CardAction;
    use crate::counters::{Counter, Counters, Snapshot};
    use crate::wire::FaultSpec;
    use serde_json::{json, Value};
    use std::io::{BufRead, BufReader};
    use std::sync::Mutex;
    use tempfile::TempDir;

    #[derive(Default)]
    struct Card {
        counters: Counters,
        log: Mutex<Vec<String>>,
    }

    impl Card {
        fn note(&self, text: String) {
            self.log.lock().unwrap().push(text);
        }
    }

    impl CardControl for Card {
        fn counters(&self) -> Snapshot {
            self.counters.snapshot()
        }
        fn set_faults(&self, spec: &str) -> Result<(), String> {
            self.note(format!("faults {spec}"));
            spec.parse::<FaultSpec>()
                .map(|_| ())
                .map_err(|err| err.to_string())
        }
        fn set_link(&self, up: bool) {
            self.note(format!("link {up}"));
        }
        fn card(&self, action: CardAction) -> Result<(), String> {
            self.note(format!("{action:?}"));
            match action {
                CardAction::Resume => Err("not stalled".into()),
                _ => Ok(()),
            }
        }
    }

    struct Bench {
        card: Arc<Card>,
        path: PathBuf,
        _server: ControlServer,
        _dir: TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let card = Arc::new(Card::default());
        Bench {
            _server: ControlServer::start(&path, card.clone()).unwrap(),
            card,
            path,
            _dir: dir,
        }
    }

    struct Talk(BufReader<UnixStream>);

    impl Bench {
        fn client(&self) -> Talk {
            Talk(BufReader::new(UnixStream::connect(&self.path).unwrap()))
        }
    }

    impl Talk {
        fn say(&mut self, text: &[u8]) {
            self.0.get_mut().write_all(text).unwrap();
        }

        fn hear(&mut self) -> Value {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap()
        }

        fn ask(&mut self, text: &str) -> Value {
            self.say(text.as_bytes());
            self.say(b"\n");
            self.hear()
        }
    }

    #[test]
    fn every_command() {
        let bench = bench();
        bench.card.counters.add(Counter::Doorbells, 3);
        let mut client = bench.client();
        let counters = client.ask(r#"{"cmd":"counters"}"#);
        assert_eq!(counters["ok"], true);
        assert_eq!(counters["counters"]["doorbells"], 3);
        assert_eq!(counters["counters"]["drop.filtered"], 0);
        for request in [
            r#"{"cmd":"faults","spec":"loss=0.1"}"#,
            r#"{"cmd":"link","up":false}"#,
            r#"{"cmd":"card","action":"stall"}"#,
            r#"{"action":"garbage","cmd":"card"}"#,
        ] {
            assert_eq!(client.ask(request), json!({ "ok": true }), "{request}");
        }
        let log = bench.card.log.lock().unwrap();
        assert_eq!(*log, ["faults loss=0.1", "link false", "Stall", "Garbage"]);
    }

    #[test]
    fn every_action_has_its_word() {
        for (word, action) in [
            ("stall", CardAction::Stall),
            ("resume", CardAction::Resume),
            ("die", CardAction::Die),
            ("revive", CardAction::Revive),
            ("reset", CardAction::Reset),
            ("garbage", CardAction::Garbage),
        ] {
            assert_eq!(
                serde_json::from_value::<CardAction>(json!(word)).unwrap(),
                action
            );
        }
    }

    #[test]
    fn refusals_say_why_and_the_client_may_go_on() {
        let bench = bench();
        let mut client = bench.client();
        for (request, part) in [
            ("nonsense", "bad request"),
            ("[]", "bad request"),
            (r#"{"cmd":"dance"}"#, "dance"),
            (r#"{"cmd":"link"}"#, "up"),
            (r#"{"cmd":"link","up":1}"#, "bool"),
            (r#"{"cmd":"link","up":true,"down":1}"#, "down"),
            (r#"{"cmd":"counters","x":1}"#, "x"),
            (r#"{"cmd":"card","action":"fly"}"#, "fly"),
            (r#"{"cmd":"card","action":"resume"}"#, "not stalled"),
            (r#"{"cmd":"faults","spec":"loss=2"}"#, "not a probability"),
            ("\u{1}", "bad request"),
        ] {
            let answer = client.ask(request);
            assert_eq!(answer["ok"], false, "{request}");
            let error = answer["error"].as_str().unwrap();
            assert!(error.contains(part), "{request}: {error}");
        }
        client.say(b"\xff\xfe\n");
        assert_eq!(client.hear()["ok"], false);
        assert_eq!(client.ask(r#"{"cmd":"counters"}"#)["ok"], true);
    }

    #[test]
    fn an_oversized_line_is_refused_once() {
        let bench = bench();
        let mut client = bench.client();
        client.say(&vec![b'x'; 3 * MAX_LINE]);
        let error = client.ask("x")["error"].clone();
        assert!(error.as_str().unwrap().contains("longer than"), "{error}");
        let padded = format!("{}{}", " ".repeat(MAX_LINE - 18), r#"{"cmd":"counters"}"#);
        assert_eq!(client.ask(&padded)["ok"], true);
    }

    #[test]
    fn clients_do_not_wait_for_each_other() {
        let bench = bench();
        let mut half = bench.client();
        half.say(br#"{"cmd":"#);
        let mut deaf = bench.client();
        // Answers pile up unread, until the server stops reading.
        deaf.0.get_mut().set_nonblocking(true).unwrap();
        while deaf.0.get_mut().write(b"{\"cmd\":\"counters\"}\n").is_ok() {}
        let mut third = bench.client();
        assert_eq!(third.ask(r#"{"cmd":"counters"}"#)["ok"], true);
        half.say(b"\"counters\"}\n");
        assert_eq!(half.hear()["ok"], true);
    }

    #[test]
    fn requests_and_blank_lines_in_one_piece_are_answered_in_order() {
        let bench = bench();
        let mut client = bench.client();
        client.say(b"{\"cmd\":\"link\",\"up\":true}\n\n \r\nbad\n{\"cmd\":\"counters\"}\n");
        // No more requests; the answers must come all the same.
        client
            .0
            .get_mut()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        assert_eq!(client.hear()["ok"], true);
        assert_eq!(client.hear()["ok"], false);
        assert!(client.hear()["counters"].is_object());
        assert_eq!(client.0.read_line(&mut String::new()).unwrap(), 0);
    }

    #[test]
    fn more_clients_than_allowed_wait_for_their_turn() {
        let bench = bench();
        let mut clients: Vec<_> = (0..MAX_CLIENTS).map(|_| bench.client()).collect();
        for client in &mut clients {
            assert_eq!(client.ask(r#"{"cmd":"counters"}"#)["ok"], true);
        }
        let mut late = bench.client();
        late.say(b"{\"cmd\":\"counters\"}\n");
        drop(clients);
        assert_eq!(late.hear()["ok"], true);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        drop(UnixListener::bind(&path).unwrap());
        let card = Arc::new(Card::default());
        let server = ControlServer::start(&path, card.clone()).unwrap();
        let err = ControlServer::start(&path, card).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::AddrInUse);
        drop(server);
        assert!(!path.exists());
    }
}
