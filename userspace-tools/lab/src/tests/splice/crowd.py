# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Thousands of connections at once, and a server that says everything again; commands.py follows."""

import random
import resource
import selectors
import socket

# Connections that are opened, or say something, at a time: more segments than a wire's queue holds would be lost.
BATCH = 64
# Most bytes of a round.
MOST = 1000

_, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
listeners = []
held = []
rng = random.Random(0)


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listen(host, ports):
    """Opens listeners."""
    for port in ports:
        listeners.append(socket.create_server((host, port), family=family(host), backlog=4096))


def serve():
    """Serves all that comes, as long as the process lives."""
    selector = selectors.EpollSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            if sock in listeners:
                child, _ = sock.accept()
                selector.register(child, selectors.EVENT_READ)
            elif data := sock.recv(65536):
                # It is less than any socket's buffer holds.
                sock.sendall(data)
            else:
                selector.unregister(sock)
                sock.close()


def say(sock):
    """Sends something, and returns it."""
    data = rng.randbytes(rng.randint(1, MOST))
    sock.sendall(data)
    return data


def hear(sock, said):
    """All of it must come back."""
    got = bytearray()
    while len(got) < len(said):
        data = sock.recv(len(said) - len(got))
        if not data:
            raise RuntimeError(f"{sock.getsockname()}: end after {len(got)} of {len(said)} bytes")
        got.extend(data)
    if got != said:
        raise RuntimeError(f"{sock.getsockname()}: wrong bytes")


def converse(socks):
    """A round on all of these: bytes that went one way."""
    said = [say(sock) for sock in socks]
    for sock, data in zip(socks, said):
        hear(sock, data)
    return sum(map(len, said))


def hold(host, port, count):
    """Opens so many connections, on each of which something is said; returns the bytes that went one way."""
    total = 0
    while count:
        batch = [socket.socket(family(host)) for _ in range(min(BATCH, count))]
        for sock in batch:
            sock.settimeout(100)
            sock.connect((host, port))
        total += converse(batch)
        held.extend(batch)
        count -= len(batch)
    return total


def again():
    """Another round on all; bytes that went one way."""
    return sum(converse(held[at:at + BATCH]) for at in range(0, len(held), BATCH))


def end(count):
    """Ends the oldest connections, which the server does then, too."""
    ending = held[:count]
    del held[:count]
    for sock in ending:
        sock.shutdown(socket.SHUT_WR)
    for sock in ending:
        if sock.recv(1):
            raise RuntimeError(f"{sock.getsockname()}: more bytes than were said")
        sock.close()
