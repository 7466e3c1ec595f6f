# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Clients that take a web server's answer up to its end, and do not close; commands.py follows."""

import resource
import socket
import time

# At a time; their answers are awaited one after the other.
BATCH = 32

held = []


def whole(sock):
    """All that comes up to the end."""
    got = bytearray()
    while data := sock.recv(65536):
        got.extend(data)
    return bytes(got)


def hold(host, port, count, body):
    """Gets an answer over so many connections, each of which stays half open; tells their ports."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    before = len(held)
    while count:
        batch = [socket.socket(family) for _ in range(min(BATCH, count))]
        for sock in batch:
            sock.settimeout(100)
            sock.connect((host, port))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        for sock in batch:
            found = whole(sock)
            if not found.startswith(b"HTTP/1.1 200 ") or not found.endswith(b"\r\n\r\n" + body.encode()):
                raise RuntimeError(f"got {found!r}")
        held.extend(batch)
        count -= len(batch)
    return [sock.getsockname()[1] for sock in held[before:]]


def release(count=None):
    """Closes so many, the oldest first, or all."""
    for sock in held[:count]:
        sock.close()
    del held[:count]


def turnover(host, port, seconds, body):
    """Has connections come and go for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        hold(host, port, BATCH, body)
        release()
