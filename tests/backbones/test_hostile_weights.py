"""Weight files that are made to do harm: one line, nothing run, and no more memory than the file has."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from agiqa_bench.backbones import weight_headers
from agiqa_bench.backbones.checkpoint import check_finite, check_no_code, inspect, read_openai, read_tensors
from agiqa_bench.backbones.clip import load
from agiqa_bench.backbones.spec import resolve
from agiqa_bench.backbones.torchscript import read_torchscript
from agiqa_bench.errors import WeightsUnavailableError


def refused(path: Path, look: Callable[[Path], object] = inspect) -> str:
    with pytest.raises(WeightsUnavailableError) as caught:
        look(path)
    line = str(caught.value)
    assert line.isprintable()
    assert str(path) in line
    assert len(line) < 600
    assert caught.value.stand_in == {}
    return line


def tensors(path: Path) -> object:
    return read_tensors(path, "give another file")


def safetensors(header: object, data: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(**change: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | change}


SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "header of 1 GB": (struct.pack("<Q", 10**9) + b"{}", "a header of 1,000,000,000 bytes in a file of 10"),
    "header of 2**63 bytes": (struct.pack("<Q", 1 << 63) + b"{}", "truncated or not a safetensors file"),
    "header of 2**64 - 1 bytes": (b"\xff" * 8 + b"{}", "truncated or not a safetensors file"),
    "seven bytes": (b"\1" * 7, "has 7 bytes"),
    "no JSON": (safetensors(b"not JSON"), "truncated or not a safetensors file"),
    "not UTF-8": (safetensors(b'{"\xff\xfe": 1}'), "truncated or not a safetensors file"),
    "deep JSON": (safetensors(b'{"a":' * 50_000), "truncated or not a safetensors file"),
    "a list": (safetensors([1, 2]), "truncated or not a safetensors file"),
    "unknown type": (safetensors(one(dtype="F12")), "truncated or not a safetensors file"),
    "no shape": (safetensors({"a": {"dtype": "F32"}}), "truncated or not a safetensors file"),
    "negative shape": (safetensors(one(shape=[-2, -2])), "truncated or not a safetensors file"),
    "shape that overflows": (safetensors(one(shape=[1 << 62, 1 << 62])), "truncated or not a safetensors file"),
    "other shape": (safetensors(one(shape=[2, 3])), "truncated or not a safetensors file"),
    "offsets backwards": (safetensors(one(data_offsets=[16, 0])), "truncated or not a safetensors file"),
    "offsets beyond the end": (safetensors(one(data_offsets=[8, 24])), "truncated or not a safetensors file"),
    "overlapping": (safetensors(one() | {"b": one()["a"]}), "truncated or not a safetensors file"),
    "more than the header names": (safetensors(one(), bytes(64)), "truncated or not a safetensors file"),
    "escape sequences": (safetensors({"\x1b[2J": 1}), "truncated or not a safetensors file"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_a_hostile_safetensors_file_is_one_line(case: str, tmp_path: Path) -> None:
    content, why = SAFETENSORS[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert why in refused(path)
    assert "not a safetensors file" in (line := refused(path, tensors)) or "is not a checkpoint" in line or why in line


def test_a_header_that_is_there_and_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 10**9))
        file.truncate(10**9 + 8)  # with holes: it takes no space
    for look in (inspect, tensors):
        assert "claims a header of 1,000,000,000 bytes, and more than 16,777,216 are refused" in refused(path, look)


def script(path: Path, content: bytes, *parts: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip that says it is a TorchScript archive."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/constants.pkl", b"\x80\x02).")
        for name, part in parts:
            archive.writestr(name, part)
    return path


MODULE = b"c__torch__\nM\n"
BUILD = b"\x80\x02" + MODULE + b")\x81}"


def module(*states: bytes) -> bytes:
    """A pickle of one module with these (name, value) pairs as its attributes."""
    return BUILD + b"(" + b"".join(states) + b"ub."


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
TENSOR = b"X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00(K\x04t(K\x01t\x89}tR"
NESTED = b"".join(b"X\1\0\0\0a" + MODULE + b")\x81" for _ in range(3))
SCRIPTS: dict[str, tuple[bytes, str]] = {
    "eval": (b"cbuiltins\neval\n(X\x03\x00\x00\x001+1tR.", "holds pickled objects that are not tensors"),
    "remembered far out": (b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".", "under numbers that are too high"),
    "text of 2**63 bytes": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 63) + b"x.", "truncated or damaged"),
    "bytes of 1 TB": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "truncated or damaged"),
    "no end": (b"\x80\x02}", "truncated or damaged"),
    "no module": (b"\x80\x02}.", "truncated or damaged (the archive holds no module)"),
    "a tensor without bytes": (module(TENSOR), "truncated or damaged"),
    "no type": (module(TENSOR.replace(b"ctorch\nFloatStorage\n", b"X\x04\x00\x00\x00load")), "a tensor has no type"),
    "reference of nothing": (module(b"X\1\0\0\0aNQ"), "truncated or damaged"),
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_a_hostile_archive_is_one_line(case: str, tmp_path: Path) -> None:
    content, why = SCRIPTS[case]
    path = script(tmp_path / "model.pt", content)

    def read(path: Path) -> object:
        return read_openai(inspect(path))

    assert why in refused(path, read)


def test_the_good_one_is_read(tmp_path: Path) -> None:
    path = script(tmp_path / "model.pt", module(TENSOR), ("x/data/0", struct.pack("<4f", 1, 2, 3, 4)))
    assert read_torchscript(path)["w"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("part", ["x/data.pkl", "x/data/0"])
def test_an_archive_that_swells_is_not_read(part: str, tmp_path: Path) -> None:
    good = {"x/data.pkl": module(TENSOR), "x/data/0": bytes(16), part: bytes(64 << 20)}
    path = script(
        tmp_path / "model.pt", good["x/data.pkl"], ("x/data/0", good["x/data/0"]), method=zipfile.ZIP_DEFLATED
    )
    assert "a part is compressed, as torch never does" in refused(path)
    assert "a part is compressed, as torch never does" in refused(path, tensors)


def test_a_state_dict_that_swells_is_not_read(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as old,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    for look in (inspect, tensors):
        assert "a part is compressed, as torch never does" in refused(tmp_path / "packed.pt", look)


def test_modules_that_hold_each_other_are_not_followed(tmp_path: Path) -> None:
    """Sixty modules, each of which stands in the one before it twice, have 2**60 names."""
    inner = b"c__torch__\nM\n)\x81}X\1\0\0\0zK\1sb"
    for _ in range(60):
        inner = b"c__torch__\nM\n)\x81}(X\1\0\0\0a" + inner + b"q\1X\1\0\0\0bh\1ub"
    path = script(tmp_path / "model.pt", b"\x80\x02" + inner + b".")
    assert "a module of the archive stands in two places" in refused(path)


class _Attack:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
@pytest.mark.parametrize("zipped", [True, False, None])
def test_code_in_a_weight_file_is_not_run(suffix: str, zipped: bool | None, tmp_path: Path) -> None:
    witness, path = tmp_path / "witness", tmp_path / f"attack{suffix}"
    if zipped is None:
        path.write_bytes(pickle.dumps({"state_dict": _Attack(witness)}))
    else:
        torch.save({"state_dict": _Attack(witness)}, path, _use_new_zipfile_serialization=zipped)
    for look in (inspect, tensors):
        refused(path, look)
    assert not witness.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    good = {"a.weight": torch.ones(2), "count": torch.tensor(3), "b.bias": torch.tensor([1.0, value])}
    torch.save(good, tmp_path / "model.pt")
    save_file(good, tmp_path / "model.safetensors")
    for name in ("model.pt", "model.safetensors"):
        assert "b.bias holds NaN or infinity" in refused(tmp_path / name, tensors)
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        with pytest.raises(WeightsUnavailableError, match="w holds NaN"):
            check_finite(Path("x"), {"w": torch.tensor([value], dtype=kind)})
    check_finite(Path("x"), {"w": torch.ones(2), "n": torch.tensor(1)})


@pytest.mark.parametrize("kind", ["pt", "safetensors", "openai"])
def test_a_clip_with_weights_that_are_not_finite_is_refused(
    kind: str, make_model, save_openai, save_safetensors, tmp_path: Path
) -> None:
    model = make_model("tiny-vit")
    with torch.no_grad():
        model.text_projection[0, 0] = float("nan")
    path = tmp_path / f"model.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "pt":
        torch.save(model.state_dict(), path)
    else:
        (save_openai if kind == "openai" else save_safetensors)(model, path)
    with pytest.raises(WeightsUnavailableError, match="text_projection holds NaN or infinity"):
        load(resolve(f"tiny-vit:{path}"))


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    for name in ("model.pt", "model.safetensors"):
        os.mkfifo(tmp_path / name)
        for look in (inspect, tensors):
            assert "is no file" in refused(tmp_path / name, look)
    (tmp_path / "circle.pt").symlink_to(tmp_path / "circle.pt")
    refused(tmp_path / "circle.pt")
    (tmp_path / "empty.bin").touch()
    assert "is empty" in refused(tmp_path / "empty.bin", tensors)


def test_names_out_of_a_file_cannot_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"\x1b]0;pwned\x07": torch.tensor([float("nan")])}))
    assert "\\x1b]0;pwned\\x07 holds NaN" in refused(path, tensors)


LARGE = 15 * 10**8
"""What the files below make of a few bytes, if somebody lets them."""


def number(value: int) -> bytes:
    return b"\x8a\x05" + value.to_bytes(5, "little")


BYTEARRAY = b"\x80\x02}X\x01\x00\x00\x00wc__builtin__\nbytearray\n" + number(LARGE) + b"\x85Rs."


def repacked(path: Path, change: Callable[[bytes], bytes], *parts: tuple[str, bytes]) -> Path:
    """A state dict of two numbers whose pickle is changed, with further parts; code is compressed."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith("/data.pkl") else old.read(name))
        for name, content in parts:
            new.writestr(name, content, zipfile.ZIP_DEFLATED if name.endswith(".py") else zipfile.ZIP_STORED)
    return path


def old(path: Path, content: bytes) -> Path:
    """A file from before torch 1.6 whose content is this pickle."""
    start = [MAGIC_NUMBER, PROTOCOL_VERSION, {}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in start) + content + pickle.dumps([], 2))
    return path


def swollen(pickled: bytes) -> bytes:
    """Its tensor has many numbers, all of which are the first one of the file."""
    size, stride = b"K\x02\x85", b"K\x01\x85"
    assert (pickled.count(size), pickled.count(stride)) == (1, 1)
    return pickled.replace(size, number(LARGE) + b"\x85").replace(stride, b"K\x00\x85")


def swelling(folder: Path) -> dict[Path, str]:
    """Files of a few kilobytes, and why each is refused."""
    (folder / "bare.pt").write_bytes(BYTEARRAY)
    elsewhere = ("other/constants.pkl", b"\x80\x02).")
    named = "never loaded (__builtin__.bytearray)"
    return {
        folder / "bare.pt": named,
        old(folder / "old.pt", BYTEARRAY): named,
        repacked(folder / "zip.pt", lambda _: BYTEARRAY): named,
        repacked(folder / "no_script.pt", lambda _: BYTEARRAY, elsewhere): named,
        script(folder / "script.pt", BYTEARRAY): named,
        repacked(folder / "swollen.pt", swollen): "its tensors claim more numbers than the file holds",
        repacked(
            folder / "code.pt", bytes, ("x/code/a.py", bytes(80 << 20))
        ): "its code has more than 67,108,864 bytes",
    }


def test_what_swells_is_refused_before_it_does(tmp_path: Path) -> None:
    for path, why in swelling(tmp_path).items():
        assert why in refused(path, tensors)
        if path.name not in ("script.pt", "swollen.pt"):  # the one has torch's own language, the other swells if read
            with pytest.raises(
                WeightsUnavailableError, match=r"it names __builtin__\.bytearray|its code has more than"
            ):
                check_no_code(path)
    assert "never loaded (__builtin__.bytearray)" in refused(tmp_path / "script.pt")


def test_a_pickle_is_not_read_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repacked(tmp_path / "model.pt", bytes)
    assert list(read_tensors(path, "")) == ["w"]
    monkeypatch.setattr(weight_headers, "MAX_PICKLE", 100)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was read"))
    assert "bytes, and more than 100 are refused" in refused(path, tensors)


MEMORY = """
import sys
from pathlib import Path
from agiqa_bench.backbones.checkpoint import inspect, read_tensors
from agiqa_bench.errors import WeightsUnavailableError

def memory():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

import torch, safetensors.torch
before = memory()
for path in map(Path, sys.argv[1:]):
    for look in (inspect, lambda path: read_tensors(path, "give another")):
        try:
            look(path)
        except WeightsUnavailableError as error:
            print("refused")
print(memory() - before)
"""


@pytest.mark.slow
def test_no_claim_takes_memory(tmp_path: Path) -> None:
    """A header of 90 MB, bombs in a zip and in a pickle, 400 MB of list of parts, and what swells to 1.5 GB."""
    header = tmp_path / "model.safetensors"
    header.write_bytes(safetensors(b'{"' + b"a" * 90_000_000 + b'":1}'))
    packed = script(tmp_path / "a.pt", bytes(256 << 20), method=zipfile.ZIP_DEFLATED)
    far = script(tmp_path / "b.pt", SCRIPTS["remembered far out"][0])
    parts = tmp_path / "c.pt"
    with parts.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(400_000_000)
        file.seek(400_000_000)
        file.write(b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 65535, 65535, 399_999_000, 0, 0))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    swells = list(swelling(tmp_path))
    arguments = [sys.executable, "-c", MEMORY, header, packed, far, parts, *swells]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, more = done.stdout.split()
    # To look into the tensor that claims too much costs nothing; to read it would.
    assert lines == ["refused"] * (8 + 2 * len(swells) - 1)
    assert int(more) < 300
