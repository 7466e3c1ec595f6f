# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Rules for services and devices that are not there yet, that go, and that come back. Runs in the guest, as root.

Standard input is the policy's example, as it is shipped.
"""

import json
import os
import socket
import subprocess
import sys
import time

TOOL = "/build/bin/acceltcp"
PATIENCE = 60
CGROUPS = "/sys/fs/cgroup"
SERVICE = "/acceltcp.slice/web.service"
CLONE_NEWCGROUP = 0x02000000


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def run(*args, code=0):
    done = subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=PATIENCE)
    check(done.returncode == code, args, done)
    return done.stdout


def told(*args):
    return json.loads(run("-j", *args))


def load(*lines):
    done = subprocess.run([TOOL, "policy", "load", "-"], input="\n".join(lines), capture_output=True, text=True,
                          timeout=PATIENCE)
    check(done.returncode == 0, lines, done)
    return told("policy", "list")


def until(condition, *what):
    """A worker needs a moment."""
    end = time.monotonic() + PATIENCE
    while not condition():
        check(time.monotonic() < end, "waited in vain", *what)


def join(path):
    with open(f"{CGROUPS}{path}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))


def listener(port, device=None):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind(("0.0.0.0", port))
    sock.listen(8)
    return sock


def follows(port):
    """The rule that a listener follows."""
    found = [entry["policy"] for entry in told("listeners") if entry["port"] == port]
    check(len(found) == 1, port, found)
    return found[0]


def problems():
    return [entry["message"] for entry in told("doctor") if entry["check"] == "policy"]


def boot():
    """What is loaded at boot, before there is any service or device; the rest of the file loads."""
    rules = load("--port 9000 --offload teardown", f"--cgroup {SERVICE} --offload teardown",
                 "--dev svc0 --port 9001 --offload teardown", f"--dev svc0 --cgroup {CGROUPS}/none --offload none")
    check([rule["pending"] for rule in rules] == [[], ["cgroup"], ["device"], ["device", "cgroup"]], rules)
    check([rule["cgroup"] for rule in rules] == [None, SERVICE, None, "/none"], rules)
    found = problems()
    check(len(found) == 3 and f"there is no cgroup {SERVICE}" in found[0] and "there is no network device svc0" in found[1],
          found)
    check("(pending)" in run("policy", "list"), "marked")
    sock = listener(9000)
    until(lambda: follows(9000) == rules[0]["id"], "the rest is in force")
    sock.close()
    saved = run("policy", "save")
    check(load(saved) == told("policy", "list") and "#" not in saved, saved)
    return rules


def service(rules):
    """A service that starts, and starts again: its cgroup is another one each time."""
    number = rules[1]["id"]
    for hits in (1, 2):
        os.makedirs(f"{CGROUPS}{SERVICE}/worker")
        os.makedirs(f"{CGROUPS}{SERVICE}2")
        check("cgroup" not in told("policy", "list")[1]["pending"], "it is there")
        socks = []
        for path, wanted in ((SERVICE, number), (f"{SERVICE}/worker", number), (f"{SERVICE}2", None), ("/", None)):
            join(path)
            port = 9100 + len(socks)
            socks.append(listener(port))
            until(lambda: follows(port) == wanted, path, wanted)
        rule = told("policy", "list")[1]
        check((rule["hits"], rule["listeners"]) == (2 * hits, 2), rule)
        for sock in socks:
            sock.close()
        for path in (f"{SERVICE}/worker", SERVICE, f"{SERVICE}2"):
            os.rmdir(CGROUPS + path)
        check(told("policy", "list")[1]["pending"] == ["cgroup"], "it has gone")


def device(rules):
    """A device that comes, and changes its name."""
    def ip(*words):
        subprocess.run(["ip", "link", *words], check=True)

    ip("add", "link", "nic0", "name", "svc0", "type", "vlan", "id", "7")
    check(told("policy", "list")[2]["pending"] == [], "it is there")
    sock = listener(9001, "svc0")
    until(lambda: follows(9001) == rules[2]["id"], "bound to it")
    other = listener(9001, "nic0")
    check(told("policy", "list")[2]["hits"] == 1, "bound to another one")
    ip("set", "svc0", "name", "svc1")
    until(lambda: {entry["policy"] for entry in told("listeners") if entry["port"] == 9001} == {None}, "another name")
    check(told("policy", "list")[2]["pending"] == ["device"], "renamed")
    ip("property", "add", "dev", "svc1", "altname", "svc0")
    check(told("policy", "list")[2]["pending"] == [], "an alternative name")
    ip("property", "del", "dev", "svc1", "altname", "svc0")
    ip("set", "svc1", "name", "svc0")
    until(lambda: told("policy", "list")[2]["listeners"] == 1, "its name again")
    sock.close()
    other.close()
    ip("delete", "svc0")
    check(told("policy", "list")[2]["pending"] == ["device"], "it has gone")


def namespace():
    """Who is in a cgroup namespace says, and sees, paths from the root of that."""
    os.makedirs(f"{CGROUPS}/acceltcp.slice/container/inner")
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            join("/acceltcp.slice/container")
            os.unshare(CLONE_NEWCGROUP)
            rules = load("--cgroup /inner --offload teardown", "--cgroup /later --offload teardown", "--cgroup /")
            check([(rule["cgroup"], rule["pending"]) for rule in rules]
                  == [("/inner", []), ("/later", ["cgroup"]), ("/", [])], rules)
            os.write(ready[1], b".")
            os.read(done[0], 1)
            rules = told("policy", "list")
            check([rule["cgroup"] for rule in rules] == ["/../.."], rules)
            status = 0
        finally:
            os._exit(status)
    check(os.read(ready[0], 1) == b".", "in the namespace")
    found = [rule["cgroup"] for rule in told("policy", "list")]
    top = "/acceltcp.slice/container"
    check(found == [f"{top}/inner", f"{top}/later", top], found)
    load("--cgroup /")
    os.write(done[1], b".")
    check(os.waitpid(pid, 0)[1] == 0, "in a cgroup namespace")


def example():
    """The example, also with all that is a comment in it, on a machine that has none of these services."""
    text = sys.stdin.read()
    check(load(*text.splitlines()) == [], "it has no rule")
    lines = [line[1:] for line in text.splitlines() if line.startswith("#--")]
    check(len(lines) > 3, lines)
    rules = load(*lines)
    check(len(rules) == len(lines) and any(rule["pending"] for rule in rules), rules)
    # What a unit does at boot, for which there is no service yet, is no failure.
    with open("/tmp/policy.conf", "w") as file:
        file.write("\n".join(lines))
    check("none is new or gone" in run("policy", "load", "/tmp/policy.conf"), "the same from a file")


def dead():
    load("--port 80 --offload none --priority 1", "--port 80 --uid root --cgroup /x")
    found = problems()
    check(len(found) == 1 and "never applies" in found[0], found)


if not os.path.ismount(CGROUPS):
    subprocess.run(["mount", "-t", "cgroup2", "none", CGROUPS], check=True)
loaded = boot()
service(loaded)
device(loaded)
namespace()
dead()
example()
run("policy", "flush")
print("every rule")
