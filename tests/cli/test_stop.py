"""SIGTERM, as batch systems and `timeout` send it, through the installed command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_sigterm_ends_the_command_and_deletes_what_was_written_for_it(jobs, rated_table, ended, tmp_path):
    for name in pd.read_csv(rated_table)["image"]:
        Image.new("RGB", (8, 8)).save(rated_table.parent / name)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    methods = ",".join(
        f"external[label={label},command=\"sh -c 'echo $$ > {label}.pid; sleep 99; true'\"]" for label in "ab"
    )
    process = subprocess.Popen(
        [Path(sys.executable).with_name("agiqa-bench"), "run", "--methods", methods, "--dataset", rated_table,
         "--repeats", "2", "--jobs", str(jobs), "--output", tmp_path / "out"],
        env=os.environ | {"AGIQA_CACHE": str(tmp_path / "cache"), "TMPDIR": str(temporary), "COLUMNS": "200"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    running = [tmp_path / f"{label}.pid" for label in "ab"[:jobs]]
    deadline = time.monotonic() + 120
    while not all(file.exists() and file.read_text().endswith("\n") for file in running):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert list(temporary.rglob("agiqa-external-*"))
    assert list(temporary.rglob("agiqa-images-*/*.png"))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # `timeout` sends it to the process, and to its group
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "0 cells computed, 0 reused; stopped by SIGTERM: the same command goes on from here" in stderr
    assert "Traceback" not in stderr
    assert all(ended(int(file.read_text())) for file in running)
    assert list(temporary.iterdir()) == []
