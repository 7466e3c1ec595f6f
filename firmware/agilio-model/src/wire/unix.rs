// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A port on a UNIX socket, back to back with a second card.
//!
//! Whoever holds the lock file next to the socket listens; the other one connects. The lock goes with
//! its process, thus either card may come first, and either may die and come back.

use super::port::{poll_for, readable, LinkListener, Port, Received, Sent, StopFlag};
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
        self.link().peer = Some(Arc::new(peer));
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

    /// Waits until there is something to do: a frame, a card that connects, the stop. `false` when there
    /// was nothing in time.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
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
        let ready = poll_for(&mut fds, limit)?;
        let knock = listener.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        if let (true, Some(listener)) = (knock, &listener) {
            self.accept(listener)?;
        }
        if seeking {
            self.seek()?;
        }
        Ok(ready != 0 || limit != timeout)
    }
}

impl Port for UnixPort {
    fn send(&self, frame: &[u8], _csum_valid: bool) -> io::Result<Sent> {
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
                // `recv` sees the same and tells of it.
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Ok(Sent::NoLink),
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn recv(&self, buf: &mut [u8], timeout: Option<Duration>) -> io::Result<Received> {
        let room = buf.len();
        loop {
            if self.stop.is_raised() {
                return Ok(Received::Stopped);
            }
            if let Some(peer) = self.peer() {
                let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
                match net::recv(&peer, &mut *buf, flags) {
                    // An empty frame is not one; this is the end.
                    Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN) => {
                        self.lose_peer(&peer);
                        if self.listener().is_none() {
                            self.seek()?;
                        }
                        continue;
                    }
                    Ok((_, len)) if len > room => {
                        return Ok(Received::Dropped(DropReason::TooLong));
                    }
                    Ok((_, len)) => return Ok(Received::Frame(len)),
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => {}
                    Err(err) => return Err(err.into()),
                }
            }
            if !self.wait(timeout)? {
                return Ok(Received::Timeout);
            }
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

    #[test]
    fn a_pair_passes_frames_whole() {
        let (a, b) = UnixPort::pair().unwrap();
        let mut buf = [0; 64];
        assert_eq!(a.send(&[7; 60], true).unwrap(), Sent::Done);
        assert_eq!(a.send(&[8; 20], false).unwrap(), Sent::Done);
        assert_eq!(b.recv(&mut buf, None).unwrap(), Received::Frame(60));
        assert_eq!(buf[..60], [7; 60]);
        assert_eq!(b.recv(&mut buf, None).unwrap(), Received::Frame(20));
        let timeout = Some(Duration::ZERO);
        assert_eq!(b.recv(&mut buf, timeout).unwrap(), Received::Timeout);
    }

    #[test]
    fn a_frame_longer_than_the_buffer_is_dropped_alone() {
        let (a, b) = UnixPort::pair().unwrap();
        a.send(&[1; 65], false).unwrap();
        a.send(&[2; 64], false).unwrap();
        let mut buf = [0; 64];
        let too_long = Received::Dropped(DropReason::TooLong);
        assert_eq!(b.recv(&mut buf, None).unwrap(), too_long);
        assert_eq!(b.recv(&mut buf, None).unwrap(), Received::Frame(64));
        assert_eq!(buf, [2; 64]);
    }

    #[test]
    fn stop_wakes_a_blocked_recv() {
        let (a, _b) = UnixPort::pair().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| a.recv(&mut [0; 64], None).unwrap());
            a.stop();
            assert_eq!(waiter.join().unwrap(), Received::Stopped);
        });
    }

    #[test]
    fn a_full_queue_is_told_and_not_waited_for() {
        let (a, b) = UnixPort::pair().unwrap();
        let full = (0..100_000).any(|_| a.send(&[0; 1500], false).unwrap() == Sent::Full);
        assert!(full);
        drop(b);
        assert_eq!(a.send(&[0; 1500], false).unwrap(), Sent::NoLink);
    }

    #[test]
    fn either_card_may_come_first_die_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wire");
        let (events, seen) = mpsc::channel();
        let first = UnixPort::open(&path, Box::new(move |up| events.send(up).unwrap())).unwrap();
        assert!(!first.link_up());
        assert_eq!(first.send(&[0; 60], false).unwrap(), Sent::NoLink);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut buf = [0; 64];
                let mut frames = Vec::new();
                while let Received::Frame(len) = first.recv(&mut buf, None).unwrap() {
                    frames.push(buf[..len].to_vec());
                }
                frames
            });
            for round in 0..3 {
                let second = UnixPort::open(&path, silent()).unwrap();
                assert!(second.link_up());
                assert_eq!(second.send(&[round; 60], false).unwrap(), Sent::Done);
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
            let reader = scope.spawn(|| second.recv(&mut [0; 64], None).unwrap());
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
            third.send(&[5; 60], false).unwrap();
            assert_eq!(reader.join().unwrap(), Received::Frame(60));
        });
    }

    #[test]
    fn a_third_card_is_refused_while_two_are_connected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wire");
        let first = UnixPort::open(&path, silent()).unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(|| first.recv(&mut [0; 64], None).unwrap());
            let second = UnixPort::open(&path, silent()).unwrap();
            let third = UnixPort::open(&path, silent()).unwrap();
            // The end of the third one's connection is the refusal.
            let refused = third.peer().unwrap();
            let mut fds = [readable(&refused)];
            poll_for(&mut fds, None).unwrap();
            assert_eq!(second.send(&[9; 60], false).unwrap(), Sent::Done);
            assert_eq!(reader.join().unwrap(), Received::Frame(60));
        });
    }
}
