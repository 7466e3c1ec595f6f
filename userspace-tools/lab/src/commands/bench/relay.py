# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Both ends of a connection through a proxy. Parameters: host and port of the proxy, and of the server.

"up 5" on standard input sends to the server for 5 seconds, "down 5" to the client, "idle 5" nothing; a line tells the
bytes, each of which was checked.
"""

import random
import socket
import sys
import threading
import time

PATIENCE = 60
PERIOD = 1 << 16
STREAM = random.Random(1).randbytes(PERIOD) * 2


def send(sock, seconds, total):
    end = time.monotonic() + seconds
    sent = 0
    while time.monotonic() < end:
        sock.sendall(STREAM[:PERIOD])
        sent += PERIOD
    total.append(sent)


def relay(source, sink, seconds):
    total = []
    sender = threading.Thread(target=send, args=(source, seconds, total), daemon=True)
    sender.start()
    sink.settimeout(0.05)
    received = 0
    end = time.monotonic() + seconds + PATIENCE
    while not total or received < total[0]:
        try:
            data = sink.recv(PERIOD)
        except TimeoutError:
            if time.monotonic() > end:
                sys.exit(f"{received} bytes have come, and no more, of {total}")
            continue
        place = received % PERIOD
        if not data or data != STREAM[place:place + len(data)]:
            sys.exit(f"wrong bytes, or the end, behind {received}")
        received += len(data)
    sink.settimeout(PATIENCE)
    return received


def main(proxy_host, proxy_port, server_host, server_port):
    listener = socket.create_server((server_host, int(server_port)))
    listener.settimeout(PATIENCE)
    client = socket.create_connection((proxy_host, int(proxy_port)), PATIENCE)
    server = listener.accept()[0]
    server.settimeout(PATIENCE)
    print("ready", flush=True)
    for line in sys.stdin:
        what, seconds = line.split()
        if what == "idle":
            time.sleep(float(seconds))
            done = 0
        else:
            ends = (client, server) if what == "up" else (server, client)
            done = relay(*ends, float(seconds))
        print(done, flush=True)


main(*sys.argv[1:])
