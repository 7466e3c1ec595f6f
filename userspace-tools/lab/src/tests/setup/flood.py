# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Sends SYNs from ever other addresses to 10.99.0.2:7000, as fast as it can, until it is killed."""

import fcntl
import random
import socket
import struct


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(choice):
    source = bytes([10, 99, 0, choice.randint(3, 254)])
    target = bytes([10, 99, 0, 2])
    # MSS, SACK permitted, timestamps, window scale: as Linux has them.
    options = bytes.fromhex("020405b40402080a") + choice.randbytes(4) + bytes(4) + bytes.fromhex("01030307")
    tcp = struct.pack("!HHIIHHHH", choice.randint(1024, 65535), 7000, choice.getrandbits(32), 0,
                      0xA002, 64240, 0, 0) + options
    check = checksum(source + target + struct.pack("!HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + source + target
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("wire0", 0))
own = fcntl.ioctl(wire, 0x8927, struct.pack("256s", b"wire0"))[18:24]  # SIOCGIFHWADDR
header = bytes.fromhex("00154d000001") + own + b"\x08\x00"
choice = random.Random(1)
frames = [header + syn(choice) for _ in range(20000)]
print("ready", flush=True)
while True:
    for frame in frames:
        try:
            wire.send(frame)
        except OSError:
            # The queue of the wire is full.
            continue
