"""Pretrained CLIP weights by open_clip's tables: found where open_clip and OpenAI keep them, else downloaded.

A download is announced (logger `agiqa_bench`, INFO): what, from where, how large, to where. It is checked against the
SHA-256 that its address holds, if it holds one, and appears under its name only when it is whole.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from agiqa_bench import web
from agiqa_bench.atomic import open_beside
from agiqa_bench.backbones.checkpoint import file_digest, one_line
from agiqa_bench.errors import DownloadError

_log = logging.getLogger("agiqa_bench.backbones")

CONNECT_TIMEOUT_S = 5.0
"""A machine without network is told so after a few seconds, not after the libraries' minutes."""

STALL_TIMEOUT_S = 30.0
"""So long a server may say nothing."""

_SIZE = re.compile(r"\d{1,18}")
_FULL_DIGEST = 64
_NOT_FOUND = 404


class _HubFile(NamedTuple):
    repository: str
    filename: str


def cache_folder() -> Path:
    """Where open_clip and OpenAI's own package keep weights that are fetched by their address."""
    return Path.home() / ".cache" / "clip"


def find_weights(source: Mapping[str, Any]) -> Path | None:
    """Look for weights in the caches; the network is not touched.

    Args:
        source: open_clip's entry of a pretrained tag: `url`, `hf_hub`, or both.
    """
    from huggingface_hub import try_to_load_from_cache

    url = source.get("url", "")
    if url and (path := cache_folder() / _file_name(url)).is_file():
        if file_digest(path).startswith(_digest_in(url)):
            return path
        _log.warning("%s is not the file that its address promises (its SHA-256 differs) and is left out", path)
    for repository, filename in _hub_files(source):
        cached = try_to_load_from_cache(repository, filename)
        if isinstance(cached, str):
            return Path(cached)
    return None


def download_weights(name: str, source: Mapping[str, Any]) -> Path:
    """Download weights to the place where `find_weights` looks.

    The address comes first where it holds a full SHA-256 (OpenAI's do); otherwise the Hub, as in open_clip.

    Args:
        name: What to call the weights in messages, e.g. `ViT-B-32:openai`.
        source: open_clip's entry of a pretrained tag.

    Raises:
        DownloadError: No source could be reached, or what came is not what was promised; says why for each.
    """
    url = source.get("url", "")
    places: list[str | _HubFile] = [*_hub_files(source)]
    if url:
        places.insert(0 if len(_digest_in(url)) == _FULL_DIGEST else len(places), url)
    reasons: dict[str, None] = {}
    dead: set[str] = set()
    for place in places:
        address = place if isinstance(place, str) else _hub_url(place)
        host = urlsplit(address).netloc
        if host in dead:
            continue
        try:
            length = _reach(address)
        except web.ConnectionBrokenError as error:
            dead.add(host)
            reasons[f"{host}: {error}"] = None
            continue
        except DownloadError as error:
            reasons[f"{host}: {error}"] = None
            continue
        try:
            if isinstance(place, str):
                return _download_url(name, place, length)
            return _download_from_hub(name, place, length)
        except DownloadError as error:
            reasons[str(error)] = None
    raise DownloadError("; ".join(reasons) or "no address is known")


def _reach(url: str) -> int:
    """Ask for the size of what is at an address, in bytes, 0 if unknown; fast where there is no network.

    The hub's client would wait a minute for a network that is not there.
    """
    try:
        with web.open_address(url, timeout=CONNECT_TIMEOUT_S, method="HEAD") as response:
            size = response.headers.get("X-Linked-Size") or response.headers.get("Content-Length") or ""
            return int(size) if _SIZE.fullmatch(size) else 0
    except web.StatusError as error:
        # Some servers refuse the question and give the file.
        if error.code == _NOT_FOUND:
            raise
        return 0


def _download_url(name: str, url: str, length: int) -> Path:
    target = cache_folder() / _file_name(url)
    _announce(name, length, url, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = open_beside(target)
        try:
            with os.fdopen(descriptor, "wb") as file, web.open_address(url, timeout=STALL_TIMEOUT_S) as response:
                length = web.body_length(response) or length
                limit = web.Limit(length, target.parent)
                limit.check(length)
                web.copy_body(response, file, limit)
                file.flush()
                os.fsync(file.fileno())
            _check(temporary, length, url)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"{url} to {target}: {error.strerror or one_line(error)}") from error
    except web.ConnectionBrokenError as error:
        raise DownloadError(f"{url}: {error}") from error
    return target


def _check(path: Path, length: int, url: str) -> None:
    size = path.stat().st_size
    if length and size != length:
        raise DownloadError(f"{url}: the connection broke after {size} of {length} bytes")
    if not file_digest(path).startswith(_digest_in(url)):
        raise DownloadError(f"{url}: what came has another SHA-256 than its address promises")


def _download_from_hub(name: str, place: _HubFile, length: int) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    # The base classes of the hub's own error are those of the HTTP client that the installed version is built on.
    failures: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, OSError, RuntimeError)
    _announce(name, length, _hub_url(place), Path(constants.HF_HUB_CACHE))
    try:
        return Path(hf_hub_download(place.repository, place.filename, etag_timeout=CONNECT_TIMEOUT_S))
    except failures as error:
        raise DownloadError(f"{_hub_url(place)}: {one_line(error)}") from error


def _hub_url(place: _HubFile) -> str:
    from huggingface_hub import hf_hub_url

    url: str = hf_hub_url(place.repository, place.filename)
    return url


def _announce(name: str, length: int, source: str, target: Path) -> None:
    size = f"{length / 2**20:.1f} MiB" if length else "of unknown size"
    _log.info("downloading the weights %s (%s) from %s to %s", name, size, source, target)


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


def _digest_in(url: str) -> str:
    """The SHA-256 (hex), whole or its start, that an address holds: OpenAI's as a folder, open_clip's in the name."""
    found = re.search(r"/([0-9a-f]{64})/[^/]+$|-([0-9a-f]{8,64})\.\w+$", url)
    return (found.group(1) or found.group(2)) if found else ""


def _hub_files(source: Mapping[str, Any]) -> list[_HubFile]:
    """The Hub's files that may hold the weights, safetensors first: `owner/name/` or `owner/name/file`."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, filename = source.get("hf_hub", "").rpartition("/")
    if not repository:
        return []
    names = [filename] if filename else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    if filename.endswith((".bin", ".pth")):
        names.insert(0, f"{filename[:-4]}.safetensors")
    return [_HubFile(repository, name) for name in names]
