"""A guard: no attempt of this process to leave the machine succeeds, and each is told. It imports next to nothing.

As `sitecustomize` of a folder in PYTHONPATH it guards every Python that is started, and appends what it forbids to the
file that FORBIDDEN names.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any


def guard(tell: Callable[[str], None]) -> None:
    """Forbid this process, until its end, to speak to other machines or to ask for their addresses.

    Python reports what is about to happen to its audit hooks, whichever module does it. Servers on this machine's own
    addresses are allowed, and so are sockets in the file system.

    Args:
        tell: Told each attempt in one line.
    """

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SPEAKING:
            host = _host_of(event, arguments)
            if host is not None and not _is_here(host):
                tell(f"{event} {host}")
                raise OSError(f"forbidden by the tests: {event} {host}")

    sys.addaudithook(hook)


_SPEAKING = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}


def _host_of(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The machine that is spoken to, or asked for; None for a socket in the file system, and where nothing is sent."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
        return host.decode() if isinstance(host, bytes) else host
    made, address = arguments
    if made.family not in (socket.AF_INET, socket.AF_INET6) or address is None:
        return None
    # Without a connection nothing is sent yet: it is how a program asks for the own address of its machine.
    is_question = event == "socket.connect" and made.type == socket.SOCK_DGRAM
    return None if is_question else str(address[0])


def _is_here(host: str) -> bool:
    if host in ("", "localhost", socket.gethostname()):
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:  # a name, or of the other family
            continue
        try:
            with socket.socket(family, socket.SOCK_STREAM) as own:
                own.bind((host, 0))  # possible at addresses of this machine alone
        except OSError:
            return False
        return True
    return False


def _append(line: str) -> None:
    descriptor = os.open(os.environ["FORBIDDEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


if "FORBIDDEN" in os.environ:
    guard(_append)
