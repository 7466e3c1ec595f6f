# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Connections that the guest splices; behind teardown/ends.py, in front of commands.py."""

import select
import time

ACCELTCP_SPLICE = 3
ACCELTCP_UNSPLICE = 4
STATES = ["none", "active", "ended", "returned"]
REASONS = ["", "closed", "reset", "idle", "aborted", "timeout", "refused", "lost"]


def splice(name, other=None, fd=None, flags=0, idle=0, reserved=0):
    """With another connection, or with any number of a file descriptor."""
    fd = socks[other].fileno() if fd is None else fd
    argument = struct.pack("iIII", fd, flags, idle, reserved)
    socks[name].setsockopt(SOL_ACCELTCP, ACCELTCP_SPLICE, argument)


def unsplice(name):
    socks[name].setsockopt(SOL_ACCELTCP, ACCELTCP_UNSPLICE, struct.pack("I", 0))


def take_back(name, seconds=30):
    """Asks again as long as data is not acknowledged; how often it was asked."""
    end, count = time.monotonic() + seconds, 1
    while True:
        try:
            unsplice(name)
            return count
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        count += 1
        time.sleep(0.005)


def info(name):
    raw = socks[name].getsockopt(SOL_ACCELTCP, ACCELTCP_SPLICE, 40)
    state, reason, *numbers = struct.unpack("II4Q", raw)
    names = ("rx_bytes", "tx_bytes", "rx_segments", "tx_segments")
    return {"state": STATES[state], "reason": REASONS[reason]} | dict(zip(names, numbers))


def fresh(name, flags=0):
    """A socket that is not connected."""
    sock = socket.socket(socket.AF_INET)
    ask(sock, flags)
    keep(name, sock)


def pipe():
    """Number of a file descriptor that is no socket."""
    global ends_of_pipe
    ends_of_pipe = os.pipe()
    return ends_of_pipe[0]


def quiet(name, milliseconds):
    """Nothing is to be received, and nothing has happened, for so long."""
    poll = select.poll()
    poll.register(socks[name], select.POLLIN | select.POLLRDHUP)
    if events := poll.poll(milliseconds):
        raise RuntimeError(f"poll tells {events[0][1]:#x}")


def over(name):
    """Waits for the end of a spliced connection: "end", or the name of the error; and what poll() tells then."""
    poll = select.poll()
    poll.register(socks[name], select.POLLIN | select.POLLRDHUP)
    found = poll.poll(60_000)
    if not found:
        raise RuntimeError("the connection does not end")
    events = {
        bit: bool(found[0][1] & getattr(select, bit))
        for bit in ("POLLIN", "POLLHUP", "POLLERR", "POLLRDHUP")
    }
    try:
        kind = "end"
        if data := socks[name].recv(65536):
            raise RuntimeError(f"{len(data)} bytes of a spliced connection")
    except OSError as error:
        kind = errno.errorcode.get(error.errno, str(error))
    return events | {"kind": kind}


def writable(name):
    """Whether a write is taken: fails with the error."""
    return socks[name].send(b"x")


def copy(name, other, size):
    """Passes bytes of one connection to the other."""
    while size:
        data = socks[name].recv(min(size, 65536))
        if not data:
            raise RuntimeError(f"the stream ends {size} bytes early")
        socks[other].sendall(data)
        size -= len(data)


def stream(name, size):
    """Sends any number of bytes of the stream."""
    while size:
        piece = min(size, PERIOD)
        send(name, piece)
        size -= piece


def reset(name):
    socks[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    close(name)
