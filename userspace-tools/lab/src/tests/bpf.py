# SPDX-License-Identifier: GPL-2.0 OR MIT
"""BPF programs of a cgroup, and socket filters; behind ends.py, in front of commands.py."""

import ctypes
import os
import socket
import struct

SYS_BPF = 321  # x86-64
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH = 5, 8, 9
BPF_PROG_TYPE_CGROUP_SKB = 8
DIRECTIONS = {"ingress": 0, "egress": 1}
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
GROUP = "/sys/fs/cgroup/acceltcp-test"


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result


def enter_group():
    """Sockets that this process makes from now on are in a cgroup of their own."""
    os.makedirs(GROUP, exist_ok=True)
    with open(f"{GROUP}/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))


def attach(direction, verdict):
    """Has a program return this verdict for each packet of the cgroup."""
    kind = DIRECTIONS[direction]
    code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xB7, 0, 0, verdict) + struct.pack("=BBhi", 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    program = bpf(BPF_PROG_LOAD, struct.pack(
        "=IIQQIIQII16sII", BPF_PROG_TYPE_CGROUP_SKB, 2, ctypes.addressof(code), ctypes.addressof(licence),
        0, 0, 0, 0, 0, b"", 0, kind))
    group = os.open(GROUP, os.O_RDONLY)
    try:
        bpf(BPF_PROG_ATTACH, struct.pack("=IIII", group, program, kind, 0))
    finally:
        os.close(group)
        os.close(program)


def detach(direction):
    group = os.open(GROUP, os.O_RDONLY)
    try:
        bpf(BPF_PROG_DETACH, struct.pack("=IIII", group, 0, DIRECTIONS[direction], 0))
    finally:
        os.close(group)


def attach_filter(name):
    """A socket filter that accepts everything."""
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFFFFFF))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
    socks[name].setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def detach_filter(name):
    socks[name].setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
