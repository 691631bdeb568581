"""Asking web addresses for files: HTTP and HTTPS alone, and no body that is longer than it may be.

What a server says is not trusted: its texts do not enter messages, and it cannot send on to a local file.
"""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from agiqa_bench.errors import DownloadError

GROWTH = 10
"""A file may be so many times as large as was expected: what data sets and servers say beforehand is approximate."""

LARGEST = 200 * 10**9
"""Bytes that a file of unknown size may have."""

_BLOCK = 1 << 16
_LINE = 200
_SCHEMES = ("http", "https")


class ConnectionBrokenError(DownloadError):
    """Nothing more came: no connection, no answer in time, or an answer that broke off; another attempt may help."""


class StatusError(DownloadError):
    """The server answered, and gave no file.

    Attributes:
        code: HTTP status.
    """

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def open_address(url: str, *, timeout: float, method: str = "GET", headers: Mapping[str, str] | None = None) -> Any:
    """Send one request and follow redirects to other web addresses, from HTTPS never to HTTP.

    Args:
        url: The address.
        timeout: Seconds that the server may say nothing, here and while its body is read.
        method: `GET` or `HEAD`.
        headers: More headers of the request.

    Returns:
        The `http.client.HTTPResponse`, to be used in a with statement.

    Raises:
        ConnectionBrokenError: Nobody answers.
        StatusError: The answer is no file.
        DownloadError: The address, or one that it sends on to, is not one of the web.
    """
    if urllib.parse.urlsplit(url).scheme not in _SCHEMES:
        raise DownloadError(f"{url} is not a web address")
    asked = {"User-Agent": "agiqa-bench", "Accept-Encoding": "identity"} | dict(headers or {})
    request = urllib.request.Request(url, method=method, headers=asked)  # noqa: S310 - the scheme was checked
    try:
        return _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise StatusError(error.code, _answer(error.code)) from error
    except http.client.InvalidURL as error:
        raise DownloadError("it sends on to what is not an address") from error
    except (http.client.HTTPException, OSError) as error:
        raise ConnectionBrokenError(reason(error)) from error
    except ValueError as error:
        raise DownloadError("it sends on to what is not an address") from error


def body_length(response: Any) -> int | None:
    """Bytes of the body as announced, None if the server does not say.

    Raises:
        DownloadError: The server says what is no length, or packs the body, which nobody asked for.
    """
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise DownloadError("it sends the file packed (Content-Encoding), which was not asked for")
    length: int | None = response.length
    if length is None and "Content-Length" in response.headers and not response.chunked:
        raise DownloadError("it announces a length that is not a number")
    return length


def copy_body(response: Any, file: BinaryIO, limit: Limit, told: Callable[[int], None] = lambda size: None) -> None:  # noqa: ARG005
    """Write the body of a response to the end of `file`.

    Args:
        response: From `open_address`.
        file: Open for writing, at the place where the body goes on.
        limit: How long the file may become.
        told: Called with the length of the file after each block.

    Raises:
        ConnectionBrokenError: The body broke off; what came is in the file.
        DownloadError: The file would become too long.
        OSError: The file cannot be written.
    """
    while block := _block(response):
        limit.check(file.tell() + len(block))
        file.write(block)
        told(file.tell())


class Limit:
    """How long a file may become that is written into a folder."""

    def __init__(self, expected: int, folder: Path) -> None:
        """Look at the space that is free.

        Args:
            expected: Bytes that the file should have, roughly; 0 if nobody knows.
            folder: Where it is written; it exists.
        """
        self._largest = GROWTH * expected if expected else LARGEST
        self._free = shutil.disk_usage(folder).free
        self._expected = f"about {expected:,} were expected" if expected else "more than any data set has"
        self._folder = folder

    def check(self, size: int, here: int = 0) -> None:
        """Refuse a file of `size` bytes, of which `here` are in the folder already.

        Raises:
            DownloadError: It is too long, or there is no space for it.
        """
        if size > self._largest:
            raise DownloadError(f"it sends more than {self._largest:,} bytes ({self._expected})")
        if size - here > self._free:
            raise DownloadError(f"it sends more than the {self._free:,} bytes that are free in {self._folder}")


def reason(error: BaseException) -> str:
    """Why a request failed, on one line without control characters: such texts may hold what a server sent."""
    inner = getattr(error, "reason", None)
    inner = inner if isinstance(inner, BaseException) else error
    told = (inner.strerror if isinstance(inner, OSError) else None) or str(inner).strip()
    line = " ".join(told.splitlines()[0].split())[:_LINE] if told else type(inner).__name__
    return line if line.isprintable() else ascii(line)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from a safe connection to an open one, where anybody could change the file."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in _SCHEMES or (req.type == "https" and scheme == "http"):
            raise DownloadError(f"it sends on from {req.type} to an address of the kind '{scheme[:20]}'")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # The usual opener also reads local files, FTP and data addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


def _block(response: Any) -> bytes:
    try:
        block: bytes = response.read(_BLOCK)
    except (http.client.HTTPException, OSError) as error:
        raise ConnectionBrokenError(reason(error)) from error
    return block


def _answer(code: int) -> str:
    # The server's own words could be anything, and urllib's on redirects fill several lines.
    if code in range(300, 400):
        return f"it sends on in a circle or to a forbidden address (answer {code})"
    return f"it answers {code} {http.client.responses.get(code, '')}".rstrip()
