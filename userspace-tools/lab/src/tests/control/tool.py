# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Each command of the operators' tool, on the module and the card. Runs in the guest, as root."""

import ctypes
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

TOOL = "/build/bin/acceltcp"
PATIENCE = 60


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def run(*args, code=0, user=None):
    """What the tool prints; its exit status must be so."""
    done = subprocess.run([TOOL, *args], capture_output=True, text=True, user=user, timeout=PATIENCE)
    check(done.returncode == code, args, done)
    check(code == 0 or done.stderr or done.stdout, "says nothing", args)
    return done.stdout if code == 0 else done.stdout + done.stderr


def told(*args):
    return json.loads(run("-j", *args))


def host(name):
    with subprocess.Popen(["ethtool", "-S", "nic0"], stdout=subprocess.PIPE, text=True) as ethtool:
        return next(int(line.split(":")[1]) for line in ethtool.stdout if line.strip().startswith(f"{name}:"))


def views():
    check("nic0" in run() and "attached" in run("status"), "status")
    check("nic0" in json.dumps(told("status")), "JSON of status")
    check("syn.answered" in run("stats"), "stats")
    check("syn.answered" in json.dumps(told("stats", "nic0")), "stats of a card")
    check(told("flows") == [] and told("flows", "nic0", "--count")["total"] == 0, "no connections")
    for wrong in (["eth77"], ["lo"]):
        run("flows", *wrong, code=1)
    for wrong in (["--state", "established"], ["--peer", "10.0.0.1/8"], ["-4", "-6"], ["--peer-port", "70000"]):
        run("flows", *wrong, code=2)
    check(isinstance(told("listeners"), list) and isinstance(told("splices"), list), "lists")
    run("stats", "eth77", code=1)
    # It may warn, and must find nothing that is broken.
    check("nic0" in run("doctor"), "doctor")


def changes():
    before = host("keys_rotated")
    run("keys", "rotate")
    end = time.monotonic() + PATIENCE
    while host("keys_rotated") == before and time.monotonic() < end:
        time.sleep(0.05)
    check(host("keys_rotated") > before, "no key was rotated")
    run("policy", "add", "--port", "7000-7010", "--address", "10.99.0.0/24", "--uid", "root", "--offload", "setup,defer")
    rules = told("policy", "list")
    check(len(rules) == 1, rules)
    with open("/tmp/policy.conf", "w") as file:
        file.write("# two\n--port 80 --offload setup,teardown\n--port 81 --offload none --priority 5\n")
    run("policy", "load", "/tmp/policy.conf", "--check")
    check(told("policy", "list") == rules, "a check changes nothing")
    text = run("policy", "load", "/tmp/policy.conf")
    check(text.startswith("2 rules: 2 added, 1 removed, 0 unchanged") and "+ --port 80 " in text and "- --port 7000" in text,
          text)
    rules = told("policy", "list")
    check(len(rules) == 2, rules)
    check("none is new or gone" in run("policy", "load", "/tmp/policy.conf"), "the same file")
    check(told("policy", "list") == rules, "the same file")
    with open("/tmp/many.conf", "w") as file:
        file.writelines(f"--port {port} --address fd00::{port}\n" for port in range(1, 1026))
    check("too many" in run("policy", "load", "/tmp/many.conf", code=1), "too many")
    check(told("policy", "list") == rules, "too many rules change nothing")
    with open("/tmp/policy.conf", "a") as file:
        file.write("--port 82 --offload everything\n")
    check("4" in run("policy", "load", "/tmp/policy.conf", code=1), "names the line")
    check(told("policy", "list") == rules, "a broken file changes nothing")
    run("policy", "del", str(rules[0]["id"]))
    run("policy", "del", "77777", code=1)
    run("policy", "flush")
    check(told("policy", "list") == [], "flushed")
    for wrong in (["--port", "0"], ["--port", "9-8"], ["--address", "10.0.0.1/33"], ["--offload", "flight"],
                  ["--uid", "no-such-user"], ["--offload", "teardown,defer"]):
        done = subprocess.run([TOOL, "policy", "add", *wrong], capture_output=True, text=True, timeout=PATIENCE)
        check(done.returncode in (1, 2) and done.stderr, wrong, done)
    check(told("limits") == {"sram_high": 100, "sram_low": 90}, told("limits"))
    run("limits", "--sram-high", "70", "--sram-low", "50")
    check("70%" in run("limits") and told("limits")["sram_low"] == 50, "limits")
    run("limits", "--sram-high", "101", code=2)
    run("stats", "--reset")


def acl():
    """Each command on access lists; none of the rules meets a frame of the lab."""
    added = json.loads(run("-j", "acl", "add", *"dev nic0 prio 10 deny proto tcp from 192.0.2.0/24 port 1-2 "
                           "to any port 80-90".split()))
    told_last = run("acl", "add", *"allow dev nic0 family inet6 proto 253 vlan 7".split())
    check(told_last.startswith("rule "), told_last)
    rules = told("acl", "list")
    check([(rule["handle"], rule["priority"], rule["action"]) for rule in rules]
          == [(added["handle"], 10, "deny"), (int(told_last.split()[1]), 1000, "allow")], rules)
    check(all(rule["device"] == "nic0" and rule["origin"] == "operator" for rule in rules), rules)
    check((rules[0]["source"], rules[0]["source_len"], rules[0]["destination_port_last"]) == ("192.0.2.0", 24, 90), rules)
    check(rules[1]["vlan"] == 7 and rules[1]["family"] == 6, rules)
    text = run("acl", "list", "dev", "nic0")
    check("proto tcp from 192.0.2.0/24 port 1-2 to any port 80-90" in text and "family inet6" in text, text)
    for wrong in (["add"], ["add", "dev", "nic0"], ["add", "dev", "nic0", "deny", "from", "10.0.0.1/8"],
                  ["add", "dev", "nic0", "deny", "prio", "65536"], ["add", "dev", "nic0", "deny", "with", "care"],
                  ["del", "dev", "nic0"], ["flush"], ["list", "nic0"]):
        run("acl", *wrong, code=2)
    check("ports need" in run("acl", "add", "dev", "nic0", "deny", "port", "80", code=1), "says why")
    run("acl", "add", "dev", "lo", "deny", code=1)
    run("acl", "add", "dev", "eth77", "deny", code=1)
    run("acl", "list", "dev", "lo", code=1)
    run("acl", "del", "dev", "nic0", "handle", str(rules[0]["handle"]))
    check("no rule" in run("acl", "del", "dev", "nic0", "handle", str(rules[0]["handle"]), code=1), "twice")
    check(len(told("acl", "list")) == 1, "one is left")
    run("acl", "flush", "dev", "nic0")
    check(told("acl", "list") == [], "flushed")


def sockmaps():
    """A BPF map of sockets takes no listener that a rule applies to, which is said."""
    def mentioned():
        return ["redirect" in run(*args) for args in (["doctor"], ["policy", "list"])]

    # BPF_MAP_CREATE of a BPF_MAP_TYPE_SOCKMAP: sizes of key and value, entries, and behind flags its name.
    attributes = struct.pack("IIII12x16s", 15, 4, 4, 1, b"redirect")
    libc = ctypes.CDLL(None, use_errno=True)
    sockmap = libc.syscall(321, 0, attributes, len(attributes))
    check(sockmap >= 0, os.strerror(ctypes.get_errno()))
    check(mentioned() == [False, False], "without rules")
    run("policy", "add", "--port", "80", "--offload", "none")
    check(mentioned() == [False, False], "with a rule that leaves sockets alone")
    run("policy", "add", "--port", "81", "--offload", "setup")
    check(mentioned() == [True, True], "with a rule")
    os.close(sockmap)
    check(mentioned() == [False, False], "without the map")
    run("policy", "flush")


def no_permission():
    nobody = 65534
    for args in (["listeners"], ["policy", "list"], ["limits"], ["stats"]):
        run(*args, user=nobody)
    check("syn.answered" not in run("stats", user=nobody), "no card was asked")
    for args in (["status"], ["stats", "nic0"], ["splices"], ["flows"], ["acl", "list"]):
        check("to ask cards needs root" in run(*args, code=4, user=nobody), args)
    for args in (["policy", "add"], ["policy", "flush"], ["keys", "rotate"], ["stats", "--reset"],
                 ["acl", "add", "dev", "nic0", "deny"], ["acl", "flush", "dev", "nic0"], ["limits", "--sram-low", "1"]):
        run(*args, code=4, user=nobody)


def monitor():
    with subprocess.Popen([TOOL, "-j", "monitor"], stdout=subprocess.PIPE, text=True) as process:
        seen = []
        end = time.monotonic() + PATIENCE
        # It says nothing of when it listens: the state changes until it has seen that.
        while time.monotonic() < end and not ("down" in seen and "attached" in seen):
            for state in ("down", "up"):
                subprocess.run(["ip", "link", "set", "nic0", state], check=True)
                while select.select([process.stdout], [], [], 0.5)[0]:
                    seen.append(json.loads(process.stdout.readline()).get("state"))
        process.terminate()
    check("down" in seen and "attached" in seen, seen)


def top():
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        termios.tcsetwinsize(0, (24, 100))
        os.execv(TOOL, [TOOL, "top"])
    # A window that is smaller suddenly, and one in which nothing has a place.
    for size in ((24, 100), (10, 40), (2, 3), (30, 120)):
        termios.tcsetwinsize(terminal, size)
        os.kill(pid, signal.SIGWINCH)
        screen = b""
        end = time.monotonic() + PATIENCE
        while b"nic0" not in screen and time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                screen += os.read(terminal, 65536)
            if screen and size == (2, 3):
                break
        check(screen and (b"nic0" in screen or size == (2, 3)), size, screen)
    os.write(terminal, b"q")
    # The terminal must be read, or it cannot end.
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass
    check(os.waitpid(pid, 0)[1] == 0, "top")


def no_module():
    subprocess.run(["rmmod", "acceltcp"], check=True)
    check("modprobe acceltcp" in run("status", code=3), "says what to do")
    run("doctor", code=5)


views()
changes()
acl()
sockmaps()
no_permission()
monitor()
top()
no_module()
print("every command")
