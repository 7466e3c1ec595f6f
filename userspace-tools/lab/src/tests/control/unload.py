# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The module is unloaded and loaded again while sockets begin to listen all the time that a rule is for. Runs in the guest."""

import os
import signal
import socket
import subprocess
import time

TOOL = "/build/bin/acceltcp"
ROUNDS = 5
PATIENCE = 60


def listeners(port):
    while True:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen(1)


workers = []
for port in (7001, 7002):
    pid = os.fork()
    if pid == 0:
        listeners(port)
    workers.append(pid)
refused = 0
for number in range(ROUNDS):
    subprocess.run([TOOL, "policy", "add", "--offload", "teardown"], check=True, stdout=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    # It is refused as long as a socket has the ULP.
    while subprocess.run(["rmmod", "acceltcp"], stderr=subprocess.DEVNULL).returncode:
        refused += 1
        if time.monotonic() > end:
            raise AssertionError("it cannot be unloaded")
    subprocess.run(["insmod", "/build/module/acceltcp.ko"], check=True)
for pid in workers:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(f"{ROUNDS} times, refused {refused} times")
