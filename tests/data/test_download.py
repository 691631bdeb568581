from __future__ import annotations

import hashlib
import http.server
import inspect
import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import gdown
import huggingface_hub
import pytest

from agiqa_bench.data import download as downloading
from agiqa_bench.data.dataset import Dataset, Source, Target
from agiqa_bench.data.download import RECORD, download, readable_size
from agiqa_bench.errors import ArchiveError, DownloadError, StoreError
from agiqa_bench.offline import VARIABLES


def archive(text: bytes = b"a picture") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for number in range(50):
            file.writestr(zipfile.ZipInfo(f"images/{number}.png"), text + bytes(range(256)) * 4)
    return content.getvalue()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@dataclass
class Site:
    """A web site of one file whose manners a test chooses."""

    content: bytes = b""
    cut_after: int | None = None
    cuts: int = 0
    ranges: bool = True
    status: int = 200
    address: str = ""
    requests: list[str | None] = field(default_factory=list)
    pause: Callable[[], object] = lambda: None
    """Called when half of a body is sent."""


@pytest.fixture
def site() -> Iterator[Site]:
    chosen = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            chosen.requests.append(self.headers.get("Range"))
            if chosen.status != 200:
                self.send_error(chosen.status)
                return
            tag = f'"{hashlib.sha256(chosen.content).hexdigest()}"'
            start, wanted = 0, self.headers.get("Range")
            if wanted and chosen.ranges and self.headers.get("If-Range") == tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            body = chosen.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                whole = len(chosen.content)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            if chosen.ranges:
                self.send_header("ETag", tag)
            self.end_headers()
            if chosen.cuts:
                chosen.cuts -= 1
                body = body[: chosen.cut_after]
            self.wfile.write(body[: len(body) // 2])
            chosen.pause()
            self.wfile.write(body[len(body) // 2 :])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    chosen.address = f"http://127.0.0.1:{server.server_port}/file.zip"
    yield chosen
    server.shutdown()
    thread.join()
    server.server_close()


def dataset_of(*sources: Source) -> type[Dataset]:
    class Example(Dataset):
        name = "example"
        title = "Example"
        targets = (Target("quality", (0.0, 5.0)),)

        def read(self):
            raise AssertionError("a download does not read")

    Example.sources = sources
    return Example


def url(address: str, filename: str = "file.zip", content: str = "images") -> Source:
    return Source("url", address, filename, content, 53_000, "https://example.org/page")


def test_file_is_told_fetched_recorded_and_unpacked(site: Site, tmp_path: Path) -> None:
    site.content = archive()
    lines: list[str] = []
    seen: list[tuple[int, int | None]] = []
    folder = download(dataset_of(url(site.address)), tmp_path, lines.append, lambda *state: seen.append(state))
    assert folder == tmp_path / "example"
    assert (folder / "file.zip").read_bytes() == site.content
    assert len(list((folder / "file" / "images").iterdir())) == 50
    assert lines[0] == f"images: from {site.address} (about 53 kB) to {folder / 'file.zip'}"
    assert seen[-1] == (len(site.content), len(site.content))
    (entry,) = json.loads((folder / RECORD).read_text()).values()
    assert entry == {"sha256": hashlib.sha256(site.content).hexdigest(), "path": "file.zip"}
    assert not list(folder.glob("*.part*"))


def test_second_download_touches_no_network(site: Site, tmp_path: Path) -> None:
    site.content = archive()
    example = dataset_of(url(site.address))
    download(example, tmp_path, lambda line: None)
    before = len(site.requests)
    lines: list[str] = []
    download(example, tmp_path, lines.append)
    assert len(site.requests) == before
    assert any("already unpacked" in line for line in lines)


def test_cut_connection_is_resumed_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.content, site.cut_after, site.cuts = archive(), 20_000, 2
    download(dataset_of(url(site.address)), tmp_path, lambda line: None)
    assert site.requests == [None, "bytes=20000-", "bytes=40000-"]
    assert (tmp_path / "example" / "file.zip").read_bytes() == site.content


def test_next_call_goes_on_after_a_failed_one(site: Site, tmp_path: Path) -> None:
    site.content, site.cut_after, site.cuts = archive(), 20_000, 1
    example = dataset_of(url(site.address))
    (tmp_path / "example").mkdir()
    tag = f'"{hashlib.sha256(site.content).hexdigest()}"'
    (tmp_path / "example" / "file.zip.part").write_bytes(site.content[:30_000])
    (tmp_path / "example" / "file.zip.part.tag").write_text(tag)
    download(example, tmp_path, lambda line: None)
    assert site.requests == ["bytes=30000-", "bytes=50000-"]
    assert (tmp_path / "example" / "file.zip").read_bytes() == site.content


def test_half_of_another_version_is_not_joined(site: Site, tmp_path: Path) -> None:
    site.content = archive(b"new")
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / "file.zip.part").write_bytes(archive(b"old")[:30_000])
    (tmp_path / "example" / "file.zip.part.tag").write_text('"the old tag"')
    download(dataset_of(url(site.address)), tmp_path, lambda line: None)
    assert (tmp_path / "example" / "file.zip").read_bytes() == site.content


def test_body_that_always_ends_early_is_one_line_with_manual_steps(site: Site, tmp_path: Path) -> None:
    site.content, site.cut_after, site.cuts, site.ranges = archive(), 500, 99, False
    with pytest.raises(DownloadError, match="cut after 500 bytes") as caught:
        download(dataset_of(url(site.address)), tmp_path, lambda line: None)
    assert "open https://example.org/page and save it as" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "example" / "file.zip").exists()
    assert not (tmp_path / "example" / RECORD).exists()


def test_other_content_than_recorded_is_refused_and_set_aside(site: Site, tmp_path: Path) -> None:
    site.content = archive()
    example = dataset_of(url(site.address))
    folder = download(example, tmp_path, lambda line: None)
    recorded = (folder / RECORD).read_text()
    (folder / "file.zip").unlink()
    site.content = archive(b"changed")
    with pytest.raises(DownloadError, match="it is another file now"):
        download(example, tmp_path, lambda line: None)
    assert (folder / RECORD).read_text() == recorded
    assert (folder / "file.zip.rejected").read_bytes() == site.content
    assert not (folder / "file.zip").exists()


def test_web_page_in_place_of_the_archive_is_recognised(site: Site, tmp_path: Path) -> None:
    site.content = b"\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>"
    with pytest.raises(DownloadError, match=r"web page .*quota"):
        download(dataset_of(url(site.address)), tmp_path, lambda line: None)
    assert not (tmp_path / "example" / "file.zip").exists()


def test_what_is_no_archive_is_not_recorded(site: Site, tmp_path: Path) -> None:
    site.content = b"something else"
    with pytest.raises(ArchiveError, match="neither a zip nor a tar"):
        download(dataset_of(url(site.address)), tmp_path, lambda line: None)
    assert not (tmp_path / "example" / RECORD).exists()


def test_unreachable_host_and_missing_page_are_one_line(site: Site, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/file.zip"
    site.status = 404
    for address, why in ((closed, "refused"), (site.address, "it answers 404")):
        with pytest.raises(DownloadError, match=why) as caught:
            download(dataset_of(url(address)), tmp_path, lambda line: None)
        message = str(caught.value)
        assert message.startswith("cannot get the images of 'example'")
        assert f"save it as {tmp_path / 'example' / 'file.zip'}" in message
        assert "agiqa-bench datasets download example" in message
        assert "\n" not in message


def test_second_source_of_one_content_stands_in(site: Site, tmp_path: Path) -> None:
    site.content = archive()
    lines: list[str] = []
    download(dataset_of(url("http://127.0.0.1:9/x.zip", "x.zip"), url(site.address)), tmp_path, lines.append)
    assert (tmp_path / "example" / "file" / "images" / "0.png").exists()
    assert any("127.0.0.1:9" in line and "refused" in line for line in lines)


def test_file_put_there_by_hand_is_taken(tmp_path: Path) -> None:
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / "file.zip").write_bytes(archive())
    download(dataset_of(url("http://127.0.0.1:9/file.zip")), tmp_path, lambda line: None)
    assert (tmp_path / "example" / "file" / "images" / "0.png").exists()
    assert (tmp_path / "example" / RECORD).exists()


def test_google_drive_is_asked_through_gdown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signature = inspect.signature(gdown.download)

    def fake(**arguments: object) -> str:
        signature.bind(**arguments)  # the arguments must be those of the installed gdown
        assert arguments["id"] == "some-id"
        assert arguments["resume"] is True
        Path(str(arguments["output"])).write_bytes(archive())
        return str(arguments["output"])

    monkeypatch.setattr(gdown, "download", fake)
    source = Source("google_drive", "some-id", "file.zip", "images")
    download(dataset_of(source), tmp_path, lambda line: None)
    assert (tmp_path / "example" / "file" / "images" / "49.png").exists()


@pytest.mark.parametrize("error", [gdown.exceptions.FileURLRetrievalError("Too many users"), OSError("no route")])
def test_google_drive_that_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def fake(**arguments: object) -> str:
        raise error

    monkeypatch.setattr(gdown, "download", fake)
    with pytest.raises(DownloadError, match=f"Google Drive file some-id: {error}"):
        download(dataset_of(Source("google_drive", "some-id", "file.zip", "images")), tmp_path, lambda line: None)


def test_hugging_face_repository_is_fetched_whole_and_its_archives_unpacked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signature = inspect.signature(huggingface_hub.snapshot_download)

    def fake(*arguments: object, local_dir: Path, **options: object) -> str:
        signature.bind(*arguments, local_dir=local_dir, **options)
        assert arguments == ("owner/pictures",)
        assert options == {"repo_type": "dataset"}
        (local_dir / ".cache" / "huggingface").mkdir(parents=True)
        (local_dir / "allimg.zip").write_bytes(archive())
        (local_dir / "ratings.json").write_text("{}")
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    example = dataset_of(Source("hugging_face", "owner/pictures", "", "images"))
    folder = download(example, tmp_path, lambda line: None)
    assert (folder / "pictures" / "allimg" / "images" / "0.png").exists()
    monkeypatch.delattr(huggingface_hub, "snapshot_download")
    download(example, tmp_path, lambda line: None)  # unpacked files do not change the recorded digest
    (folder / "pictures" / "ratings.json").write_text("{ }")
    with pytest.raises(DownloadError, match="another file now"):
        download(example, tmp_path, lambda line: None)


def test_hugging_face_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    example = dataset_of(Source("hugging_face", "owner/pictures", "", "images", 0, "https://example.org"))
    with pytest.raises(DownloadError, match="Hugging Face data set owner/pictures: ") as caught:
        download(example, tmp_path, lambda line: None)
    assert f"put its files into {tmp_path / 'example' / 'pictures'}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_record_is_one_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / RECORD).write_text("[1, 2")
    site.content = archive()
    with pytest.raises(DownloadError, match="is not a record of downloads"):
        download(dataset_of(url(site.address)), tmp_path, lambda line: None)


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "example").write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write"):
        download(dataset_of(url("http://127.0.0.1:9/file.zip")), tmp_path, lambda line: None)


def test_data_set_without_source(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no source"):
        download(dataset_of(), tmp_path, lambda line: None)


@pytest.mark.parametrize(("size", "text"), [(999, "999 bytes"), (53_000, "53 kB"), (2_500_000_000, "2.5 GB")])
def test_sizes_read_well(size: int, text: str) -> None:
    assert readable_size(size) == text


@pytest.mark.parametrize("ranges", [True, False], ids=["resumable", "not resumable"])
def test_of_two_downloads_at_once_one_waits_and_finds_the_file(site: Site, tmp_path: Path, ranges: bool) -> None:
    site.content, site.ranges = archive(), ranges
    half, second_is_there = threading.Event(), threading.Event()

    def pause() -> None:
        if len(site.requests) > 1:
            second_is_there.set()
        half.set()
        assert second_is_there.wait(20)

    def say(line: str) -> None:
        lines.append(line)
        if "waiting" in line:
            second_is_there.set()

    site.pause = pause
    lines: list[str] = []
    example = dataset_of(url(site.address))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(download, example, tmp_path, lambda line: None)
        assert half.wait(20)
        second = pool.submit(download, example, tmp_path, say)
        assert first.result(30) == second.result(30) == tmp_path / "example"
    assert site.requests == [None]
    assert (tmp_path / "example" / "file.zip").read_bytes() == site.content
    assert lines[0] == f"example: waiting for another download into {tmp_path / 'example'}"
    assert lines[1] == f"images: {tmp_path / 'example' / 'file.zip'} is there"


def test_downloads_at_once_lose_no_entry_of_the_record(site: Site, tmp_path: Path) -> None:
    site.content = archive()
    together = threading.Barrier(8)

    def fetched(number: int) -> Path:
        together.wait()
        return download(dataset_of(url(site.address, f"{number}.zip")), tmp_path, lambda line: None)

    with ThreadPoolExecutor(8) as pool:
        (folder,) = set(pool.map(fetched, range(8)))
    record = json.loads((folder / RECORD).read_text())
    assert sorted(entry["path"] for entry in record.values()) == [f"{number}.zip" for number in range(8)]


def test_what_is_complete_takes_no_lock(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.content = archive()
    download(dataset_of(url(site.address)), tmp_path, lambda line: None)
    monkeypatch.delattr(downloading, "folder_lock")  # it writes, and a shared data set may be read-only
    download(dataset_of(url(site.address)), tmp_path, lambda line: None)


@pytest.mark.parametrize("variable", VARIABLES)
def test_offline_is_one_line_and_asks_nobody(
    site: Site, tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    site.content = archive()
    lines: list[str] = []
    with pytest.raises(DownloadError, match=r"images of 'example': the network is off .*By hand: open https") as caught:
        download(dataset_of(url(site.address), url(site.address, "other.zip")), tmp_path, lines.append)
    assert "\n" not in str(caught.value)
    assert (lines, site.requests) == ([], [])
    # What is here needs no network.
    (tmp_path / "example" / "file.zip").write_bytes(site.content)
    download(dataset_of(url(site.address)), tmp_path, lines.append)
    assert site.requests == []
