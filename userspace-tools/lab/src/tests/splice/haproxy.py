# SPDX-License-Identifier: GPL-2.0 OR MIT
"""HTTP messages by hand; behind teardown/ends.py and splice.py, in front of commands.py."""


def say(name, lines, body=""):
    socks[name].sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())


def hear(name, body=0):
    """A message's head and so many bytes behind it, and no byte more."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = socks[name].recv(1)
        if not byte:
            raise RuntimeError(f"the end, behind {data}")
        data += byte
    while body:
        more = socks[name].recv(body)
        if not more:
            raise RuntimeError(f"the end, behind {data}")
        data += more
        body -= len(more)
    return data.decode()
