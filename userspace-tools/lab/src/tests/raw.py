# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Clients whose every segment is chosen by the test; commands.py follows.

They have an address that no stack answers for.
"""

import random
import socket
import struct
import time

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

# What ends.py sends: every byte is known from its place.
PERIOD = 1 << 16
STREAM = random.Random(1).randbytes(PERIOD) * 2

clients = {}


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Client:
    """One end of a connection over `device`, and what it has seen of the other."""

    def __init__(self, device, mac, source, host, port, sport):
        self.v6 = ":" in host
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        self.ethertype = ETH_P_IPV6 if self.v6 else ETH_P_IP
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self.ethertype))
        self.sock.bind((device, self.ethertype))
        self.ethernet = bytes.fromhex(mac.replace(":", "")) + self.sock.getsockname()[4]
        self.ethernet += struct.pack("!H", self.ethertype)
        self.addresses = [socket.inet_pton(family, address) for address in (source, host)]
        self.ports = struct.pack("!HH", sport, port)
        self.seq = self.ack = 0
        self.window = 65535
        self.place = 0

    def send(self, flags, data=b"", options=b""):
        offset = (20 + len(options)) // 4 << 4
        rest = struct.pack("!IIBBHHH", self.seq, self.ack, offset, flags, self.window, 0, 0)
        tcp = self.ports + rest + options + data
        addresses = b"".join(self.addresses)
        pseudo = addresses + struct.pack("!II", len(tcp), socket.IPPROTO_TCP)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        if self.v6:
            ip = struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64) + addresses
        else:
            ip = struct.pack("!BBHIBBH", 0x45, 0, 20 + len(tcp), 0, 64, socket.IPPROTO_TCP, 0)
            ip += addresses
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        self.sock.send(self.ethernet + ip + tcp)

    def forget(self):
        """Forgets what has come in."""
        self.sock.setblocking(False)
        try:
            while True:
                self.sock.recv(65535)
        except BlockingIOError:
            pass

    def segment(self, ip):
        """The TCP segment in a packet, if it is to this client."""
        if self.v6:
            protocol, addresses, tcp = ip[6], ip[8:40], ip[40:40 + struct.unpack("!H", ip[4:6])[0]]
        else:
            protocol, addresses = ip[9], ip[12:20]
            tcp = ip[4 * (ip[0] & 15):struct.unpack("!H", ip[2:4])[0]]
        if protocol != socket.IPPROTO_TCP or addresses != self.addresses[1] + self.addresses[0]:
            return None
        return tcp if tcp[:4] == self.ports[2:] + self.ports[:2] else None

    def receive(self, good, seconds=20):
        """The first segment to this client for which `good` holds: its flags, seq, ack and data."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                frame = self.sock.recv(65535)
            except TimeoutError:
                break
            tcp = self.segment(frame[14:])
            if not tcp:
                continue
            seq, ack, offset, flags = struct.unpack("!IIBB", tcp[4:14])
            if good(flags, seq, ack, tcp[offset >> 4 << 2:]):
                return flags, seq, ack, tcp[offset >> 4 << 2:]
        raise RuntimeError("waited in vain for a segment")

    def exchange(self, send, good):
        """Sends a segment until it is answered, as any peer does: the host drops one when the connection that it is to
        replace is in use (`setup_busy`), and a busy machine now and then."""
        for _ in range(11):
            send()
            try:
                return self.receive(good, seconds=5)
            except RuntimeError:
                pass
        send()
        return self.receive(good, seconds=5)


def syn(name, again=False, behind=None, **args):
    """Sends a SYN and waits for the SYN-ACK; the handshake is not ended. Its number may be one behind what another
    connection has sent."""
    if not again:
        clients[name] = client = Client(**args)
        client.isn = clients[behind].seq + 1000 & 0xFFFFFFFF if behind else random.getrandbits(32)
    client = clients[name]
    client.seq, client.ack = client.isn, 0
    client.send(SYN, options=struct.pack("!BBH", 2, 4, 1460))
    expected = client.isn + 1 & 0xFFFFFFFF
    _, seq, _, _ = client.receive(lambda f, s, a, d: f & (SYN | ACK) == SYN | ACK and a == expected)
    client.seq, client.ack = expected, seq + 1 & 0xFFFFFFFF


def called(name, **args):
    """Waits for a SYN to this client, without answering it."""
    clients[name] = client = Client(**args)
    client.isn = random.getrandbits(32)
    client.receive(lambda f, s, a, d: f & (SYN | ACK) == SYN)


def data(name, text):
    """Sends bytes with an ACK."""
    clients[name].send(ACK | PSH, text.encode())


def skip(name, count):
    """Leaves bytes out, which do not come before those that are sent next."""
    clients[name].seq = clients[name].seq + count & 0xFFFFFFFF


def echo(name, text):
    """Sends bytes, and waits until they come back."""
    client = clients[name]
    back = text.encode()
    client.exchange(lambda: data(name, text), lambda f, s, a, d: not f & RST and s == client.ack and d == back)
    client.seq = client.seq + len(back) & 0xFFFFFFFF
    client.ack = client.ack + len(back) & 0xFFFFFFFF


def end(name):
    """Resets the connection."""
    clients.pop(name).send(RST | ACK)


def window(name, size):
    """Says what may be sent to it, with this segment and all that follow."""
    clients[name].window = size
    clients[name].send(ACK)


def request(name, text):
    """Sends bytes, and what follows comes behind them."""
    data(name, text)
    skip(name, len(text))


def collect(name, size, fin=False):
    """Receives and acknowledges so many bytes, and a FIN behind them if there is to be one."""
    client = clients[name]
    while size or fin:
        flags, _, _, part = client.receive(lambda f, s, a, d: not f & RST and s == client.ack and (d or f & FIN))
        start = client.place % PERIOD
        if part != STREAM[start:start + len(part)]:
            raise RuntimeError(f"wrong bytes behind {client.place}")
        if len(part) > size or flags & FIN and (not fin or len(part) != size):
            raise RuntimeError(f"{len(part)} bytes and flags {flags} where {size} bytes are left")
        size -= len(part)
        fin = fin and not flags & FIN
        client.place += len(part)
        client.ack = client.ack + len(part) + (flags & FIN) & 0xFFFFFFFF
        client.send(ACK)


def times(name, count):
    """Waits until the first segment that is not acknowledged has come so often, with data or FIN."""
    client = clients[name]
    for _ in range(count):
        client.receive(lambda f, s, a, d: not f & RST and s == client.ack and (d or f & FIN))


def probes(name, count):
    """Waits for probes of the window."""
    client = clients[name]
    for _ in range(count):
        client.receive(lambda f, s, a, d: s == client.ack - 1 & 0xFFFFFFFF and not d and not f & (FIN | RST), 60)


def answer_probe(name, seconds):
    """Acknowledges a probe, if one comes in time."""
    client = clients[name]
    try:
        client.receive(lambda f, s, a, d: s == client.ack - 1 & 0xFFFFFFFF and not d, seconds)
        client.send(ACK)
    except RuntimeError:
        pass


def finish(name):
    """Sends FIN, and waits for its acknowledgement."""
    client = clients[name]
    behind = client.seq + 1 & 0xFFFFFFFF
    client.exchange(lambda: client.send(FIN | ACK), lambda f, s, a, d: f & ACK and a == behind)
    client.seq = behind


def reset(name, offset=0):
    """Sends RST, so many bytes behind the right place."""
    client = clients[name]
    client.forget()
    seq = client.seq
    client.seq = seq + offset & 0xFFFFFFFF
    client.send(RST)
    client.seq = seq


def challenged(name):
    """Waits for an acknowledgement of nothing new."""
    client = clients[name]
    client.receive(lambda f, s, a, d: f == ACK and a == client.seq and s == client.ack and not d)


def refused(name):
    """Waits for RST where it expects the next byte."""
    client = clients[name]
    client.receive(lambda f, s, a, d: f & RST and s == client.ack)
