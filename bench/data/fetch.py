"""Fetching one file or repository from where a data set is published, resuming what was begun."""

from __future__ import annotations

import http
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agiqa_bench import web
from agiqa_bench.data.dataset import Source
from agiqa_bench.errors import DownloadError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all, None if the source does not say."""

TIMEOUT_SECONDS = 60.0
"""So long a server may say nothing."""

ATTEMPTS = 4
_LONGEST_TAG = 200
_TAG = re.compile(rf"(?!W/)[\x21-\x7e][\x20-\x7e]{{0,{_LONGEST_TAG - 1}}}")
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
_HTML = (b"<!doctype html", b"<html")


def fetch(source: Source, target: Path, progress: Progress) -> None:
    """Fetch `source` to `target`: a file, or a folder for a whole Hugging Face repository.

    What was fetched before a cut is kept beside `target` and taken up again by the next call. Two calls for one target
    must not run at once: `agiqa_bench.data.download` holds a lock.

    Raises:
        DownloadError: The source cannot be reached, ended early, or sent a web page or far more bytes than were
            expected in place of the file. The message is the reason alone; the caller names the data set and the
            next step.
        OSError: The file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    {"url": _fetch_url, "google_drive": _fetch_google_drive, "hugging_face": _fetch_hugging_face}[source.kind](
        source, target, progress
    )
    if target.is_file():
        refuse_web_page(target)


def refuse_web_page(path: Path) -> None:
    """Set a file aside as `*.rejected` if it is HTML, which sites send with status 200 when a quota is used up.

    Raises:
        DownloadError: It is.
    """
    with path.open("rb") as file:
        start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_HTML):
        kept = path.replace(path.with_name(path.name + ".rejected"))
        raise DownloadError(f"it sent a web page (a quota notice or a sign-in form, kept as {kept.name}), not the file")


def _fetch_google_drive(source: Source, target: Path, progress: Progress) -> None:
    import gdown

    limit = web.Limit(source.size, target.parent)

    def told(done: int, total: int | None) -> None:
        limit.check(max(done, total or 0), here=done)
        progress(done, total)

    try:
        # Cookies would be read from and written to the user's home; a public file needs none.
        gdown.download(
            id=source.location,
            output=str(target),
            quiet=True,
            use_cookies=False,
            resume=True,
            progress=told,
            timeout=TIMEOUT_SECONDS,
        )
    except (gdown.exceptions.DownloadError, OSError) as error:
        raise DownloadError(web.reason(error)) from error
    if not target.is_file():
        raise DownloadError("Google Drive gave no file")


def _fetch_hugging_face(source: Source, target: Path, progress: Progress) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    # The hub's errors derive from those of its HTTP library, which it has changed before (requests, httpx).
    transport_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        if source.filename:
            huggingface_hub.hf_hub_download(
                source.location, source.filename, repo_type="dataset", local_dir=target.parent
            )
        else:
            huggingface_hub.snapshot_download(source.location, repo_type="dataset", local_dir=target)
    except (transport_error, OSError) as error:
        raise DownloadError(web.reason(error)) from error
    progress(1, 1)


def _fetch_url(source: Source, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    stalled, furthest = 0, _size(part)
    while stalled < ATTEMPTS:
        try:
            if _read_into(part, source, progress):
                part.replace(target)
                _tag_file(part).unlink(missing_ok=True)
                return
            reason = f"the connection was cut after {_size(part)} bytes"
        except web.ConnectionBrokenError as error:
            reason = str(error)
            if not _size(part):
                raise
        # Measured by the farthest: a server that begins anew each time comes no farther.
        stalled = 0 if _size(part) > furthest else stalled + 1
        furthest = max(furthest, _size(part))
    raise DownloadError(f"{reason}, and no more came in {ATTEMPTS} attempts; the next download goes on from there")


def _read_into(part: Path, source: Source, progress: Progress) -> bool:
    """Make one request for what `part` still lacks; True if the file is whole then."""
    here, tag = _size(part), _read_tag(part)
    # Without a validator nobody could tell whether both halves are of one file, so the rest is asked for only if the
    # file is still the same.
    headers = {"Range": f"bytes={here}-", "If-Range": tag} if here and tag else {}
    try:
        response = web.open_address(source.location, timeout=TIMEOUT_SECONDS, headers=headers)
    except web.StatusError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not here:
            raise
        part.unlink()
        return False
    with response:
        length = web.body_length(response)
        new_tag = _validator(response)
        start, total = 0, length
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if place is None or int(place[1]) != here or new_tag not in ("", tag):
                part.unlink(missing_ok=True)
                return False
            start, total = here, int(place[2]) if place[2] != "*" else None if length is None else here + length
        limit = web.Limit(source.size, part.parent)
        limit.check(total or 0, here=start)
        _tag_file(part).write_text(new_tag, encoding="ascii")
        try:
            with part.open("ab" if start else "wb") as file:
                try:
                    web.copy_body(response, file, limit, lambda size: progress(size, total))
                finally:
                    file.flush()
                    os.fsync(file.fileno())
        except web.ConnectionBrokenError:
            raise
        except DownloadError:
            # What is too long is not the file, and would only fill the disk.
            part.unlink()
            _tag_file(part).unlink()
            raise
    return total is None or _size(part) == total


def _validator(response: Any) -> str:
    """What tells this version of the file from others; empty if the server gives nothing fit to be sent back."""
    tag: str = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return tag if _TAG.fullmatch(tag) else ""


def _read_tag(part: Path) -> str:
    path = _tag_file(part)
    tag = path.read_bytes()[:_LONGEST_TAG].decode("ascii", "replace") if path.is_file() else ""
    return tag if _TAG.fullmatch(tag) else ""


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
