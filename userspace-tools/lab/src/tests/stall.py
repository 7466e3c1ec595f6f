# SPDX-License-Identifier: GPL-2.0 OR MIT
"""A user that keeps the lock of a socket; behind teardown/ends.py, in front of commands.py."""

import ctypes
import fcntl
import mmap
import os
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_USERFAULTFD = 323
UFFDIO_API = 0xC018AA3F
UFFDIO_REGISTER = 0xC020AA00
UFFD_API = 0xAA
MISSING = 1
SOL_IP = 0
IP_OPTIONS = 4
PAGE = mmap.PAGESIZE
# Of the option: in the first page as many bytes as are read before the socket is locked, and a timestamp option without room.
IN_PLACE = bytes([0x44, 1, 0, 0, 0, 0, 0, 0])
LENGTH = 40

stalls = {}


def stall(name):
    """A thread sets an option whose value the kernel copies with the socket locked, and cannot read before unstall()."""
    uffd = LIBC.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
    if uffd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    fcntl.ioctl(uffd, UFFDIO_API, bytearray(struct.pack("QQQ", UFFD_API, 0, 0)))
    memory = mmap.mmap(-1, 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[PAGE - len(IN_PLACE):PAGE] = IN_PLACE
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(uffd, UFFDIO_REGISTER, bytearray(struct.pack("QQQQ", start + PAGE, PAGE, MISSING, 0)))
    value = ctypes.c_void_p(start + PAGE - len(IN_PLACE))
    fd = socks[name].fileno()
    thread = threading.Thread(target=LIBC.setsockopt, args=(fd, SOL_IP, IP_OPTIONS, value, LENGTH))
    thread.start()
    # It has come to the second page.
    os.read(uffd, 32)
    stalls[name] = (uffd, thread, memory)


def unstall(name):
    uffd, thread, _ = stalls.pop(name)
    os.close(uffd)
    thread.join(60)
    if thread.is_alive():
        raise RuntimeError("it still has the socket locked")
