from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import open_clip.pretrained
import pytest

from agiqa_bench.backbones import fetch
from agiqa_bench.backbones.fetch import cache_folder, download_weights, find_weights
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.errors import DownloadError, WeightsUnavailableError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Site:
    """A web server on this machine that also answers as the Hub does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut_after: int | None = None
        self.refuses_head = False
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                if site.refuses_head:
                    self.send_error(403)
                else:
                    self._answer(body=False)

            def do_GET(self):
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                site.asked.append(f"{self.command} {self.path}")
                content = site.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("X-Repo-Commit", COMMIT)
                if content is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                else:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.end_headers()
                if body and content:
                    self.wfile.write(content[: site.cut_after])
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


def _use_hub(monkeypatch, url: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def site(monkeypatch):
    site = _Site()
    _use_hub(monkeypatch, site.url)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield site
    site.server.shutdown()
    site.server.server_close()


def _leftovers() -> list[str]:
    return [path.name for path in cache_folder().glob(".*")] if cache_folder().exists() else []


def test_an_address_with_a_digest_is_downloaded_announced_and_found_again(site, announced):
    site.files[f"/models/{DIGEST}/tiny.pt"] = CONTENT
    source = {"url": f"{site.url}/models/{DIGEST}/tiny.pt", "hf_hub": "owner/name/"}
    assert find_weights(source) is None
    path = download_weights("tiny-vit:openai", source)
    assert path == Path.home() / ".cache" / "clip" / "tiny.pt"
    assert path.read_bytes() == CONTENT
    assert announced() == [
        f"downloading the weights tiny-vit:openai (1.2 MiB) from {source['url']} to {path}",
    ]
    assert site.asked == [f"{verb} /models/{DIGEST}/tiny.pt" for verb in ("HEAD", "GET")]
    assert find_weights(source) == path
    assert _leftovers() == []


def test_a_server_that_refuses_to_tell_the_size_still_gives_the_file(site, announced):
    site.files[f"/{DIGEST}/tiny.pt"] = CONTENT
    site.refuses_head = True
    assert download_weights("x", {"url": f"{site.url}/{DIGEST}/tiny.pt"}).read_bytes() == CONTENT
    assert announced()[0].startswith("downloading the weights x (of unknown size) from http")


def test_what_has_another_digest_is_not_kept(site):
    url = f"{site.url}/models/{'0' * 64}/tiny.pt"
    site.files[f"/models/{'0' * 64}/tiny.pt"] = CONTENT
    with pytest.raises(DownloadError, match="another SHA-256 than its address promises"):
        download_weights("tiny-vit:openai", {"url": url})
    assert find_weights({"url": url}) is None
    assert not (cache_folder() / "tiny.pt").exists()
    assert _leftovers() == []


def test_a_broken_connection_leaves_nothing(site):
    site.files[f"/{DIGEST}/tiny.pt"] = CONTENT
    site.cut_after = 1000
    with pytest.raises(DownloadError, match=r"(1000 of 1280000 bytes|IncompleteRead)"):
        download_weights("tiny-vit:openai", {"url": f"{site.url}/{DIGEST}/tiny.pt"})
    assert not (cache_folder() / "tiny.pt").exists()
    assert _leftovers() == []


def test_a_damaged_cached_file_is_left_out_and_fetched_again(site, announced):
    source = {"url": f"{site.url}/{DIGEST}/tiny.pt"}
    site.files[f"/{DIGEST}/tiny.pt"] = CONTENT
    cache_folder().mkdir(parents=True)
    (cache_folder() / "tiny.pt").write_bytes(CONTENT[:-1])
    assert find_weights(source) is None
    assert "tiny.pt is not the file that its address promises" in announced()[0]
    assert download_weights("x", source).read_bytes() == CONTENT


def test_the_hub_is_asked_for_safetensors_first(site, announced):
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        site.files[f"/owner/name/resolve/main/{name}"] = CONTENT
        site.files[f"/owner/name/resolve/{COMMIT}/{name}"] = CONTENT
    source = {"url": "", "hf_hub": "owner/name/"}
    path = download_weights("tiny-vit:mine", source)
    assert path.name == "open_clip_model.safetensors"
    assert path.read_bytes() == CONTENT
    assert str(path).startswith(str(Path.home() / "hub"))
    message = announced()[0]
    assert message.startswith("downloading the weights tiny-vit:mine (1.2 MiB) from ")
    assert "/owner/name/resolve/main/open_clip_model.safetensors to " in message
    asked = len(site.asked)
    assert find_weights(source) == path
    assert len(site.asked) == asked


@pytest.mark.parametrize(
    ("entry", "present", "expected"),
    [
        ("owner/name/", "open_clip_pytorch_model.bin", "open_clip_pytorch_model.bin"),
        ("owner/name/model.bin", "model.bin", "model.bin"),
        ("owner/name/model.bin", "model.safetensors", "model.safetensors"),
        ("owner/name/model.pt", "model.pt", "model.pt"),
    ],
)
def test_hub_files_are_named_as_in_open_clip(site, entry, present, expected):
    site.files[f"/owner/name/resolve/main/{present}"] = CONTENT
    site.files[f"/owner/name/resolve/{COMMIT}/{present}"] = CONTENT
    assert download_weights("x", {"hf_hub": entry}).name == expected


def test_an_address_without_a_full_digest_is_the_second_choice(site):
    site.files["/open_clip/rn50-quickgelu-12345678.pt"] = CONTENT
    site.files["/owner/name/resolve/main/open_clip_model.safetensors"] = CONTENT
    site.files[f"/owner/name/resolve/{COMMIT}/open_clip_model.safetensors"] = CONTENT
    url = f"{site.url}/open_clip/rn50-quickgelu-12345678.pt"
    assert download_weights("x", {"url": url, "hf_hub": "owner/name/"}).name == "open_clip_model.safetensors"
    good = f"{site.url}/open_clip/rn50-quickgelu-{DIGEST[:8]}.pt"
    site.files[f"/open_clip/rn50-quickgelu-{DIGEST[:8]}.pt"] = CONTENT
    assert download_weights("x", {"url": good, "hf_hub": "owner/absent/"}).name.endswith(f"{DIGEST[:8]}.pt")
    with pytest.raises(DownloadError, match="another SHA-256"):
        download_weights("x", {"url": url, "hf_hub": "owner/absent/"})


def test_every_source_that_failed_is_named(site):
    source = {"url": f"{site.url}/{DIGEST}/tiny.pt", "hf_hub": "owner/name/"}
    with pytest.raises(DownloadError) as caught:
        download_weights("x", source)
    assert str(caught.value) == f"{site.url.removeprefix('http://')}: it answers 404 Not Found"
    asked = ["/tiny.pt", "/open_clip_model.safetensors", "/open_clip_pytorch_model.bin"]
    assert [line[line.rindex("/") :] for line in site.asked] == asked
    with pytest.raises(DownloadError, match="no address is known"):
        download_weights("x", {})
    with pytest.raises(DownloadError, match="is not a web address"):
        download_weights("x", {"url": f"file:///{DIGEST}/etc"})


def test_no_network_is_said_fast_and_with_the_stand_in(monkeypatch):
    """Nobody listens at one address, and the other takes the connection and says nothing."""
    monkeypatch.setattr(fetch, "CONNECT_TIMEOUT_S", 0.3)
    with socket.socket() as deaf, socket.socket() as closed:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        closed.bind(("127.0.0.1", 0))
        _use_hub(monkeypatch, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{DIGEST}/tiny.pt"
        source = {"url": url, "hf_hub": "owner/name/"}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-rn", {"openai": source})
        start = time.monotonic()
        with pytest.raises(WeightsUnavailableError) as caught:
            resolve("tiny-rn:openai")
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert re.fullmatch(
        r"no weights tiny-rn:openai: they could not be downloaded \(127\.0\.0\.1:\d+: Connection refused; "
        r"127\.0\.0\.1:\d+: timed out\); give a file instead: tiny-rn:/path/to/file\.pt",
        message,
    )
    assert caught.value.stand_in == {"backbone": "demo-vit"}


def test_downloaded_weights_are_resolved_and_used_again(site, make_model, save_openai, monkeypatch, tmp_path):
    archive = save_openai(make_model("tiny-vit"), tmp_path / "made.pt").read_bytes()
    digest = hashlib.sha256(archive).hexdigest()
    site.files[f"/{digest}/tiny.pt"] = archive
    source = {"url": f"{site.url}/{digest}/tiny.pt", "hf_hub": "", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {"openai": source})
    first = resolve("tiny-vit:openai")
    assert (first.digest, first.architecture) == (digest, "tiny-vit-quickgelu")
    assert resolve("tiny-vit:openai") == first
    assert resolve("tiny-vit:openai", offline=True) == first
    assert len(site.asked) == 2


def test_every_digest_in_open_clips_table_is_recognised():
    urls = {open_clip.get_pretrained_url(architecture, tag) for architecture, tag in open_clip.list_pretrained()} - {""}
    openai = {url for url in urls if "openaipublic" in url}
    assert len(openai) == 9
    assert all(len(fetch._digest_in(url)) == 64 for url in openai)
    assert all(len(fetch._digest_in(url)) == 8 for url in urls if "mlfoundations" in url)
    assert fetch._digest_in(open_clip.get_pretrained_url("ViT-B-32", "openai")).startswith("40d365715913")
