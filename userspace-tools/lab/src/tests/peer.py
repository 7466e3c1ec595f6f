# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Servers and clients; commands.py follows."""

import ctypes
import itertools
import random
import selectors
import socket
import struct
import threading
import time

SOL_TCP = 6
TCP_INFO = 11
TCP_MD5SIG = 14
TCP_ULP = 31
SOL_ACCELTCP = 300
ACCELTCP_OFFLOAD = 1
ACCELTCP_STATUS = 2
IPPROTO_MPTCP = 262
SO_ATTACH_REUSEPORT_CBPF = 51
BPF_RET_K = 6

BANNER = random.Random(0).randbytes(5000)
listeners = {}
connections = {}


def info(sock):
    """What the ends of a connection must agree on, and some more of struct tcp_info."""
    raw = sock.getsockopt(SOL_TCP, TCP_INFO, 104)
    words = struct.unpack("24I", raw[8:])
    return {
        "timestamps": bool(raw[5] & 1),
        "sack": bool(raw[5] & 2),
        "wscale": bool(raw[5] & 4),
        "ecn": bool(raw[5] & 8),
        "snd_wscale": raw[6] & 15,
        "rcv_wscale": raw[6] >> 4,
        "snd_mss": words[2],
        "advmss": words[19],
    }


class Listener(threading.Thread):
    """A server that sends back what it gets."""

    def __init__(self, port, host="::", flags=1, backlog=128, v6only=False, reuseport=False,
                 device=None, md5=None, mptcp=False, accept=True, banner=False, tls=False):
        super().__init__(daemon=True)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        protocol = IPPROTO_MPTCP if mptcp else 0
        self.sock = socket.socket(family, socket.SOCK_STREAM, protocol)
        self.accepted = []
        self.errors = []
        self.closing = False
        self.open = 0
        self.banner = BANNER if banner else b""
        self.tls = tls
        self.wake, self.woken = socket.socketpair()
        self.accepting = accept
        try:
            self.prepare(family, host, port, flags, v6only, reuseport, device, md5)
            self.sock.listen(backlog)
        except OSError:
            self.sock.close()
            raise
        self.sock.setblocking(False)
        self.start()

    def prepare(self, family, host, port, flags, v6only, reuseport, device, md5):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if reuseport:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if device:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if md5 == "before":
            self.key()
        if flags is not None:
            self.sock.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
            self.sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", flags))
        if md5 == "after":
            self.key()
        self.sock.bind((host, port))

    def key(self):
        """A TCP-MD5 key for a peer that does not exist."""
        address = struct.pack("=H2x4s120x", socket.AF_INET, bytes([10, 99, 0, 77]))
        key = struct.pack("=BBHI80s", 0, 0, 3, 0, b"key")
        self.sock.setsockopt(SOL_TCP, TCP_MD5SIG, address + key)

    def run(self):
        with selectors.DefaultSelector() as self.selector:
            self.selector.register(self.woken, selectors.EVENT_READ, self.on_wake)
            self.on_wake(0)
            while self.sock.fileno() >= 0 or self.open:
                for key, events in self.selector.select():
                    key.data(events)

    def on_wake(self, events):
        if events:
            self.woken.recv(1)
        registered = self.sock.fileno() in self.selector.get_map()
        if self.closing:
            if registered:
                self.selector.unregister(self.sock)
            self.sock.close()
        elif self.accepting and not registered:
            self.selector.register(self.sock, selectors.EVENT_READ, self.on_accept)
        elif registered and not self.accepting:
            self.selector.unregister(self.sock)

    def on_accept(self, _events):
        try:
            sock, address = self.sock.accept()
        except BlockingIOError:
            return
        found = info(sock) | {"port": address[1], "family": 4 if "." in address[0] else 6}
        try:
            found["flags"] = struct.unpack("I", sock.getsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, 4))[0]
        except OSError:
            found["flags"] = None
        if self.tls:
            # Without keys it passes on what it gets.
            sock.setsockopt(SOL_TCP, TCP_ULP, b"tls")
        self.accepted.append(found)
        self.open += 1
        sock.setblocking(False)
        out = bytearray(self.banner)
        state = {"ended": False}

        def on_ready(events):
            try:
                if events & selectors.EVENT_READ and not state["ended"]:
                    data = sock.recv(65536)
                    out.extend(data)
                    state["ended"] = not data
                if out:
                    del out[:sock.send(out)]
            except BlockingIOError:
                pass
            except OSError as error:
                self.errors.append(f"port {address[1]}: {error}")
                out.clear()
                state["ended"] = True
            wanted = 0 if state["ended"] else selectors.EVENT_READ
            wanted |= selectors.EVENT_WRITE if out else 0
            if wanted:
                self.selector.modify(sock, wanted, on_ready)
            else:
                self.selector.unregister(sock)
                sock.close()
                self.open -= 1

        first = selectors.EVENT_READ | (selectors.EVENT_WRITE if out else 0)
        self.selector.register(sock, first, on_ready)

    def notify(self):
        self.wake.send(b"x")


def listen(name, **args):
    listeners[name] = Listener(**args)


def status(name):
    raw = listeners[name].sock.getsockopt(SOL_ACCELTCP, ACCELTCP_STATUS, 16)
    return dict(zip(("offload", "reason", "rules", "reserved"), struct.unpack("4I", raw)))


def offload(name, flags):
    listeners[name].sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", flags))


def steer(name, index):
    """Attaches a program to the listener's group that always selects the member with this index."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET_K, 0, 0, index))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
    listeners[name].sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)


def bind(name, device):
    listeners[name].sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def wait_status(name, reason, seconds=20):
    end = time.monotonic() + seconds
    while (found := status(name))["reason"] != reason:
        if time.monotonic() > end:
            raise RuntimeError(f"waited in vain for reason {reason}: {found}")
        time.sleep(0.02)
    return found


def accepting(name, on):
    listeners[name].accepting = on
    listeners[name].notify()


def accepted(name):
    return {"connections": listeners[name].accepted, "errors": listeners[name].errors}


def wait_accepted(name, count, seconds=20):
    """Waits until a listener has accepted `count` connections."""
    end = time.monotonic() + seconds
    while len(listeners[name].accepted) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"{len(listeners[name].accepted)} of {count} were accepted")
        time.sleep(0.01)


def drop(name):
    """Closes a listener, and ignores errors of its connections."""
    listener = listeners.pop(name)
    listener.closing = True
    listener.notify()
    listener.join(20)


def close(name):
    """Closes a listener, and ends when its last connection has ended."""
    listener = listeners.pop(name)
    listener.closing = True
    listener.notify()
    listener.join(20)
    if listener.is_alive():
        raise RuntimeError(f"{listener.open} connections are still open")
    if listener.errors:
        raise RuntimeError("; ".join(listener.errors[:5]))


def receive(sock, length):
    got = bytearray()
    while len(got) < length:
        data = sock.recv(length - len(got))
        if not data:
            raise RuntimeError(f"end after {len(got)} of {length} bytes")
        got.extend(data)
    return bytes(got)


def converse(sock, data, banner):
    """Sends data, and checks that it comes back, behind the banner if there is to be one."""
    if banner and receive(sock, len(BANNER)) != BANNER:
        raise RuntimeError("wrong banner")
    sock.sendall(data)
    if receive(sock, len(data)) != data:
        raise RuntimeError("other bytes came back than were sent")
    found = info(sock) | {
        "port": sock.getsockname()[1],
        "family": 4 if sock.family == socket.AF_INET else 6,
    }
    sock.shutdown(socket.SHUT_WR)
    if sock.recv(1):
        raise RuntimeError("more bytes came back than were sent")
    return found


def dial(host, port, timeout):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.settimeout(timeout)
    try:
        sock.connect((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def clients(host, port, count, parallel=8, size=4000, seed=1, timeout=50, banner=False):
    """Runs connections; each sends `size` bytes at most."""
    numbers = itertools.count()
    found, errors = [], []

    def work():
        while (number := next(numbers)) < count:
            choice = random.Random(seed * 1000003 + number)
            data = choice.randbytes(choice.randint(1, size))
            try:
                with dial(host, port, timeout) as sock:
                    found.append(converse(sock, data, banner))
            except (OSError, RuntimeError) as error:
                errors.append(f"connection {number}: {error}")

    threads = [threading.Thread(target=work, daemon=True) for _ in range(parallel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"connections": found, "errors": errors}


def connect(name, host, port, timeout=20):
    connections[name] = dial(host, port, timeout)


def talk(name, banner=False):
    with connections.pop(name) as sock:
        return converse(sock, random.Random(name).randbytes(3000), banner)


def hang_up(name):
    connections.pop(name).close()
