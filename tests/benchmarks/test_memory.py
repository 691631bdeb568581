from __future__ import annotations

import mmap
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from agiqa_bench.benchmarks.anonymous import AnonymousPeak, anonymous
from agiqa_bench.benchmarks.model import Settings
from agiqa_bench.benchmarks.parts.memory import full_size, measure
from agiqa_bench.registry import method_registry

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells anonymous memory")


@on_linux
def test_memory_of_mapped_files_is_not_anonymous(tmp_path: Path) -> None:
    np.zeros(64 << 20, dtype=np.uint8).tofile(tmp_path / "file")
    before = anonymous()
    mapped = np.memmap(tmp_path / "file", mode="r")
    assert mapped.sum() == 0
    between = anonymous()
    # An array might lie where another has been.
    held = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(held), mmap.PAGESIZE):
        held[page] = 1
    after = anonymous()
    assert before is not None
    assert between is not None
    assert after is not None
    assert between - before < 16
    assert 48 < after - between < 80
    assert len(held) == len(mapped)
    held.close()
    assert anonymous(2**31) is None


@on_linux
def test_a_process_is_watched_until_it_ends() -> None:
    peak = AnonymousPeak()
    # It ends when it is told to, and by then it has been seen.
    code = "import sys; held = b'x' * (64 << 20); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        watching = threading.Thread(target=peak, args=(process,))
        watching.start()
        while (peak.mebibytes or 0) < 64 and process.poll() is None:
            pass
        assert process.stdin is not None
        process.stdin.close()
        watching.join()
    assert process.returncode == 0
    assert peak.mebibytes is not None
    assert 64 < peak.mebibytes < 128


@pytest.mark.parametrize(("name", "backbone"), [("resnet50", "resnet50:none"), ("dbcnn", "vgg16:none")])
def test_a_network_without_weights_takes_the_place_of_a_small_one(name: str, backbone: str) -> None:
    cls = method_registry().load(name)
    assert full_size(cls, cls.Config(backbone="demo-rn")).backbone == backbone
    assert full_size(cls, cls.Config(backbone="resnet18:none")).backbone == "resnet18:none"


@on_linux
def test_the_part_measures_methods_in_processes_of_their_own() -> None:
    found = measure(Settings("tiny", rounds=1, methods=("prompt_text", "sisblim")), lambda line: None)
    allocated, resident, skipped = found.entries
    assert allocated.name == "prompt_text"
    assert allocated.work == "batch of 12"
    assert 20 < allocated.values[0] < resident.values[0]
    assert skipped.values == ()
    assert skipped.note.startswith("no readable specification: ")
