# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The ULP of sockets, step by step; behind teardown/ends.py, in front of commands.py."""

import threading

ACCELTCP_SPLICE = 3

calls = {}


def ulp(name, value):
    socks[name].setsockopt(SOL_TCP, TCP_ULP, value.encode())


def which(name):
    """Name of the ULP."""
    return socks[name].getsockopt(SOL_TCP, TCP_ULP, 16).split(b"\0")[0].decode()


def offload(name):
    return struct.unpack("I", socks[name].getsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, 4))[0]


def available():
    """Names of the ULPs that there are."""
    with open("/proc/sys/net/ipv4/tcp_available_ulp") as file:
        return file.read().split()


def nothing_told(count):
    """New sockets do not know of pairs, whatever their addresses were used for before."""
    fresh = []
    for _ in range(count):
        sock = socket.socket()
        fresh.append(sock)
        ask(sock, 0)
        state = struct.unpack_from("I", sock.getsockopt(SOL_ACCELTCP, ACCELTCP_SPLICE, 40))[0]
        if state:
            raise RuntimeError(f"a new socket is told of a pair: state {state}")
    for sock in fresh:
        sock.close()


def start_sending(name, size):
    """Sends all of that in one call of another thread, which goes on until the peer has room for it."""
    sock = socks[name]
    sock.settimeout(None)

    def work():
        sock.send(part(name, size))

    calls[name] = threading.Thread(target=work, daemon=True)
    calls[name].start()


def is_sending(name):
    return calls[name].is_alive()


def wait_sent(name):
    calls.pop(name).join(60)


def half_open(port):
    """Begins a connection, and does not wait for it."""
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    socks["half-open"] = sock
