// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A port on a UNIX socket, back to back with a second card.
//!
//! Whoever holds the lock file next to the socket listens; the other one connects. The lock goes with
//! its process, thus either card may come first, and either may die and come back.

use super::buffer::{Filled, FrameBuf};
use super::port::{poll_for, readable, LinkListener, Port, Sent, StopFlag, Taken};
use crate::counters::DropReason;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{flock, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, sockopt, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a frame waits for room in the other card's queue.
const FULL_WAIT: Duration = Duration::from_millis(10);
/// How long a card that neither listens nor found the listener waits before it looks again.
const SEEK_WAIT: Duration = Duration::from_millis(100);
/// Bytes of frames that may be under way; the kernel may allow less.
const QUEUE_BYTES: usize = 4 << 20;

/// One end of a wire between two cards.
pub struct UnixPort {
    path: Option<PathBuf>,
    link: Mutex<Link>,
    on_link: LinkListener,
    stop: StopFlag,
}

#[derive(Default)]
struct Link {
    peer: Option<Arc<OwnedFd>>,
    /// The peer has gone, which nobody was told yet.
    ended: bool,
    listener: Option<Listener>,
}

struct Listener {
    socket: Arc<OwnedFd>,
    /// Held for as long as the socket listens.
    _lock: OwnedFd,
}

impl UnixPort {
    /// A port at `path`, connected if the other card is there already.
    pub fn open(path: &Path, on_link: LinkListener) -> io::Result<Self> {
        let port = Self {
            path: Some(path.to_owned()),
            link: Mutex::default(),
            on_link,
            stop: StopFlag::new()?,
        };
        port.seek()?;
        Ok(port)
    }

    /// The two ends of a wire inside one process.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) = net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let end = |socket| -> io::Result<Self> {
            Ok(Self {
                path: None,
                link: Mutex::new(Link {
                    peer: Some(Arc::new(socket)),
                    ended: false,
                    listener: None,
                }),
                on_link: Box::new(|_| {}),
                stop: StopFlag::new()?,
            })
        };
        Ok((end(a)?, end(b)?))
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self) -> Option<Arc<OwnedFd>> {
        self.link().peer.clone()
    }

    fn listener(&self) -> Option<Arc<OwnedFd>> {
        self.link().listener.as_ref().map(|l| l.socket.clone())
    }

    fn set_peer(&self, peer: OwnedFd) {
        // More room only helps; the kernel's default does too.
        let _ = sockopt::set_socket_send_buffer_size(&peer, QUEUE_BYTES);
        let mut link = self.link();
        link.peer = Some(Arc::new(peer));
        link.ended = false;
        drop(link);
        (self.on_link)(true);
    }

    /// Forgets `peer`, unless another one took its place.
    fn lose_peer(&self, peer: &Arc<OwnedFd>) {
        let lost = {
            let mut link = self.link();
            let same = link.peer.as_ref().is_some_and(|p| Arc::ptr_eq(p, peer));
            same && link.peer.take().is_some()
        };
        if lost {
            (self.on_link)(false);
        }
    }

    /// Connects to the other card, or becomes the one that listens.
    fn seek(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let context = |err: Errno| {
            let err = io::Error::from(err);
            io::Error::new(err.kind(), format!("wire {}: {err}", path.display()))
        };
        if let Some(lock) = try_lock(path).map_err(context)? {
            let socket = listen(path).map_err(context)?;
            self.link().listener = Some(Listener {
                socket: Arc::new(socket),
                _lock: lock,
            });
            return Ok(());
        }
        match connect(path) {
            Ok(peer) => self.set_peer(peer),
            // The listener is about to listen, or about to die.
            Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) => {}
            Err(err) => return Err(context(err)),
        }
        Ok(())
    }

    /// Takes a card that connects; refuses it when another one is there and alive.
    fn accept(&self, listener: &OwnedFd) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let newcomer = match net::accept_with(listener, flags) {
            Ok(newcomer) => newcomer,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
            Err(err) => return Err(err.into()),
        };
        if let Some(peer) = self.peer() {
            let mut fds = [PollFd::new(&peer, PollFlags::empty())];
            if poll_for(&mut fds, Some(Duration::ZERO))? == 0 {
                return Ok(());
            }
            self.lose_peer(&peer);
        }
        self.set_peer(newcomer);
        Ok(())
    }

    /// Tells that the peer has gone, if it has, and looks for another one. False when it has not.
    fn see_end(&self) -> io::Result<bool> {
        let ended = {
            let mut link = self.link();
            std::mem::take(&mut link.ended).then(|| link.peer.clone())
        };
        let Some(peer) = ended else {
            return Ok(false);
        };
        if let Some(peer) = peer {
            self.lose_peer(&peer);
        }
        if self.listener().is_none() {
            self.seek()?;
        }
        Ok(true)
    }

    /// Notes that `peer` has gone, unless another one took its place.
    fn note_end(&self, peer: &Arc<OwnedFd>) {
        let mut link = self.link();
        if link.peer.as_ref().is_some_and(|p| Arc::ptr_eq(p, peer)) {
            link.ended = true;
        }
    }
}

impl Port for UnixPort {
    fn send(&self, _queue: usize, frame: &[u8], _csum_valid: bool) -> io::Result<Sent> {
        let Some(peer) = self.peer() else {
            return Ok(Sent::NoLink);
        };
        let mut waited = false;
        loop {
            match net::send(&peer, frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return Ok(Sent::Done),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) if waited => return Ok(Sent::Full),
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    let mut fds = [PollFd::new(&peer, PollFlags::OUT)];
                    poll_for(&mut fds, Some(FULL_WAIT))?;
                    waited = true;
                }
                // `take` sees the same, and `wait` tells of it.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Ok(Sent::NoLink),
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn wait(&self, _queue: usize, timeout: Option<Duration>) -> io::Result<bool> {
        if self.see_end()? {
            return Ok(!self.stop.is_raised());
        }
        let (peer, listener) = (self.peer(), self.listener());
        let mut fds = vec![readable(&self.stop)];
        fds.extend(peer.iter().map(|p| readable(p)));
        fds.extend(listener.iter().map(|l| readable(l)));
        let seeking = peer.is_none() && listener.is_none() && self.path.is_some();
        let limit = if seeking {
            Some(timeout.map_or(SEEK_WAIT, |t| t.min(SEEK_WAIT)))
        } else {
            timeout
        };
        poll_for(&mut fds, limit)?;
        let knock = listener.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        if let (true, Some(listener)) = (knock, &listener) {
            self.accept(listener)?;
        }
        if seeking {
            self.seek()?;
        }
        Ok(!self.stop.is_raised())
    }

    fn take(&self, _queue: usize, buffer: &mut FrameBuf) -> io::Result<Taken> {
        let Some(peer) = self.peer() else {
            return Ok(Taken::Nothing);
        };
        let read = |bytes: &mut [u8]| {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            net::recv(&peer, bytes, flags).map(|(_, len)| len)
        };
        loop {
            return match buffer.fill(0, read) {
                // An empty frame is not one; this is the end.
                Ok(Filled::Frame) if buffer.frame().is_empty() => {
                    self.note_end(&peer);
                    Ok(Taken::Nothing)
                }
                Err(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN) => {
                    self.note_end(&peer);
                    Ok(Taken::Nothing)
                }
                Ok(Filled::Frame) => Ok(Taken::Frame),
                Ok(Filled::TooLong | Filled::NoHeader) => Ok(Taken::Dropped(DropReason::TooLong)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(Taken::Nothing),
                Err(err) => Err(err.into()),
            };
        }
    }

    fn stop(&self) {
        self.stop.raise();
    }

    fn link_up(&self) -> bool {
        self.link().peer.is_some()
    }
}

impl Drop for UnixPort {
    fn drop(&mut self) {
        // With the lock still held, the socket is this card's own.
        if let (Some(path), Some(_)) = (&self.path, self.listener()) {
            let _ = rustix::fs::unlink(path);
        }
    }
}

/// Takes the lock that makes a card the listener, or `None` while the other card has it.
fn try_lock(path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let lock = rustix::fs::open(&name, flags, Mode::RUSR | Mode::WUSR)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(err) => Err(err),
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Listens at `path`. To be called with the lock held: a socket that is there has lost its owner.
fn listen(path: &Path) -> rustix::io::Result<OwnedFd> {
    let address = net::SocketAddrUnix::new(path)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(err) => return Err(err),
    }
    let socket = socket()?;
    net::bind(socket.as_fd(), &address)?;
    net::listen(socket.as_fd(), 4)?;
    Ok(socket)
}

fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let address = net::SocketAddrUnix::new(path)?;
    let socket = socket()?;
    net::connect(socket.as_fd(), &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn silent() -> LinkListener {
        Box::new(|_| {})
    }

    fn send(port: &UnixPort, frame: &[u8]) -> Sent {
        port.send(0, frame, false).unwrap()
    }

    /// Waits for a frame, for one that is dropped (`Err`), or for the stop (`None`).
    fn recv(port: &UnixPort) -> Option<Result<Vec<u8>, DropReason>> {
        let mut buffer = FrameBuf::new(64);
        loop {
            match port.take(0, &mut buffer).unwrap() {
                Taken::Frame => return Some(Ok(buffer.frame().to_vec())),
                Taken::Dropped(reason) => return Some(Err(reason)),
                Taken::Nothing if !port.wait(0, None).unwrap() => return None,
                Taken::Nothing => {}
            }
        }
    }

    #[test]
    fn a_pair_passes_frames_whole() {
        let (a, b) = UnixPort::pair().unwrap();
        assert_eq!(send(&a, &[7; 60]), Sent::Done);
        assert_eq!(send(&a, &[8; 20]), Sent::Done);
        assert_eq!(recv(&b), Some(Ok(vec![7; 60])));
        assert_eq!(recv(&b), Some(Ok(vec![8; 20])));
        let nothing = b.take(0, &mut FrameBuf::new(64)).unwrap();
        assert_eq!(nothing, Taken::Nothing);
        assert!(b.wait(0, Some(Duration::ZERO)).unwrap());
    }

    #[test]
    fn a_frame_longer_than_the_buffer_is_dropped_alone() {
        let (a, b) = UnixPort::pair().unwrap();
        send(&a, &[1; 65]);
        send(&a, &[2; 64]);
        assert_eq!(recv(&b), Some(Err(DropReason::TooLong)));
        assert_eq!(recv(&b), Some(Ok(vec![2; 64])));
    }

    #[test]
    fn stop_wakes_a_blocked_recv() {
        let (a, _b) = UnixPort::pair().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| recv(&a));
            a.stop();
            assert_eq!(waiter.join().unwrap(), None);
        });
    }

    #[test]
    fn a_full_queue_is_told_and_not_waited_for() {
        let (a, b) = UnixPort::pair().unwrap();
        let full = (0..100_000).any(|_| send(&a, &[0; 1500]) == Sent::Full);
        assert!(full);
        drop(b);
        assert_eq!(send(&a, &[0; 1500]), Sent::NoLink);
    }

    #[test]
    fn either_card_may_come_first_die_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wire");
        let (events, seen) = mpsc::channel();
        let first = UnixPort::open(&path, Box::new(move |up| events.send(up).unwrap())).unwrap();
        assert!(!first.link_up());
        assert_eq!(send(&first, &[0; 60]), Sent::NoLink);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut frames = Vec::new();
                while let Some(frame) = recv(&first) {
                    frames.push(frame.unwrap());
                }
                frames
            });
            for round in 0..3 {
                let second = UnixPort::open(&path, silent()).unwrap();
                assert!(second.link_up());
                assert_eq!(send(&second, &[round; 60]), Sent::Done);
                assert!(seen.recv().unwrap());
                drop(second);
                assert!(!seen.recv().unwrap());
            }
            first.stop();
            let frames = reader.join().unwrap();
            assert_eq!(frames, [[0; 60], [1; 60], [2; 60]]);
        });
    }

    #[test]
    fn the_card_that_connected_listens_when_the_listener_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wire");
        let first = UnixPort::open(&path, silent()).unwrap();
        let (events, seen) = mpsc::channel();
        let second = UnixPort::open(&path, Box::new(move |up| events.send(up).unwrap())).unwrap();
        assert!(seen.recv().unwrap());
        thread::scope(|scope| {
            let reader = scope.spawn(|| recv(&second));
            drop(first);
            assert!(!seen.recv().unwrap());
            let third = loop {
                // Until the second card has seen the lock go, the third one may be first.
                let third = UnixPort::open(&path, silent()).unwrap();
                if third.link_up() {
                    break third;
                }
                drop(third);
                thread::sleep(Duration::from_millis(1));
            };
            assert!(seen.recv().unwrap());
            send(&third, &[5; 60]);
            assert_eq!(reader.join().unwrap().unwrap().unwrap().len(), 60);
        });
    }

    #[test]
    fn a_third_card_is_refused_while_two_are_connected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wire");
        let first = UnixPort::open(&path, silent()).unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(|| recv(&first));
            let second = UnixPort::open(&path, silent()).unwrap();
            let third = UnixPort::open(&path, silent()).unwrap();
            // The end of the third one's connection is the refusal.
            let refused = third.peer().unwrap();
            let mut fds = [readable(&refused)];
            poll_for(&mut fds, None).unwrap();
            assert_eq!(send(&second, &[9; 60]), Sent::Done);
            assert_eq!(reader.join().unwrap().unwrap().unwrap().len(), 60);
        });
    }
}
