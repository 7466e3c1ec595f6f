# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Each operation of the netlink family, asked by the kernel's own client for any family (ynl).

Standard input is the family's definition. Runs in the guest, as root, without rules and with the
card attached.
"""

import errno
import glob
import os
import shutil
import socket
import struct
import sys
import time

# The stock kernel's, from which others are built.
TREE = glob.glob("/build/kernel/linux-*")[0]
sys.path.append(f"{TREE}/tools/net/ynl")
from pyynl.lib import NlError, YnlFamily  # noqa: E402

SOL_TCP, TCP_ULP, SOL_ACCELTCP, ACCELTCP_OFFLOAD, TCP_MD5SIG = 6, 31, 300, 1, 14
IPPROTO_MPTCP = 262
CARD_IP = "10.99.0.2"
LOOPBACK = 1
# Rules of the access list, as the card was told.
ACL_ROOM = 300
# For what a worker or the card does by itself, in seconds.
PATIENCE = 30

# As it lies in the kernel's tree, beside the schema against which it is checked.
WORK = "/tmp/netlink"
SPEC = "Documentation/netlink/specs/acceltcp.yaml"

os.makedirs(f"{WORK}/{os.path.dirname(SPEC)}")
os.chdir(WORK)
for schema in glob.glob(f"{TREE}/Documentation/netlink/*.yaml"):
    shutil.copy(schema, "Documentation/netlink")
with open(SPEC, "w") as file:
    file.write(sys.stdin.read())


def family():
    return YnlFamily(SPEC)


ynl = family()


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def refused(code, text, operation, args, flags=None):
    """The operation fails so, and its extended acknowledgement has the text."""
    try:
        answer = ynl.do(operation, args)
    except NlError as error:
        check(abs(error.error) == code, operation, args, error)
        said = str(error.nl_msg)
        check(text in said, operation, args, said)
        return
    raise AssertionError(("not refused", operation, args, answer))


def listener(port, address="0.0.0.0", mptcp=False, ulp=False, md5=False, bound=None):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP if mptcp else 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ulp:
        sock.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
        sock.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", 1))
    if bound:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bound.encode())
    sock.bind((address, port))
    if md5:
        peer = struct.pack("HH4s120x", socket.AF_INET, 0, socket.inet_aton("10.99.0.1"))
        sock.setsockopt(SOL_TCP, TCP_MD5SIG, peer + struct.pack("BBHi80s", 0, 0, 3, 0, b"key"))
    sock.listen(8)
    return sock


def shown(port):
    found = [entry for entry in ynl.dump("listener-get", {}) if entry["port"] == port]
    check(len(found) == 1, port, found)
    return found[0]


def settled(port):
    """What is shown once a worker has looked at the listener, and the card has its rules."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        entry = shown(port)
        if entry["reason"] not in ("pending",) and ("policy" in entry or entry["reason"] != "not-asked"):
            return entry
        os.sched_yield()
    raise AssertionError(("never settles", shown(port)))


def rule(number):
    return ynl.do("policy-get", {"id": number})


def devices():
    found = list(ynl.dump("device-get", {}))
    check(len(found) == 1, found)
    card = found[0]
    check(card["state"] == "attached", card)
    check(set(card["capabilities"]) == {"setup", "teardown", "splice"}, card)
    check(card["ifname"] == "nic0" and "acceltcp" in card["firmware"], card)
    tables = {table["name"]: table for table in card["table"]}
    check(tables["flows"]["capacity"] >= 73728 and tables["flows"]["memory"] == "sram", tables)
    check(tables["time-wait"]["capacity"] >= 1048576 and tables["time-wait"]["memory"] == "dram", tables)
    check(tables["spliced-pairs"]["capacity"] >= 28672, tables)
    check(card["flow-credits"] == tables["flows"]["capacity"], card)
    check(card["pair-credits"] == tables["spliced-pairs"]["capacity"], card)
    one = ynl.do("device-get", {"ifindex": card["ifindex"]})
    check(one["ifname"] == "nic0", one)
    refused(errno.ENODEV, "no card", "device-get", {"ifindex": 9999})
    refused(errno.EINVAL, "", "device-get", {})
    refused(errno.ERANGE, "", "device-get", {"ifindex": 0})
    return card["ifindex"]


def counters(card):
    def values(args):
        found = {}
        for entry in ynl.dump("counter-get", args):
            key = (entry.get("ifindex"), entry["name"])
            check(key not in found, "twice", key)
            found[key] = entry["value"]
        return found

    everything = values({})
    host = {name: value for (ifindex, name), value in everything.items() if ifindex is None}
    check("teardown_handed_over" in host and "policy_applied" in host, host)
    of_card = values({"ifindex": card})
    check(of_card and all(ifindex == card for ifindex, _ in of_card), of_card)
    check((card, "syn.answered") in of_card and (card, "wire.passed") in of_card, of_card)
    check(host["policy_applied"] > 0, host)
    ynl.do("counter-reset", {})
    check(values({})[(None, "policy_applied")] == 0, "reset")
    try:
        values({"ifindex": 9999})
    except NlError as error:
        check(abs(error.error) == errno.ENODEV, error)
    else:
        raise AssertionError("counters of no card")


def policy(card):
    refused(errno.EINVAL, "", "policy-add", {})
    refused(errno.EINVAL, "last port", "policy-add",
            {"offloads": {"setup"}, "port-first": 20, "port-last": 10})
    refused(errno.EINVAL, "first one", "policy-add", {"offloads": {"setup"}, "port-last": 10})
    refused(errno.EINVAL, "exclude", "policy-add", {"offloads": {"setup", "defer", "server-first"}})
    refused(errno.EINVAL, "exclude", "policy-add", {"offloads": {"teardown", "defer"}})
    refused(errno.EINVAL, "exclude", "policy-add", {"offloads": {"splice"}})
    refused(errno.EINVAL, "prefix length", "policy-add", {"offloads": {"setup"}, "prefix-len": 8})
    refused(errno.EINVAL, "address", "policy-add",
            {"offloads": {"setup"}, "address": "10.0.0.1", "prefix-len": 8})
    refused(errno.ERANGE, "", "policy-add", {"offloads": {"setup"}, "prefix-len": 129})
    refused(errno.ERANGE, "", "policy-add", {"offloads": {"setup"}, "port-first": 0})
    refused(errno.EINVAL, "1 to 15", "policy-add", {"offloads": {"setup"}, "ifname": ""})
    refused(errno.EINVAL, "", "policy-add", {"offloads": {"setup"}, "ifname": "x" * 16})
    for path in ("", "a", "/a/", "//", "/a//b", "/./a", "/a/.."):
        refused(errno.EINVAL, "path", "policy-add", {"offloads": {"setup"}, "cgroup": path})
    refused(errno.EINVAL, "", "policy-add", {"offloads": {"setup"}, "cgroup": "/" + "x" * 1023})
    refused(errno.ENOENT, "no rule", "policy-get", {"id": 77777})
    refused(errno.ENOENT, "no rule", "policy-del", {"id": 77777})
    check(list(ynl.dump("policy-get", {})) == [], "no rules at first")

    # Those that listen already, and those that begin to.
    early = listener(7001)
    check(shown(7001)["reason"] == "not-asked", shown(7001))
    all_ports = ynl.do("policy-add", {"offloads": {"setup", "teardown"}, "port-first": 7001, "port-last": 7099})["id"]
    check(shown(7001)["policy"] == all_ports, shown(7001))
    entry = settled(7001)
    check(entry["reason"] == "none" and entry["rules"] == 1, entry)
    late = listener(7002)
    check(settled(7002)["policy"] == all_ports, shown(7002))
    outside = listener(7100)
    check("policy" not in shown(7100), shown(7100))
    told = rule(all_ports)
    check((told["listeners"], told["hits"], told["refused"]) == (2, 2, 0), told)

    # An application that asks itself is left alone.
    own = listener(7003, ulp=True)
    entry = settled(7003)
    check("policy" not in entry and "by-application" in entry and set(entry["offloads"]) == {"setup"}, entry)

    # Nor is one that asks behind listen(), whoever is faster.
    claimed = listener(7011)
    check(settled(7011)["policy"] == all_ports, shown(7011))
    claimed.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
    entry = shown(7011)
    check("by-application" in entry and entry["offloads"] == set(), entry)
    try:
        claimed.setsockopt(SOL_TCP, TCP_ULP, b"acceltcp")
    except FileExistsError:
        pass
    else:
        raise AssertionError("the same ULP twice")
    claimed.setsockopt(SOL_ACCELTCP, ACCELTCP_OFFLOAD, struct.pack("I", 1))
    check(shown(7011)["offloads"] == {"setup"}, shown(7011))
    claimed.close()

    # What a rule cannot do, and why.
    refusals = []
    for port, kind in ((7004, "mptcp"), (7005, "md5")):
        refusals.append(listener(port, **{kind: True}))
        end = time.monotonic() + PATIENCE
        told = rule(all_ports)
        while told["refused"] != len(refusals) and time.monotonic() < end:
            os.sched_yield()
            told = rule(all_ports)
        want = {"mptcp": "mptcp", "md5": "authenticated"}[kind]
        check(told["refused"] == len(refusals) and told["last-reason"] == want, kind, told)
        check("policy" not in shown(port), shown(port))
    check(shown(7004)["reason"] == "mptcp", shown(7004))

    # A rule of a smaller priority wins, at once; when it goes, the other is back.
    sooner = ynl.do("policy-add", {"offloads": set(), "port-first": 7002, "priority": 10})["id"]
    entry = shown(7002)
    check("policy" not in entry and entry["reason"] == "not-asked", entry)
    check([told["id"] for told in ynl.dump("policy-get", {})] == [sooner, all_ports], "order")
    ynl.do("policy-del", {"id": sooner})
    check(shown(7002)["policy"] == all_ports, shown(7002))

    # Each kind of condition, with one socket that fits and one that does not.
    ynl.do("policy-flush", {})
    check(list(ynl.dump("policy-get", {})) == [], "flushed")
    check(all("policy" not in entry for entry in ynl.dump("listener-get", {})), "withdrawn")
    here = listener(7006, CARD_IP)
    local = listener(7006, "127.0.0.1", )
    bound = listener(7008, bound="nic0")
    group = "/sys/fs/cgroup/acceltcp-test"
    os.makedirs(group, exist_ok=True)
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    inside = listener(7009)
    with open("/sys/fs/cgroup/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    if os.fork() == 0:
        os.setuid(65534)
        sock = listener(7010)
        os.write(ready[1], b".")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    cases = [
        ({"address": "10.99.0.0", "prefix-len": 24}, (CARD_IP, 7006)),
        ({"ifname": "nic0"}, ("0.0.0.0", 7008)),
        ({"cgroup": "/acceltcp-test"}, ("0.0.0.0", 7009)),
        ({"uid": 65534}, ("0.0.0.0", 7010)),
    ]
    for condition, want in cases:
        number = ynl.do("policy-add", {"offloads": {"teardown"}, "max-data": 1000, **condition})["id"]
        found = {(entry["address"], entry["port"]) for entry in ynl.dump("listener-get", {})
                 if entry.get("policy") == number}
        check(found == {want}, condition, found)
        told = rule(number)
        for key, value in condition.items():
            check(told[key] == value, key, told)
        check(told["max-data"] == 1000 and told["listeners"] == 1 and "pending" not in told, told)
        ynl.do("policy-del", {"id": number})
    os.write(done[1], b".")
    os.wait()
    os.rmdir(group)
    for sock in (early, late, outside, own, here, local, bound, inside, *refusals):
        sock.close()
    for _ in range(1024):
        ynl.do("policy-add", {"offloads": {"teardown"}, "port-first": 1})
    refused(errno.ENOSPC, "too many", "policy-add", {"offloads": {"teardown"}, "port-first": 1})
    check(len({told["id"] for told in ynl.dump("policy-get", {})}) == 1024, "all are told")
    ynl.do("policy-flush", {})


def policy_set():
    """All rules at once: what stays keeps its number and counters, and a refusal changes nothing."""
    def put(*rules):
        changes = ynl.do("policy-set", {"rule": list(rules)} if rules else {})
        return changes["added"], changes["removed"], changes["unchanged"]

    def told():
        return list(ynl.dump("policy-get", {}))

    check(put() == (0, 0, 0) and told() == [], "no rules at first")
    sock = listener(7001)
    web = {"offloads": {"setup"}, "port-first": 7001}
    first = {"offloads": {"teardown"}, "port-first": 7090, "priority": 5}
    check(put(web, first) == (2, 0, 0), told())
    before = told()
    check([entry["priority"] for entry in before] == [5, 1000], before)
    number = before[1]["id"]
    check(settled(7001)["policy"] == number and before[1]["hits"] == 1, before)
    for again in ((web, first), (first, web)):
        check(put(*again) == (0, 0, 2) and told() == before, told())
    # The rule stays, whatever is around it; others of its priority come in the order of the request.
    other = {"offloads": {"teardown"}, "port-first": 7080}
    check(put(other, web, other) == (2, 1, 1), told())
    now = told()
    check([entry["id"] == number for entry in now] == [False, True, False], now)
    check(now[1] == before[1] and shown(7001)["policy"] == number, now)
    check(put(web, other, other) == (0, 0, 3) and told()[0]["id"] == number, told())
    # A rule that says more is another one, and its listener is that of the new one at once.
    check(put({**web, "max-data": 1000}) == (1, 3, 0), told())
    check(shown(7001)["policy"] == told()[0]["id"] != number, told())
    before = told()
    for text, wrong in (("last port", {"offloads": {"setup"}, "port-first": 20, "port-last": 10}),
                        ("exclude", {"offloads": {"teardown", "defer"}}), ("needs offloads", {"port-first": 80}),
                        ("address", {"offloads": {"setup"}, "address": "10.0.0.1", "prefix-len": 8})):
        refused(errno.EINVAL, text, "policy-set", {"rule": [web, wrong]})
    refused(errno.ERANGE, "", "policy-set", {"rule": [web, {"offloads": {"setup"}, "port-first": 0}]})
    refused(errno.ENOSPC, "too many", "policy-set", {"rule": [other] * 1025})
    check(told() == before, told())
    check(put(*[other] * 1024) == (1024, 1, 0), "as many as there may be")
    check("policy" not in shown(7001), shown(7001))
    check(put() == (0, 1024, 0) and told() == [], told())
    sock.close()


def acl(card):
    def rules(args=None):
        return list(ynl.dump("acl-get", args or {}))

    def add(**more):
        return ynl.do("acl-add", {"ifindex": card, "action": "deny", **more})["handle"]

    check(rules() == [] and rules({"ifindex": card}) == [], "no rules at first")
    wrong = [
        (errno.ENODEV, "no card", {"ifindex": 9999}),
        (errno.ENODEV, "no card", {"ifindex": LOOPBACK}),
        (errno.ERANGE, "", {"ifindex": 0}),
        (errno.EINVAL, "address", {"source": "10.0.0.1", "source-len": 8}),
        (errno.EINVAL, "address", {"source": "10.0.0.0", "source-len": 33}),
        (errno.EINVAL, "address", {"destination": "2001:db8::1", "destination-len": 64}),
        (errno.ERANGE, "", {"destination": "::", "destination-len": 129}),
        (errno.EINVAL, "prefix length", {"destination-len": 8}),
        (errno.EINVAL, "together", {"source": "10.0.0.1", "destination": "::1"}),
        (errno.EINVAL, "together", {"source": "10.0.0.1", "family": 6}),
        (errno.EINVAL, "4 or 6", {"family": 5}),
        (errno.EINVAL, "first one", {"protocol": 6, "source-port-last": 8}),
        (errno.EINVAL, "below", {"protocol": 6, "destination-port-first": 9, "destination-port-last": 8}),
        (errno.EINVAL, "ports need", {"destination-port-first": 80}),
        (errno.EINVAL, "ports need", {"protocol": 1, "source-port-first": 80}),
        (errno.ERANGE, "", {"vlan": 0}),
        (errno.ERANGE, "", {"vlan": 4095}),
        (errno.EINVAL, "no tag", {"vlan": 1, "untagged": True}),
    ]
    for code, text, args in wrong:
        refused(code, text, "acl-add", {"ifindex": card, "action": "deny", **args})
    refused(errno.EINVAL, "", "acl-add", {"ifindex": card})
    refused(errno.EINVAL, "", "acl-add", {"action": "deny"})
    refused(errno.ERANGE, "", "acl-add", {"ifindex": card, "action": 3})
    refused(errno.ERANGE, "", "acl-add", {"ifindex": card, "action": 0})
    for operation in ("acl-get", "acl-del"):
        refused(errno.ENOENT, "no rule", operation, {"ifindex": card, "handle": 77777})
        refused(errno.EINVAL, "", operation, {"ifindex": card})
        refused(errno.EINVAL, "", operation, {"handle": 1})
        refused(errno.ENODEV, "no card", operation, {"ifindex": 9999, "handle": 1})
    refused(errno.ENODEV, "no card", "acl-flush", {"ifindex": 9999})
    refused(errno.EINVAL, "", "acl-flush", {})
    try:
        rules({"ifindex": 9999})
    except NlError as error:
        check(abs(error.error) == errno.ENODEV, error)
    else:
        raise AssertionError("rules of no card")
    check(rules() == [], "refusals leave nothing")

    # All that a rule can say comes back, also at the ends of what it can be; none of these meets the lab's frames.
    kinds = [
        {"priority": 0, "protocol": 6, "source": "192.0.2.0", "source-len": 24,
         "destination": "198.51.100.1", "destination-len": 32,
         "source-port-first": 0, "source-port-last": 65535,
         "destination-port-first": 80, "destination-port-last": 80, "vlan": 4094},
        {"priority": 65535, "source": "2001:db8::", "source-len": 32, "untagged": True},
        {"priority": 7, "family": 4, "protocol": 255},
        {"priority": 7, "family": 6, "protocol": 0, "action": "allow"},
    ]
    handles = [add(**kind) for kind in kinds]
    check(len(set(handles)) == len(handles) and 0 not in handles, handles)
    for kind, handle in zip(kinds, handles):
        told = ynl.do("acl-get", {"ifindex": card, "handle": handle})
        for key, value in {"action": "deny", "origin": "operator", "frames": 0, "bytes": 0, **kind}.items():
            check(told[key] == value, key, told)
        family = 4 if "." in kind.get("source", "") else 6
        check(told["family"] == kind.get("family", family), told)
        known = {"ifindex", "handle", "action", "origin", "frames", "bytes", "family", *kind}
        check(set(told) == known, set(told) ^ known)
    order = [handles[0], handles[2], handles[3], handles[1]]
    check([told["handle"] for told in rules()] == order, rules())
    check(rules({"ifindex": card}) == rules(), "of a card")
    # A rule that says nothing else has the priority in the middle, and both families.
    plain = add(protocol=253)
    told = ynl.do("acl-get", {"ifindex": card, "handle": plain})
    check(told["priority"] == 1000 and "family" not in told and "source" not in told, told)
    ynl.do("acl-del", {"ifindex": card, "handle": handles[2]})
    refused(errno.ENOENT, "no rule", "acl-del", {"ifindex": card, "handle": handles[2]})
    check([told["handle"] for told in rules()] == [handles[0], handles[3], plain, handles[1]], rules())
    ynl.do("acl-flush", {"ifindex": card})
    check(rules() == [], "flushed")

    # As many as the card has room for, which is told, and in more than one message; whether the link is up or not.
    used = {table["name"]: table for table in ynl.do("device-get", {"ifindex": card})["table"]}["acl"]
    check((used["used"], used["capacity"], used["memory"]) == (0, ACL_ROOM, "sram"), used)
    all_of_them = [add(protocol=253) for _ in range(ACL_ROOM)]
    refused(errno.ENOSPC, "no room", "acl-add", {"ifindex": card, "action": "deny", "protocol": 253})
    check([told["handle"] for told in rules()] == all_of_them, "all are told")
    used = {table["name"]: table for table in ynl.do("device-get", {"ifindex": card})["table"]}["acl"]
    check(used["used"] == ACL_ROOM and used["refused"] == 1, used)
    os.system("ip link set nic0 down")
    refused(errno.ENOSPC, "no room", "acl-add", {"ifindex": card, "action": "deny", "protocol": 253})
    ynl.do("acl-del", {"ifindex": card, "handle": all_of_them.pop()})
    all_of_them.append(add(protocol=253))
    check(os.system("ip link set nic0 up") == 0, "up")
    check([told["handle"] for told in rules()] == all_of_them, "all are told again")
    ynl.do("acl-flush", {"ifindex": card})
    ynl.do("acl-flush", {"ifindex": card})
    check(rules() == [], "flushed")


def no_permission():
    """Another user may look at what the host knows, have no card asked, and not change anything."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            globals()["ynl"] = family()
            for operation in ("listener-get", "policy-get"):
                list(ynl.dump(operation, {}))
            check(not any("ifindex" in entry for entry in ynl.dump("counter-get", {})), "counters of the host only")
            check("sram-high" in ynl.do("limits-get", {}), "may look")
            for operation, args in (
                    ("device-get", {}), ("pair-get", {}), ("acl-get", {}), ("flow-get", {}),
                    ("counter-get", {"ifindex": ifindex})):
                try:
                    found = list(ynl.dump(operation, args))
                except NlError as error:
                    check(abs(error.error) == errno.EPERM, operation, error)
                else:
                    raise AssertionError(("a card was asked", operation, found))
            for operation, args in (
                    ("device-get", {"ifindex": ifindex}), ("acl-get", {"ifindex": ifindex, "handle": 1}),
                    ("policy-add", {"offloads": {"setup"}}), ("policy-del", {"id": 1}), ("policy-flush", {}),
                    ("policy-set", {}), ("key-rotate", {}), ("counter-reset", {}), ("limits-set", {"sram-high": 1}),
                    ("acl-add", {"ifindex": ifindex, "action": "deny"}),
                    ("acl-del", {"ifindex": ifindex, "handle": 1}), ("acl-flush", {"ifindex": ifindex})):
                refused(errno.EPERM, "", operation, args)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    check(os.waitpid(pid, 0)[1] == 0, "without permission")


def broken_messages():
    """What no client that reads the definition would send."""
    number = ynl.nlproto  # the family is resolved
    check(number, "resolved")
    family_id = ynl.nlproto.family_id
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    sock.settimeout(10)

    def send(payload, command, flags=5):
        message = struct.pack("=IHHII", 16 + 4 + len(payload), family_id, flags, 1, 0)
        sock.send(message + struct.pack("=BBH", command, 1, 0) + payload)
        answer = sock.recv(65536)
        kind, = struct.unpack_from("=H", answer, 4)
        check(kind in (2, 3), "no error", kind)
        return -struct.unpack_from("=i", answer, 16)[0]

    policy_add, policy_del, acl_add, flow_get, policy_set, dump = 7, 8, 13, 16, 21, 0x305
    long_attribute = struct.pack("=HHI", 400, 10, 1)
    unknown = struct.pack("=HHI", 8, 200, 1)
    short = struct.pack("=HHI", 5, 10, 1)
    for payload in (long_attribute, unknown, short, b"\xff" * 40, b"\x08"):
        code = send(payload, policy_add)
        check(code in (errno.EINVAL, errno.ERANGE), payload, code)
    for payload in (struct.pack("=HHI", 400, 1, 1), struct.pack("=HHI", 8, 99, 1), struct.pack("=HHH", 6, 3, 1) + b"\0\0",
                    struct.pack("=HH", 4, 7), struct.pack("=HH20x", 24, 7), b"\xff" * 24):
        code = send(payload, acl_add)
        check(code in (errno.EINVAL, errno.ERANGE), payload, code)
    # An address of 5 bytes and of none, states that there are not, and what only answers have.
    for payload in (unknown, b"\xff" * 40, struct.pack("=HH5s3x", 9, 4, b"12345"), struct.pack("=HH", 4, 4),
                    struct.pack("=HHI", 8, 3, 1), struct.pack("=HHI", 8, 3, 1 << 6), struct.pack("=HHI", 8, 9, 1)):
        code = send(payload, flow_get, dump)
        check(code in (errno.EINVAL, errno.ERANGE), payload, code)
    # A rule that is no nest, one that is cut, and one with a number that there is not.
    offloads = struct.pack("=HHI", 8, 10, 1)
    for payload in (struct.pack("=HHI", 8, 1, 1), struct.pack("=HH", 12, 1) + offloads,
                    struct.pack("=HH", 10, 0x8001) + offloads, struct.pack("=HH", 40, 0x8001) + offloads,
                    struct.pack("=HH", 12, 0x8001) + struct.pack("=HHI", 8, 1, 1),
                    struct.pack("=HH", 12, 0x8001) + struct.pack("=HHI", 400, 10, 1), struct.pack("=HH", 4, 0x8001)):
        code = send(payload, policy_set)
        check(code in (errno.EINVAL, errno.ERANGE), payload, code)
    check(send(b"", 250) == errno.EOPNOTSUPP, "unknown command")
    check(send(b"", policy_del) == errno.EINVAL, "nothing named")
    sock.close()


def namespaces():
    """Rules are those of a namespace, and its end is theirs."""
    pid = os.fork()
    if pid == 0:
        try:
            os.unshare(os.CLONE_NEWNET)
            globals()["ynl"] = family()
            check(list(ynl.dump("device-get", {})) == [], "no card here")
            check(list(ynl.dump("policy-get", {})) == [], "no rule here")
            check(list(ynl.dump("acl-get", {})) == [], "no list here")
            for operation, args in (("acl-add", {"action": "deny"}), ("acl-del", {"handle": 1}), ("acl-flush", {}),
                                    ("acl-get", {"handle": 1})):
                refused(errno.ENODEV, "no card", operation, {"ifindex": ifindex, **args})
            check(list(ynl.dump("flow-get", {})) == [], "no connection here")
            number = ynl.do("policy-add", {"offloads": {"setup"}})["id"]
            sock = listener(7001)
            entry = settled(7001)
            check(entry["policy"] == number and entry["reason"] == "no-device", entry)
            sock.close()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    check(os.waitpid(pid, 0)[1] == 0, "namespace")
    check(list(ynl.dump("policy-get", {})) == [], "none of another namespace")


def flows(card):
    """The list of connections that cards end has none; and filters that make no sense."""
    for args in ({}, {"ifindex": card}, {"family": 6, "states": {"fin-wait-2", "time-wait"}},
                 {"peer": "10.0.0.0", "peer-prefix-len": 8, "peer-port": 1, "local": CARD_IP, "local-port": 80}):
        check(list(ynl.dump("flow-get", args)) == [], args)
    for code, text, args in (
            (errno.ENODEV, "no card", {"ifindex": 9999}),
            (errno.ERANGE, "", {"ifindex": 0}),
            (errno.ERANGE, "", {"family": 3}),
            (errno.EINVAL, "4 or 6", {"family": 5}),
            (errno.EINVAL, "prefix length", {"peer-prefix-len": 8}),
            (errno.EINVAL, "address", {"peer": "10.0.0.1", "peer-prefix-len": 8}),
            (errno.EINVAL, "address", {"peer": "10.0.0.1", "peer-prefix-len": 33}),
            (errno.ERANGE, "", {"peer": "fd99::1", "peer-prefix-len": 129})):
        try:
            found = list(ynl.dump("flow-get", args))
        except NlError as error:
            check(abs(error.error) == code and text in str(error.nl_msg), args, error)
        else:
            raise AssertionError(("not refused", args, found))


def limits():
    """How full cards may get, by netlink and by sysctl."""
    def sysctl(name):
        with open(f"/proc/sys/net/acceltcp/{name}") as file:
            return int(file.read())

    check(ynl.do("limits-get", {}) == {"sram-high": 100, "sram-low": 90}, ynl.do("limits-get", {}))
    for code, text, args in (
            (errno.EINVAL, "no limit", {}), (errno.ERANGE, "", {"sram-high": 0}), (errno.ERANGE, "", {"sram-low": 101}),
            (errno.ERANGE, "", {"sram-high": 80, "sram-low": 0})):
        refused(code, text, "limits-set", args)
    check((sysctl("sram_high"), sysctl("sram_low")) == (100, 90), "all or nothing")
    ynl.do("limits-set", {"sram-high": 80})
    check((sysctl("sram_high"), sysctl("sram_low")) == (80, 90), "one of them")
    for bad in ("0", "101", "x"):
        try:
            with open("/proc/sys/net/acceltcp/sram_low", "w") as file:
                file.write(bad)
        except OSError as error:
            check(error.errno == errno.EINVAL, error)
        else:
            raise AssertionError(("not refused", bad))
    ynl.do("limits-set", {"sram-high": 100, "sram-low": 90})


ready, done = os.pipe(), os.pipe()
ifindex = devices()
policy(ifindex)
policy_set()
acl(ifindex)
counters(ifindex)
check(list(ynl.dump("pair-get", {})) == [], "no pairs")
flows(ifindex)
limits()
ynl.do("key-rotate", {})
no_permission()
broken_messages()
namespaces()
print("every operation")
