# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Counters that a network namespace sees are its own. Runs in the guest, as root, with the card attached."""

import errno
import json
import os
import socket
import struct
import subprocess

TOOL = "/build/bin/acceltcp"
SOL_TCP, TCP_ULP, SOL_ACCELTCP, ACCELTCP_OFFLOAD = 6, 31, 300, 1
SETUP = 1
NOBODY = 65534
PATIENCE = 60


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


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
    check(os.waitpid(pid, 0)[1] == 0, function.__name__)


def inside(name, function):
    def enter():
        with open(f"/run/netns/{name}") as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        function()

    child(enter)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def tool(*args, code=0, user=None):
    done = subprocess.run([TOOL, *args], capture_output=True, text=True, user=user, timeout=PATIENCE)
    check(done.returncode == code, args, done)
    return done.stdout if code == 0 else done.stderr


def stats(*args, **more):
    return json.loads(tool("-j", "stats", *args, **more))


def host():
    return {entry["name"]: entry["value"] for entry in stats() if entry["ifindex"] is None}


def statistic(name):
    text = subprocess.run(["ethtool", "-S", "nic0"], check=True, capture_output=True, text=True).stdout
    return next(int(line.split(":")[1]) for line in text.splitlines() if line.strip().startswith(f"{name}:"))


def listener():
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
    sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", SETUP))
    return sock


def quota(value):
    with open("/proc/sys/net/acceltcp/quota_listeners", "w") as file:
        file.write(str(value))


def no_places(number):
    """So many listeners are left to the host, each of which is counted."""
    quota(0)
    return [listener() for _ in range(number)]


def counters():
    before = host()
    check("keys_rotated" in before and any(entry["ifindex"] for entry in stats()), before)
    ip("netns", "add", "a")
    ip("netns", "add", "b")

    def untouched():
        own = host()
        check(all(value == 0 for value in own.values()), own)
        check(not any(entry["ifindex"] for entry in stats()), "a card of another namespace")
        # What belongs to cards or to the module has no namespace.
        for name in ("keys_rotated", "rules_added", "teardown_lost"):
            check(name not in own, own)

    def count():
        untouched()
        no_places(3)
        check({name: value for name, value in host().items() if value} == {"fallback_quota": 3}, host())

    def reset():
        check(host()["fallback_quota"] == 3, host())
        tool("stats", "--reset")
        untouched()

    kept = no_places(2)
    check(host()["fallback_quota"] == before["fallback_quota"] + 2, host())
    inside("a", count)
    # The host has counted all of them, the other namespace none.
    check(host()["fallback_quota"] == before["fallback_quota"] + 5, host())
    inside("b", untouched)

    # A card shows what its namespace has counted.
    check(statistic("fallback_quota") == host()["fallback_quota"], host())
    ip("link", "set", "nic0", "netns", "a")
    inside("a", lambda: check(statistic("fallback_quota") == 3 and statistic("keys_rotated") == 0, "its card"))
    tool("stats", "nic0", code=1)
    ip("-n", "a", "link", "set", "nic0", "netns", str(os.getpid()))
    inside("a", reset)
    check(host()["fallback_quota"] == before["fallback_quota"] + 5, host())
    for sock in kept:
        sock.close()
    quota(2**32 - 1)
    for name in ("a", "b"):
        ip("netns", "delete", name)


counters()
print("every namespace")
