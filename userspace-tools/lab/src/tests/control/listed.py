# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Lists many connections again and again, and looks for each that stays with the card. Runs in the guest.

Standard input is JSON: "ports" of the peers that stay, by their addresses, and "times". The answer is JSON: how many
stay with the card, as the host has ended some itself, how many entries the shortest list had, and the most memory that
the tool ever had, in KiB.
"""

import json
import subprocess
import sys

ASKED = json.load(sys.stdin)
HOSTS = subprocess.run(["ss", "-Htan", "state", "connected", "sport", "=", ":8080"],
                       stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
HOSTS = [line.split()[4].rsplit(":", 1) for line in HOSTS]
HOSTS = {(peer.strip("[]").removeprefix("::ffff:"), int(port)) for peer, port in HOSTS}
STAY = {(peer, port) for peer, ports in ASKED["ports"].items() for port in ports} - HOSTS



def most_memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


least, memory = None, 0
for _ in range(ASKED["times"]):
    seen, total = set(), 0
    command = ["/build/bin/acceltcp", "-j", "flows"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        # A line for each entry, between brackets.
        for line in process.stdout:
            if line.strip() in ("[", "]", "[]"):
                continue
            entry = json.loads(line.strip().rstrip(","))
            total += 1
            # It has the whole list by now, and waits for its reader.
            if total % 10000 == 0 and total < len(STAY) // 2:
                memory = max(memory, most_memory(process.pid))
            key = (entry["peer"], entry["peer_port"])
            if key not in STAY:
                continue
            if key in seen:
                sys.exit(f"twice: {entry}")
            if entry["state"] != "fin-wait-2" or entry["local_port"] != 8080:
                sys.exit(f"not what it is: {entry}")
            seen.add(key)
    if process.returncode != 0:
        sys.exit(f"exit status {process.returncode}")
    if seen != STAY:
        sys.exit(f"{len(STAY - seen)} of {len(STAY)} are missing, such as {sorted(STAY - seen)[:3]}")
    least = total if least is None else min(least, total)
print(json.dumps({"stay": len(STAY), "least": least, "memory_kib": memory}))
