# SPDX-License-Identifier: GPL-2.0 OR MIT
"""A program that takes frames from a queue of netfilter (NFQUEUE) and lets them go; commands.py follows."""

import errno
import socket
import struct
import threading

NETLINK_NETFILTER = 12
NFNL_SUBSYS_QUEUE = 3
NFQNL_MSG_PACKET, NFQNL_MSG_VERDICT, NFQNL_MSG_CONFIG = 0, 1, 2
NFQA_PACKET_HDR, NFQA_VERDICT_HDR = 1, 2
NFQA_CFG_CMD, NFQA_CFG_PARAMS = 1, 2
NFQNL_CFG_CMD_BIND, NFQNL_COPY_META = 1, 1
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_ERROR = 2
NF_ACCEPT = 1


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind, queue, attributes, flags=NLM_F_REQUEST):
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, queue) + attributes
    return struct.pack("=IHHII", 16 + len(body), NFNL_SUBSYS_QUEUE << 8 | kind, flags, 0, 0) + body


class Queue(threading.Thread):
    """Queue `number`, from which frames go on at once, or when they are let go."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.number = number
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.sock.bind((0, 0))
        self.change = threading.Condition()
        self.holding = False
        self.held = []
        self.passed = 0
        self.set(NFQA_CFG_CMD, struct.pack(">BBH", NFQNL_CFG_CMD_BIND, 0, socket.AF_UNSPEC))
        self.set(NFQA_CFG_PARAMS, struct.pack(">IB", 0, NFQNL_COPY_META))
        self.start()

    def set(self, kind, data):
        flags = NLM_F_REQUEST | NLM_F_ACK
        self.sock.send(message(NFQNL_MSG_CONFIG, self.number, attribute(kind, data), flags))
        answer = self.sock.recv(4096)
        kind, = struct.unpack("=H", answer[4:6])
        error, = struct.unpack("=i", answer[16:20])
        if kind != NLMSG_ERROR or error:
            raise OSError(-error, "NFQUEUE")

    def accept(self, number):
        """The kernel sends the frame on within this call."""
        verdict = attribute(NFQA_VERDICT_HDR, struct.pack(">II", NF_ACCEPT, number))
        self.sock.send(message(NFQNL_MSG_VERDICT, self.number, verdict))
        self.passed += 1

    def run(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise
            while data:
                length, kind = struct.unpack("=IH", data[:6])
                if kind == NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET:
                    self.take(data[20:length])
                data = data[length + 3 & ~3:]

    def take(self, attributes):
        while attributes:
            length, kind = struct.unpack("=HH", attributes[:4])
            if kind & 0x3fff == NFQA_PACKET_HDR:
                number, = struct.unpack(">I", attributes[4:8])
                with self.change:
                    if self.holding:
                        self.held.append(number)
                        self.change.notify_all()
                    else:
                        self.accept(number)
            attributes = attributes[length + 3 & ~3:]


queues = {}


def queue(number):
    """Begins to serve a queue."""
    queues[number] = Queue(number)


def hold(number):
    """Keeps the frames that come to a queue from now on."""
    with queues[number].change:
        queues[number].holding = True


def wait_held(number, count):
    """Waits until the queue has so many."""
    queue = queues[number]
    with queue.change:
        if not queue.change.wait_for(lambda: len(queue.held) >= count, 60):
            raise RuntimeError(f"the queue has {len(queue.held)} frames")


def release(number):
    """Lets all go, and keeps no more."""
    queue = queues[number]
    with queue.change:
        queue.holding = False
        for frame in queue.held:
            queue.accept(frame)
        queue.held.clear()


def passed(number):
    """How many frames went on."""
    return queues[number].passed
