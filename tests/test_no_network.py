"""The guard of the tests itself: what it forbids, what it tells, and what it lets pass."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

TRIES = """
import socket, urllib.request
from contextlib import suppress

for attempt in (
    lambda: urllib.request.urlopen("http://models.example/file", timeout=1),
    lambda: socket.socket().connect(("203.0.113.1", 80)),
    lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
    lambda: socket.gethostbyname("models.example"),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.1", 53)),
    lambda: socket.socket(socket.AF_UNIX).connect("nowhere"),
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    lambda: socket.socket(type=socket.SOCK_DGRAM).connect(("203.0.113.1", 53)),
):
    try:
        attempt()
    except OSError as error:
        print("forbidden" in str(error))
    else:
        print(False)
"""


def test_what_leaves_the_machine_is_forbidden_in_every_python_that_is_started_and_told(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("no_network.py"), tmp_path / "sitecustomize.py")
    told = tmp_path / "told"
    environment = {"PYTHONPATH": str(tmp_path), "FORBIDDEN": str(told), "no_proxy": "*"}
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TRIES!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 5 + ["False"] * 3, done.stderr
    assert told.read_text().splitlines() == [
        "socket.getaddrinfo models.example",
        "socket.connect 203.0.113.1",
        "socket.connect 2001:db8::1",
        "socket.gethostbyname models.example",
        "socket.sendto 203.0.113.1",
    ]


def test_these_tests_are_guarded(attempts_to_leave: list[str]) -> None:
    with pytest.raises(OSError, match=r"forbidden by the tests: socket\.connect 203\.0\.113\.1"):
        socket.socket().connect(("203.0.113.1", 80))
    assert attempts_to_leave == ["socket.connect 203.0.113.1"]
    attempts_to_leave.clear()


def test_a_server_of_this_machine_may_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "file").write_text("content")
    monkeypatch.chdir(tmp_path)
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://localhost:{server.server_port}/file") as response:
            assert response.read() == b"content"
        server.shutdown()
