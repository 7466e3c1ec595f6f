# SPDX-License-Identifier: GPL-2.0 OR MIT
"""What few connections have, and what becomes of many at once; behind ends.py, in front of commands.py."""

import ctypes
import select

TCP_AO_ADD_KEY = 38
SYS_DELETE_MODULE = 176  # x86-64
LIBC = ctypes.CDLL(None, use_errno=True)


def ao(peer):
    """struct tcp_ao_add: a key for an IPv4 peer."""
    secret = b"only for tests"
    return struct.pack(
        "=H2x4s120x64siIHBBBBBB80s", socket.AF_INET, socket.inet_aton(peer), b"hmac(sha1)",
        0, 0, 0, 32, 1, 1, 12, 0, len(secret), secret)


def ao_key(name, peer):
    socks[name].setsockopt(SOL_TCP, TCP_AO_ADD_KEY, ao(peer))


def connect_ao(name, host, port):
    sock = socket.socket(socket.AF_INET)
    sock.setsockopt(SOL_TCP, TCP_AO_ADD_KEY, ao(host))
    sock.settimeout(60)
    sock.connect((host, port))
    keep(name, sock)


def crowd(listener, count, size):
    """Processes with a connection each, which they have answered; they end when `go` is closed."""
    global go
    wait, go = os.pipe()
    ready, told = os.pipe()
    for _ in range(count):
        if os.fork():
            continue
        os.close(go)
        sock = socks[listener].accept()[0]
        if not sock.recv(1):
            os._exit(1)
        sock.sendall(STREAM[:size])
        os.write(told, b"x")
        os.read(wait, 1)
        os._exit(0)
    os.close(told)
    os.close(wait)
    while count:
        done = len(os.read(ready, count))
        if not done:
            raise RuntimeError(f"{count} processes have failed")
        count -= done
    os.close(ready)


def unload(listener, tries):
    """Has all of the processes of crowd() and the listener go while the module is unloaded again and again, which is
    refused as long as there is one; how often it was refused with them, and how often afterwards."""
    refused = 0
    while LIBC.syscall(SYS_DELETE_MODULE, b"acceltcp", os.O_NONBLOCK):
        if ctypes.get_errno() != errno.EAGAIN:
            raise OSError(ctypes.get_errno(), "delete_module")
        refused += 1
        if refused == tries:
            close(listener)
            os.close(go)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return [min(refused, tries), max(refused - tries, 0)]


def ends(names, count):
    """Waits until so many of these connections have ended; what each of them has brought."""
    left, sizes = list(names), []
    while len(sizes) < count:
        ready = select.select([socks[name] for name in left], [], [], 60)[0]
        if not ready:
            raise RuntimeError(f"{len(sizes)} of {count} connections have ended")
        for name in [name for name in left if socks[name] in ready]:
            data = socks[name].recv(65536)
            if data:
                check(name, data)
            else:
                left.remove(name)
                sizes.append(places[name]["received"])
    return sizes
