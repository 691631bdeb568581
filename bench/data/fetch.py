"""Fetching one file or repository from where a data set is published, resuming what was begun."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from agiqa_bench.data.dataset import Source
from agiqa_bench.errors import DownloadError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all, None if the source does not say."""

TIMEOUT_SECONDS = 60.0
ATTEMPTS = 4
_CHUNK = 1 << 18
_HTML = (b"<!doctype html", b"<html")


def fetch(source: Source, target: Path, progress: Progress) -> None:
    """Fetch `source` to `target`: a file, or a folder for a whole Hugging Face repository.

    What was fetched before a cut is kept beside `target` and taken up again by the next call.

    Raises:
        DownloadError: The source cannot be reached, ended early, or sent a web page in place of the file. The
            message is the reason alone; the caller names the data set and the next step.
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

    try:
        # Cookies would be read from and written to the user's home; a public file needs none.
        gdown.download(
            id=source.location,
            output=str(target),
            quiet=True,
            use_cookies=False,
            resume=True,
            progress=progress,
            timeout=TIMEOUT_SECONDS,
        )
    except (gdown.exceptions.DownloadError, OSError) as error:
        raise DownloadError(_reason(error)) from error
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
        raise DownloadError(_reason(error)) from error
    progress(1, 1)


def _fetch_url(source: Source, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    stalled = 0
    while stalled < ATTEMPTS:
        before = _size(part)
        try:
            if _read_into(part, source.location, progress):
                part.replace(target)
                _tag_file(part).unlink(missing_ok=True)
                return
            reason = f"the connection was cut after {_size(part)} bytes"
        except urllib.error.HTTPError as error:
            raise DownloadError(f"it answers {error.code} {error.reason}") from error
        except (http.client.HTTPException, OSError) as error:
            reason = _reason(error)
            if not _size(part):
                raise DownloadError(reason) from error
        stalled = 0 if _size(part) > before else stalled + 1
    raise DownloadError(f"{reason}, and no more came in {ATTEMPTS} attempts; the next download goes on from there")


def _read_into(part: Path, url: str, progress: Progress) -> bool:
    """Make one request for what `part` still lacks; True if the file is whole then."""
    here = _size(part)
    tag = _tag_file(part).read_text(encoding="ascii") if here and _tag_file(part).is_file() else ""
    headers = {"User-Agent": "agiqa-bench", "Accept-Encoding": "identity"}
    if tag:
        # Without a validator nobody could tell whether both halves are of one file, so the rest is asked for only
        # if the file is still the same.
        headers |= {"Range": f"bytes={here}-", "If-Range": tag}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - addresses are class data of data sets
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()
        return False
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start = here if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        new_tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        _tag_file(part).write_text("" if new_tag.startswith("W/") else new_tag, encoding="ascii")
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                progress(file.tell(), total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or _size(part) == total


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    text = str(inner if isinstance(inner, BaseException) else error).strip()
    return " ".join(text.splitlines()[0].split()) if text else type(error).__name__
