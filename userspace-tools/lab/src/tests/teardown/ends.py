# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Both ends of connections of the teardown tests, step by step; commands.py follows.

Every byte of a stream is known from its place: who receives it checks it.
"""

import fcntl
import os
import random
import signal
import socket
import struct
import tempfile
import time

SOL_TCP = 6
TCP_ULP = 31
TCP_MD5SIG = 14
SOL_ACCELTCP = 300
ACCELTCP_OFFLOAD = 1
SO_ZEROCOPY = 60
MSG_ZEROCOPY = 0x4000000
SIOCOUTQ = 0x5411

PERIOD = 1 << 16
STREAM = random.Random(1).randbytes(PERIOD) * 8

socks = {}
places = {}


def keep(name, sock):
    sock.settimeout(60)
    socks[name] = sock
    places[name] = {"sent": 0, "received": 0}


def ask(sock, flags):
    if flags is not None:
        sock.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
        sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", flags))


def listen(name, port, flags=3, host="::", backlog=128):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ask(sock, flags)
    sock.bind((host, port))
    sock.listen(backlog)
    keep(name, sock)


def accept(name, listener):
    keep(name, socks[listener].accept()[0])


def connect(name, host, port, flags=None, sport=0, rcvbuf=None, reuseport=False):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuseport)
    ask(sock, flags)
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if sport:
        sock.bind(("::" if ":" in host else "0.0.0.0", sport))
    sock.settimeout(60)
    try:
        sock.connect((host, port))
    except OSError:
        sock.close()
        raise
    keep(name, sock)
    return sock.getsockname()[1]


def port(name):
    return socks[name].getsockname()[1]


def part(name, size):
    """The next `size` bytes of the stream to be sent."""
    start = places[name]["sent"] % PERIOD
    places[name]["sent"] += size
    return STREAM[start:start + size]


def send(name, size, flags=0):
    data = part(name, size)
    while data:
        data = data[socks[name].send(data, flags):]


def acknowledged(name, seconds=60):
    """Waits until the peer has acknowledged all that was sent."""
    end = time.monotonic() + seconds
    while struct.unpack("i", fcntl.ioctl(socks[name], SIOCOUTQ, bytes(4)))[0]:
        if time.monotonic() > end:
            raise TimeoutError("not acknowledged")
        time.sleep(0.005)


def send_copy_free(name, size):
    socks[name].setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    send(name, size, MSG_ZEROCOPY)


def send_file(name, size):
    with tempfile.TemporaryFile() as file:
        file.write(part(name, size))
        file.flush()
        done = 0
        while done < size:
            done += os.sendfile(socks[name].fileno(), file.fileno(), done, size - done)


def check(name, data):
    start = places[name]["received"] % PERIOD
    if data != STREAM[start:start + len(data)]:
        raise RuntimeError(f"wrong bytes behind {places[name]['received']}")
    places[name]["received"] += len(data)


def receive(name, size):
    while size:
        data = socks[name].recv(min(size, 65536))
        if not data:
            raise RuntimeError(f"the stream ends {size} bytes early")
        check(name, data)
        size -= len(data)


def drain(name, size):
    """Receives what is no part of the stream."""
    while size:
        data = socks[name].recv(size)
        if not data:
            raise RuntimeError("the stream ends early")
        size -= len(data)


def end(name):
    """Receives what there is up to the end; its kind, and all bytes of the stream."""
    try:
        while data := socks[name].recv(65536):
            check(name, data)
        kind = "end"
    except ConnectionResetError:
        kind = "reset"
    return {"kind": kind, "bytes": places[name]["received"]}


def option(name, level, number, value):
    """Sets an option: a number, two numbers, or bytes in hexadecimal."""
    if isinstance(value, str):
        value = bytes.fromhex(value)
    elif isinstance(value, list):
        value = struct.pack("ii", *value)
    socks[name].setsockopt(level, number, value)


def number(name, level, option):
    """Value of an option that is a number."""
    return socks[name].getsockopt(level, option)


def key(name):
    """A TCP-MD5 key for a peer that does not exist."""
    address = struct.pack("=H2x4s120x", socket.AF_INET, bytes([10, 99, 0, 77]))
    if socks[name].family == socket.AF_INET6:
        address = struct.pack("=HHI16s104x", socket.AF_INET6, 0, 0, bytes(15) + b"\x77")
    socks[name].setsockopt(SOL_TCP, TCP_MD5SIG, address + struct.pack("=BBHI80s", 0, 0, 3, 0, b"key"))


def shutdown(name, how=socket.SHUT_WR):
    socks[name].shutdown(how)


def close(name):
    socks.pop(name).close()


def reply(name, sizes, flags=0, cork=False):
    """Writes, of which the last has these flags, and closes at once."""
    for size in sizes[:-1]:
        send(name, size)
    if cork:
        socks[name].setsockopt(SOL_TCP, socket.TCP_CORK, 1)
    send(name, sizes[-1], flags)
    close(name)


def duplicate(name, other):
    socks[other] = socks[name].dup()
    places[other] = places[name]


def die(name, kill):
    """Another process has the socket alone, and ends without closing it."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        os.write(told, b"x")
        if kill:
            signal.pause()
        os._exit(0)
    close(name)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    if kill:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
