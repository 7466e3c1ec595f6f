# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Sends SYNs from ever other addresses to port 7000 of 10.99.0.2 and fd99:0::2, as fast as it can.

The only argument says how many the wire has to take; one that finds its queue full is sent again.
Prints "ready" before the first, and "sent" after the last.
"""

import ctypes
import errno
import fcntl
import random
import socket
import struct
import sys

SIOCGIFHWADDR = 0x8927
SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
# Different frames; the same come again when all were sent.
FRAMES = 16384
BATCH = 64


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int), ("len", ctypes.c_uint),
    ]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(choice, source, target):
    """A SYN with the options of Linux: MSS, SACK permitted, timestamps, window scale."""
    options = bytes.fromhex("020405b40402080a") + choice.randbytes(4) + bytes(4) + bytes.fromhex("01030307")
    tcp = struct.pack("!HHIIHHHH", choice.randint(1024, 65535), 7000, choice.getrandbits(32), 0,
                      0xA002, 64240, 0, 0) + options
    check = checksum(source + target + struct.pack("!HH", 6, len(tcp)) + tcp)
    return tcp[:16] + struct.pack("!H", check) + tcp[18:]


def ipv4(choice):
    # Addresses for benchmarks: 198.18.0.0/15.
    source = bytes([198, choice.randint(18, 19)]) + choice.randbytes(2)
    target = bytes([10, 99, 0, 2])
    tcp = segment(choice, source, target)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + source + target
    return b"\x08\x00" + ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def ipv6(choice):
    # Without a route the answers would make ICMP.
    source = bytes.fromhex("fd99000000000000") + choice.randbytes(8)
    target = socket.inet_pton(socket.AF_INET6, "fd99:0::2")
    tcp = segment(choice, source, target)
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + source + target + tcp


def main(count):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    wire.bind(("wire0", 0))
    own = fcntl.ioctl(wire, SIOCGIFHWADDR, struct.pack("256s", b"wire0"))[18:24]
    macs = bytes.fromhex("00154d000001") + own
    choice = random.Random(1)
    frames = [macs + (ipv4, ipv6)[number % 2](choice) for number in range(FRAMES)]
    vectors = (Iovec * FRAMES)()
    messages = (Mmsghdr * FRAMES)()
    for frame, vector, message in zip(frames, vectors, messages):
        vector.base = ctypes.cast(ctypes.c_char_p(frame), ctypes.c_void_p)
        vector.len = len(frame)
        message.iov = ctypes.addressof(vector)
        message.iovlen = 1
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    size = ctypes.sizeof(Mmsghdr)
    print("ready", flush=True)
    sent = 0
    while sent < count:
        place = sent % FRAMES
        batch = min(BATCH, FRAMES - place, count - sent)
        done = sendmmsg(wire.fileno(), ctypes.c_void_p(ctypes.addressof(messages) + place * size), batch, 0)
        if done > 0:
            sent += done
        elif ctypes.get_errno() not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR):
            raise OSError(ctypes.get_errno(), "sendmmsg")
    print("sent", flush=True)


main(int(sys.argv[1]))
