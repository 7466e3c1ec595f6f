# SPDX-License-Identifier: GPL-2.0 OR MIT
"""What network namespaces see, and what their users can have the card do. Runs in the guest, as root, with the card attached."""

import errno
import json
import os
import socket
import struct
import subprocess
import sys

TOOL = "/build/bin/acceltcp"
SOL_TCP, TCP_ULP, SOL_ACCELTCP, ACCELTCP_OFFLOAD = 6, 31, 300, 1
SETUP = 1
NOBODY = 65534
PATIENCE = 60
# Of requests by each kind of user.
ROUNDS = 200
NETLINK_GENERIC, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 16, 3, 1, 2
NLMSG_ERROR, NLMSG_DONE = 2, 3
# Operations that ask cards, and those that do not.
DEVICE_GET, COUNTER_GET, LISTENER_GET, PAIR_GET, POLICY_GET, ACL_GET, FLOW_GET = 1, 2, 4, 5, 6, 12, 16
CARDS = (DEVICE_GET, PAIR_GET, ACL_GET, FLOW_GET)
HOST = (COUNTER_GET, LISTENER_GET, POLICY_GET)


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


def family():
    """A netlink socket, and the number of the family."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    sock.settimeout(PATIENCE)
    name = b"acceltcp\0"
    attribute = struct.pack("=HH", 4 + len(name), CTRL_ATTR_FAMILY_NAME) + name.ljust(12, b"\0")
    sock.send(struct.pack("=IHHIIBBH", 20 + len(attribute), GENL_ID_CTRL, 1, 1, 0, CTRL_CMD_GETFAMILY, 1, 0) + attribute)
    answer = sock.recv(65536)
    place = 20
    while True:
        length, kind = struct.unpack_from("=HH", answer, place)
        if kind == CTRL_ATTR_FAMILY_ID:
            return sock, struct.unpack_from("=H", answer, place + 4)[0]
        place += (length + 3) & ~3


def dump(sock, number, command):
    """How many entries the kernel tells, or the error."""
    sock.send(struct.pack("=IHHIIBBH", 20, number, 0x301, 2, 0, command, 1, 0))
    entries = 0
    while True:
        answer = sock.recv(65536)
        while answer:
            length, kind = struct.unpack_from("=IH", answer)
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                error = struct.unpack_from("=i", answer, 16)[0]
                return error or entries
            entries += 1
            answer = answer[(length + 3) & ~3:]


def requests():
    """Users without rights, and root of a user namespace, have no card asked that is not theirs."""
    # The test looks what the card was asked meanwhile.
    listening = listener()

    def nobody():
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        sock, number = family()
        for _ in range(ROUNDS):
            for command in CARDS:
                check(dump(sock, number, command) == -errno.EPERM, command)
            for command in HOST:
                check(dump(sock, number, command) >= 0, command)
        check(dump(sock, number, LISTENER_GET) > 0, "listeners")

    def container():
        uid, gid = os.getuid(), os.getgid()
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
        for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{file}", "w") as proc:
                proc.write(text)
        sock, number = family()
        for _ in range(ROUNDS):
            for command in CARDS:
                check(dump(sock, number, command) == 0, command)
            check(all(dump(sock, number, command) >= 0 for command in HOST), "what the host knows")

    child(nobody)
    child(container)
    listening.close()


parts = {"counters": counters, "requests": requests}
parts[sys.argv[1]]()
print("every namespace")
