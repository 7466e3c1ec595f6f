# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The sysctls of each network namespace: defaults, ranges, who may write them, what they do here and not there.

Runs in the guest. The card is in the initial namespace; namespaces that are made here have none.
"""

import errno
import os
import socket
import struct
import subprocess
import time

DIRECTORY = "/proc/sys/net/acceltcp"
MANY = 2**32 - 1
# Default, lowest, highest.
SETTINGS = {
    "offloads": (7, 0, 7),
    "quota_listeners": (MANY, 0, MANY),
    "quota_pairs": (MANY, 0, MANY),
    "quota_teardown": (MANY, 0, MANY),
    "splice_idle": (0, 0, 604_800),
    "teardown_hold_us": (250, 0, 10_000),
    "teardown_max_bytes": (65_535, 0, 65_535),
    "teardown_time_wait": (60, 1, 600),
    "unprivileged": (1, 0, 1),
}
# Of cards, and so of the initial namespace only.
CARDS = {
    "key_interval": (300, 1, 86400),
    "sram_high": (100, 1, 100),
    "sram_low": (90, 1, 100),
}
ALL = {*SETTINGS, *CARDS, "key_rotate"}

SOL_TCP, TCP_ULP, SOL_ACCELTCP = 6, 31, 300
ACCELTCP_OFFLOAD, ACCELTCP_STATUS, ACCELTCP_SPLICE = 1, 2, 3
SETUP, TEARDOWN = 1, 2
NONE, NO_DEVICE, PENDING, DISABLED, QUOTA = 0, 3, 9, 11, 13
PATIENCE = 30
NOBODY = 65534


def equal(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found}, not {wanted}")


def refused(call, number, what):
    try:
        call()
    except OSError as error:
        equal(errno.errorcode[error.errno], errno.errorcode[number], what)
        return
    raise AssertionError(f"{what}: was not refused")


def read(name):
    with open(f"{DIRECTORY}/{name}") as file:
        return int(file.read())


def write(name, value):
    file = os.open(f"{DIRECTORY}/{name}", os.O_WRONLY)
    try:
        os.write(file, str(value).encode())
    finally:
        os.close(file)


def child(function):
    """In a process of its own, which must end well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException as error:
            print(f"in a child: {error!r}", flush=True)
        finally:
            os._exit(status)
    equal(os.waitpid(pid, 0)[1], 0, f"{function.__name__} in a child")


def inside(name, function):
    """In a named network namespace."""

    def enter():
        with open(f"/run/netns/{name}") as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        function()

    child(enter)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def counter(name):
    text = subprocess.run(["ethtool", "-S", "nic0"], check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        if key == name:
            return int(value)
    raise AssertionError(f"no statistic {name}")


def ask(sock, flags):
    sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", flags))


def listener(flags):
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
    ask(sock, flags)
    return sock


def reason(sock):
    """Why the host serves a listener, once the card has been told of it."""
    end = time.monotonic() + PATIENCE
    while True:
        found = struct.unpack("4I", sock.getsockopt(SOL_ACCELTCP, ACCELTCP_STATUS, 16))[1]
        if found != PENDING or time.monotonic() > end:
            return found


def ranges(settings=SETTINGS):
    for name, (default, lowest, highest) in settings.items():
        equal(read(name), default, f"{name} at first")
        for value in (lowest, highest):
            write(name, value)
            equal(read(name), value, name)
        for wrong in (lowest - 1, highest + 1, 2**64, "many", "1x", "0x1g"):
            refused(lambda: write(name, wrong), errno.EINVAL, f"{name} = {wrong}")
            equal(read(name), highest, f"{name} behind {wrong}")
        write(name, default)


def only_these():
    equal(set(os.listdir(DIRECTORY)), set(SETTINGS), "the sysctls of another namespace")


def apart():
    """A namespace begins with what the initial one has, and then they are apart."""
    write("teardown_time_wait", 7)
    write("quota_pairs", 5)
    ip("netns", "add", "a")
    ip("-n", "a", "link", "set", "lo", "up")
    write("teardown_time_wait", 60)
    write("quota_pairs", MANY)

    def look():
        only_these()
        equal(read("teardown_time_wait"), 7, "inherited")
        equal(read("quota_pairs"), 5, "inherited")
        for name, (default, _, _) in SETTINGS.items():
            write(name, default)
        ranges()
        write("teardown_hold_us", 1)
        write("offloads", 0)
        sock = listener(SETUP)
        equal(reason(sock), DISABLED, "switched off here")

    inside("a", look)
    equal(read("teardown_hold_us"), 250, "outside")
    equal(read("offloads"), 7, "outside")
    sock = listener(SETUP)
    equal(reason(sock), NONE, "switched off there only")
    ip("netns", "add", "b")
    inside("b", lambda: equal(read("teardown_hold_us"), 250, "in a third namespace"))


def listeners():
    """Listeners beyond the quota are the host's, until another one has gone."""

    def quota():
        write("offloads", 7)
        write("quota_listeners", 2)
        first, second, third = (listener(SETUP) for _ in range(3))
        equal([reason(sock) for sock in (first, second, third)], [NO_DEVICE, NO_DEVICE, QUOTA], "within the quota")
        # Who asks for nothing of the kind needs no place.
        ask(listener(TEARDOWN), 0)
        with socket.create_connection(third.getsockname()) as client:
            server, _ = third.accept()
            client.sendall(b"x")
            equal(server.recv(1), b"x", "served by the host")
            server.close()
        first.close()
        equal(reason(third), NO_DEVICE, "a place has come free")
        ask(second, 0)
        fourth = listener(SETUP)
        equal(reason(fourth), NO_DEVICE, "a listener has given up its place")
        # What has a place keeps it.
        write("quota_listeners", 0)
        equal([reason(sock) for sock in (third, fourth)], [NO_DEVICE, NO_DEVICE], "less than there are")
        ask(second, SETUP)
        equal(reason(second), QUOTA, "none allowed")
        write("quota_listeners", 3)
        equal(reason(second), NO_DEVICE, "more allowed")

    before = counter("fallback_quota")
    inside("a", quota)
    equal(counter("fallback_quota") - before, 2, "counted")
    # All places have come back with their sockets.
    inside("a", lambda: [equal(reason(sock), NO_DEVICE, "again") for sock in [listener(SETUP) for _ in range(3)]])


def unprivileged():
    """Only who may administer the namespace may ask, if it is to be so."""

    def drop():
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    def may():
        drop()
        listener(SETUP | TEARDOWN)

    def may_not():
        drop()
        sock = listener(0)
        splice = struct.pack("iIII", sock.fileno(), 0, 0, 0)
        refused(lambda: ask(sock, SETUP), errno.EPERM, "setup")
        refused(lambda: ask(sock, TEARDOWN), errno.EPERM, "teardown")
        refused(lambda: sock.setsockopt(SOL_ACCELTCP, ACCELTCP_SPLICE, splice), errno.EPERM, "splice")
        refused(lambda: write("unprivileged", 1), errno.EACCES, "to open it again")

    inside("b", may)
    before = counter("refused_unprivileged")
    inside("b", lambda: write("unprivileged", 0))
    inside("b", may_not)
    equal(counter("refused_unprivileged") - before, 3, "counted")
    inside("b", lambda: equal(reason(listener(SETUP)), NO_DEVICE, "root"))
    child(may)


def container():
    """Root of a container may set what is its own, but not raise its quotas."""

    def root():
        uid, gid = os.getuid(), os.getgid()
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
        for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{file}", "w") as proc:
                proc.write(text)
        equal(read("quota_pairs"), 3, "inherited")
        write("teardown_time_wait", 30)
        equal(read("teardown_time_wait"), 30, "its own")
        for quota in ("quota_pairs", "quota_listeners", "quota_teardown"):
            for value in (0, 3, MANY):
                refused(lambda: write(quota, value), errno.EPERM, f"{quota} = {value}")
        equal(read("quota_pairs"), 3, "as it was")
        write("unprivileged", 0)
        # It may administer its namespace.
        equal(reason(listener(SETUP)), NO_DEVICE, "root of the container")

    write("quota_pairs", 3)
    child(root)
    write("quota_pairs", MANY)


def come_and_go():
    """Namespaces that come and go, with listeners in them, and with the module."""

    def live():
        write("quota_listeners", 1)
        sock = listener(SETUP | TEARDOWN)
        equal(reason(sock), NO_DEVICE, "in a short life")

    for _ in range(100):
        ip("netns", "add", "x")
        inside("x", live)
        ip("netns", "delete", "x")


def module():
    inside("a", lambda: write("teardown_hold_us", 3))
    subprocess.run(["rmmod", "acceltcp"], check=True)
    equal(os.path.exists(DIRECTORY), False, "sysctls without the module")
    inside("a", lambda: equal(os.path.exists(DIRECTORY), False, "sysctls without the module"))
    subprocess.run(["insmod", "/build/module/acceltcp.ko"], check=True)
    equal(set(os.listdir(DIRECTORY)), ALL, "the sysctls")
    inside("a", lambda: equal(read("teardown_hold_us"), 250, "in a namespace that is older than the module"))
    for name in ("a", "b"):
        ip("netns", "delete", name)


equal(set(os.listdir(DIRECTORY)), ALL, "the sysctls")
ranges(CARDS)
for part in (ranges, apart, listeners, unprivileged, container, come_and_go, module):
    part()
    print(part.__name__, flush=True)
print("every sysctl")
