# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Clients that get a page over a connection each until standard input ends; then prints what became of them."""

import collections
import json
import socket
import sys
import threading

CLIENTS = 8
ADDRESS = (sys.argv[1], int(sys.argv[2]))
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
# Of a connection that hangs; those of a slow machine do not take so long.
LIMIT = 60

done = threading.Event()
outcomes = collections.Counter()
lock = threading.Lock()


def page():
    """What becomes of a connection."""
    stage = "connect"
    try:
        with socket.create_connection(ADDRESS, LIMIT) as sock:
            stage = "send"
            sock.sendall(REQUEST)
            stage = "receive"
            answer = bytearray()
            while data := sock.recv(65536):
                answer += data
    except OSError as error:
        return f"{stage}: {error!r}"
    return "good" if answer.startswith(b"HTTP/1.1 200 ") else "cut"


def client():
    while not done.is_set():
        outcome = page()
        with lock:
            outcomes[outcome] += 1
            if outcomes.total() == CLIENTS:
                print("running", flush=True)


clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
for thread in clients:
    thread.start()
sys.stdin.read()
done.set()
for thread in clients:
    thread.join()
print(json.dumps(outcomes))
