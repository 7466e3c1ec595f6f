# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Has each allocation in turn fail that the module makes, or that is made on its behalf.

Only allocations with code of a module on the stack count; this project's is the only one loaded.
In system calls the kernel counts for the calling thread (fail-nth). In softirqs and workers nobody
does: there, the number of bytes that may be had before the one failure grows in small steps.
"""

import ctypes
import errno
import fcntl
import glob
import os
import socket
import struct
import sys
import threading

DELETE_MODULE, FINIT_MODULE = 176, 313
SIOCSIFNAME, SIOCSIFADDR, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8923, 0x8916, 0x8913, 0x8914
IFF_UP, O_NONBLOCK = 1, 0o4000
SOL_TCP, TCP_ULP, SOL_ACCELTCP, ACCELTCP_OFFLOAD = 6, 31, 300, 1

FAULTS = {name: f"/sys/kernel/debug/{name}" for name in ("failslab", "fail_page_alloc")}
NTH = f"/proc/self/task/{threading.get_native_id()}/fail-nth"
# Where modules are loaded: arch/x86/include/asm/pgtable_64_types.h.
MODULES = ("0xffffffffa0000000", "0xffffffffff000000")

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def read(path):
    with open(path) as file:
        return file.read().strip("\0\n ")


def prepare():
    for path in FAULTS.values():
        write(f"{path}/require-start", MODULES[0])
        write(f"{path}/require-end", MODULES[1])
        write(f"{path}/stacktrace-depth", 32)
        write(f"{path}/ignore-gfp-wait", "N")
        write(f"{path}/verbose", 0)
        write(f"{path}/probability", 0)
    # Other faults than refused memory would be counted too.
    for path in glob.glob("/sys/kernel/debug/fail*/require-start"):
        if os.path.dirname(path) not in FAULTS.values():
            write(path, 1)
            write(f"{os.path.dirname(path)}/require-end", 2)
    write(f"{FAULTS['fail_page_alloc']}/ignore-gfp-highmem", "N")
    write(f"{FAULTS['fail_page_alloc']}/min-order", 0)


def call(number, *args):
    if libc.syscall(number, *args) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def load():
    module = os.open("/build/module/acceltcp.ko", os.O_RDONLY)
    try:
        call(FINIT_MODULE, module, b"", 0)
    finally:
        os.close(module)


def unload():
    call(DELETE_MODULE, b"acceltcp", O_NONBLOCK)


def interface():
    """Name of the card's interface, if it has one."""
    names = set(os.listdir("/sys/class/net")) - {"lo"}
    return names.pop() if names else None


def set_up(up):
    name = interface().encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags, = struct.unpack_from("H", fcntl.ioctl(
            sock, SIOCGIFFLAGS, struct.pack("16sH14x", name, 0)), 16)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", name, flags))


def listener(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
        sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", 1))
        sock.bind(("::", port))
        sock.listen(16)
    except BaseException:
        sock.close()
        raise
    return sock


def each(what, do, undo, limit=5000):
    """Calls `do` again and again, with another allocation failing each time, and `undo` whenever it
    has succeeded."""
    number = refused = 0
    while True:
        number += 1
        if number > limit:
            sys.exit(f"{what}: more than {limit} allocations")
        write(NTH, number)
        done = error = None
        try:
            done = (do(),)
        except OSError as caught:
            error = caught
        left = int(read(NTH))
        write(NTH, 0)
        if done:
            undo(*done)
        else:
            refused += 1
        if left:
            break
        if error and error.errno != errno.ENOMEM:
            print(f"{what}: allocation {number}: {error}", flush=True)
    if error:
        sys.exit(f"{what}: fails although nothing is refused: {error}")
    print(f"{what}: {number - 1} allocations, {refused} times it failed", flush=True)


def sweep(what, do, steps):
    """Calls `do(more)` with the one failure after ever more bytes, until it is not reached any more."""
    for name, path in FAULTS.items():
        failed = missed = 0
        for space in range(0, steps[name][0], steps[name][1]):
            write(f"{path}/space", space)
            write(f"{path}/times", 1)
            write(f"{path}/probability", 100)
            try:
                do(True)
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
            finally:
                write(f"{path}/probability", 0)
            if read(f"{path}/times") == "0":
                failed += 1
                missed = 0
            else:
                missed += 1
            if missed == 3:
                break
        print(f"{what}: {failed} times {name}", flush=True)
        if not failed:
            sys.exit(f"{what}: nothing failed")


def probes():
    """Loading the module, which finds the card."""
    each("load", load, lambda _: unload())
    load()
    if not interface():
        sys.exit("the card has no interface although nothing failed")


def opens():
    """Opening the interface, which is down."""
    each("open", lambda: set_up(True), lambda _: set_up(False))
    set_up(True)


def listeners():
    """Listeners that ask for setup."""
    each("listen", lambda: listener(7100), lambda sock: sock.close())
    sweep("listen", lambda _: listener(7100).close(), {"failslab": (8192, 16), "fail_page_alloc": (8, 1)})


def children():
    """Connections of a listener: the client opens one after the other until it is told to stop."""
    sock = listener(7000)
    print("ready", flush=True)

    def serve(more):
        """Whether the client has its answer, as far as is known here."""
        connection, _ = sock.accept()
        with connection:
            try:
                if connection.recv(1):
                    connection.sendall(b"+" if more else b".")
                    return True
            except ConnectionError as error:
                # Its client was refused, and comes again.
                print(f"child: {error}", flush=True)
        return False

    while not serve(True):
        pass
    sweep("child", serve, {"failslab": (32768, 32), "fail_page_alloc": (64, 1)})
    while not serve(False):
        pass
    sock.close()


prepare()
{"load": probes, "open": opens, "listen": listeners, "child": children}[sys.argv[1]]()
