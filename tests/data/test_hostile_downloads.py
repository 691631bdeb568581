"""What `datasets download` says to servers of every bad kind; all of them are on this machine."""

from __future__ import annotations

import contextlib
import http.server
import io
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agiqa_bench import web
from agiqa_bench.cli.app import start
from agiqa_bench.data import fetch
from agiqa_bench.data.download import RECORD
from agiqa_bench.offline import VARIABLES

LOCK = f"{RECORD}.lock"
Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]

PLUGIN = """
from agiqa_bench.data.dataset import Dataset, Source, Target

class Hostile(Dataset):
    name = "hostile"
    title = "Hostile"
    targets = (Target("quality", (0.0, 5.0)),)
    sources = (Source("url", "{address}", "file.zip", "images", {size}, "https://example.org/page"),)

    def read(self):
        raise AssertionError("a download does not read")
"""


def packed(size: int = 50_000) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(zipfile.ZipInfo("a.png"), bytes(range(250)) * (size // 250))
    return content.getvalue()


CONTENT = packed()


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch, fresh_registries: None) -> None:
    proxies = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    for variable in (*VARIABLES, *proxies):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.3)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """`serve(answer)`: the address of a server that leaves every request to `answer`."""
    servers: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start_server(answer: Answer) -> str:
        class Chosen(Handler):
            def do_GET(self) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client has seen enough
                    answer(self)

            def log_message(self, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chosen)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/file.zip"

    yield start_server
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def send(request: Handler, status: int, body: bytes, **headers: object) -> None:
    request.send_response_only(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), str(value))
    request.end_headers()
    request.wfile.write(body)


def endless(request: Handler) -> None:
    send(request, 200, b"")
    while True:
        request.wfile.write(bytes(1 << 16))


def silent(request: Handler) -> None:
    send(request, 200, CONTENT[:1000], Content_Length=len(CONTENT), ETag='"one"')
    time.sleep(1)


def other_part(request: Handler) -> None:
    if request.headers.get("Range"):
        send(request, 206, CONTENT, Content_Range=f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}", ETag='"one"')
    else:
        send(request, 200, CONTENT[:1000], Content_Length=len(CONTENT), ETag='"one"')


def circle(request: Handler) -> None:
    send(request, 302, b"", Location=request.path)


def sends_on(place: str) -> Answer:
    return lambda request: send(request, 302, b"", Location=place)


def raw(text: bytes) -> Answer:
    return lambda request: request.wfile.write(text) and None


QUOTA = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"

SERVERS: dict[str, tuple[Answer, str]] = {
    "truncated body": (
        lambda r: send(r, 200, CONTENT[:1000], Content_Length=len(CONTENT)),
        "the connection was cut after 1000 bytes, and no more came in 4 attempts",
    ),
    "stalled": (silent, "timed out"),
    "no answer": (lambda r: time.sleep(1), "timed out"),
    "endless": (endless, "it sends more than 1,000,000 bytes (about 100,000 were expected)"),
    "too long as announced": (lambda r: send(r, 200, b"", Content_Length=10**15), "it sends more than 1,000,000"),
    "length of letters": (lambda r: send(r, 200, b"x", Content_Length="many"), "a length that is not a number"),
    "negative length": (lambda r: send(r, 200, b"x", Content_Length="-5"), "a length that is not a number"),
    "gzip": (lambda r: send(r, 200, b"x", Content_Encoding="gzip"), "packed (Content-Encoding)"),
    "another part": (other_part, "the connection was cut after"),
    "part of nothing": (
        lambda r: send(r, 206, b"x", Content_Range="lines 1-2"),
        "the connection was cut after 0 bytes",
    ),
    "range refused": (lambda r: send(r, 416, b""), "it answers 416"),
    "circle": (circle, "it sends on in a circle"),
    "to a local file": (sends_on("file:///etc/hostname"), "it sends on"),
    "to FTP": (sends_on("ftp://127.0.0.1/file.zip"), "an address of the kind 'ftp'"),
    "to nonsense": (sends_on("http://[::1"), "it sends on to what is not an address"),
    "to a name that is too long": (sends_on(f"http://{'a' * 300}/x"), "hostile"),
    "quota page": (lambda r: send(r, 200, QUOTA), "it sent a web page (a quota notice or a sign-in form"),
    "403": (lambda r: send(r, 403, QUOTA), "it answers 403 Forbidden"),
    "404": (lambda r: send(r, 404, QUOTA), "it answers 404 Not Found"),
    "500": (lambda r: send(r, 500, QUOTA), "it answers 500 Internal Server Error"),
    "words with escapes": (raw(b"HTTP/1.1 503 \x1b]0;pwned\x07\r\n\r\n"), "it answers 503 Service Unavailable"),
    "not HTTP": (raw(b"\x1b[2J220 mail server ready\r\n"), "hostile"),
    "unknown protocol": (raw(b"HTTP/9\x1b[31m 200 OK\r\n\r\n"), "HTTP/9"),
    "endless header": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000), "header line"),
    "too many headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200), "more than 100 headers"),
    "chunk cut": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\nabc"), "IncompleteRead"),
    "no archive": (lambda r: send(r, 200, b"nothing" * 3000), "is neither a zip nor a tar archive"),
    "half an archive": (lambda r: send(r, 200, CONTENT[: len(CONTENT) // 2]), "is neither a zip nor a tar archive"),
}


def refused(address: str, folder: Path, capsys: pytest.CaptureFixture[str], size: int = 100_000) -> str:
    """Download from `address` and be refused: the line on standard error."""
    plugin = folder / "plugin.py"
    plugin.write_text(PLUGIN.format(address=address, size=size))
    root = folder / "data"
    code = start(["datasets", "download", "hostile", "--plugin", str(plugin), "--data-root", str(root)])
    shown, told = capsys.readouterr()
    assert code == 2
    (line,) = told.splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert "\x1b" not in shown
    assert "Traceback" not in shown + told
    assert {path.name for path in folder.iterdir()} <= {"plugin.py", "data", "__pycache__"}
    assert {path.name for path in root.rglob("*")} <= {
        "hostile", "file.zip", "file.zip.part", "file.zip.part.tag", "file.zip.rejected", LOCK
    }  # fmt: skip
    assert not (root / "hostile" / ".agiqa-sources.json").exists()
    return line


@pytest.mark.parametrize("server", SERVERS)
def test_a_bad_server_is_one_line_and_nothing_is_taken_for_the_file(
    server: str, serve: Callable[[Answer], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, why = SERVERS[server]
    assert why in refused(serve(answer), tmp_path, capsys)


def test_what_is_too_long_is_removed(serve, tmp_path, capsys):
    refused(serve(endless), tmp_path, capsys)
    assert [path.name for path in (tmp_path / "data" / "hostile").iterdir()] == [LOCK]


def test_a_file_of_unknown_size_stops_at_the_limit(serve, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(web, "LARGEST", 2_000_000)
    assert "more than 2,000,000 bytes (more than any" in refused(serve(endless), tmp_path, capsys, size=0)


def test_a_file_stops_before_the_disk_is_full(serve, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(web.shutil, "disk_usage", lambda folder: usage._replace(free=1_500_000))
    assert "more than the 1,500,000 bytes that are free in" in refused(serve(endless), tmp_path, capsys, size=0)


@pytest.mark.parametrize("scheme", ["ftp", "file", "gopher", ""])
def test_only_addresses_of_the_web_are_asked(scheme, tmp_path, capsys):
    place = f"{scheme}://127.0.0.1:9/file.zip" if scheme else "file.zip"
    assert "is not a web address" in refused(place, tmp_path, capsys)


def test_nobody_listens(tmp_path, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert "Connection refused" in refused(f"http://127.0.0.1:{closed.getsockname()[1]}/x", tmp_path, capsys)


def test_a_server_that_speaks_no_tls(serve, tmp_path, capsys):
    assert "SSL" in refused(serve(circle).replace("http:", "https:"), tmp_path, capsys)


def test_a_file_that_changed_while_it_was_resumed_is_fetched_anew(serve, tmp_path, capsys):
    """The second answer is a part of another version, and the server ignores If-Range."""
    asked: list[str | None] = []
    other = packed(60_000)

    def changes(request: Handler) -> None:
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            send(request, 200, CONTENT[:1000], Content_Length=len(CONTENT), ETag='"one"')
        elif asked[-1]:
            send(request, 206, other[1000:], Content_Range=f"bytes 1000-{len(other) - 1}/{len(other)}", ETag='"two"')
        else:
            send(request, 200, other, Content_Length=len(other), ETag='"two"')

    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(address=serve(changes), size=100_000))
    code = start(["datasets", "download", "hostile", "--plugin", str(plugin), "--data-root", str(tmp_path / "data")])
    assert (code, capsys.readouterr().err) == (0, "")
    assert (tmp_path / "data" / "hostile" / "file.zip").read_bytes() == other
    assert asked == [None, "bytes=1000-", None]


@pytest.mark.parametrize("tag", ['"\xe9"', "W/weak", '"' + "x" * 999 + '"'])
def test_a_tag_that_cannot_be_sent_back_only_costs_the_first_half(tag, serve, tmp_path):
    asked: list[str | None] = []

    def cut_once(request: Handler) -> None:
        asked.append(request.headers.get("Range"))
        send(request, 200, CONTENT[:1000] if len(asked) == 1 else CONTENT, Content_Length=len(CONTENT), ETag=tag)

    fetch.fetch(fetch.Source("url", serve(cut_once), "file.zip", "images"), tmp_path / "f", lambda *_: None)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert asked == [None, None]


def test_google_drive_cannot_fill_the_disk_either(monkeypatch, tmp_path):
    import gdown

    def endless_drive(**arguments):
        for done in range(0, 10**9, 10**5):
            arguments["progress"](done, None)

    monkeypatch.setattr(gdown, "download", endless_drive)
    source = fetch.Source("google_drive", "some-id", "file.zip", "images", 100_000)
    with pytest.raises(fetch.DownloadError, match="more than 1,000,000 bytes"):
        fetch.fetch(source, tmp_path / "file.zip", lambda *_: None)
