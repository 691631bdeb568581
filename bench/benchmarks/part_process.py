"""A part of the benchmark is measured in a process of its own, in a temporary folder of its own with an empty cache.

The folder lies where the user's cache is: there images are decoded to, and the system's folder for temporary files may
be in memory. What an earlier benchmark has left in the user's cache is not found.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from agiqa_bench.atomic import explain
from agiqa_bench.benchmarks.model import Entry, PartResult, Settings
from agiqa_bench.benchmarks.subprocesses import answer_of, give_answer
from agiqa_bench.data.roots import cache_root
from agiqa_bench.errors import BenchmarkError
from agiqa_bench.offline import SWITCHES

_TEMPORARY = "(temporary folder)"


def measure_apart(module: str, settings: Settings, *, debug: bool = False) -> PartResult:
    """Measure a part in a process of its own; what it says appears on the standard error stream.

    Args:
        module: Of the part, as it is imported.
        settings: What is asked of it.
        debug: Whether the traceback of a failure is shown.

    Returns:
        What was found; no text in it names a temporary folder.

    Raises:
        BenchmarkError: It fails in whatever way, in one line.
        StoreError: Nothing can be written where the cache is.
    """
    place = cache_root() / "benchmark"
    try:
        place.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True)
    except OSError as error:
        raise explain(error, place) from error
    with made as folder:
        own = {**SWITCHES, "AGIQA_CACHE": str(Path(folder) / "cache")}
        # Everything that makes a temporary folder makes it here.
        environment = os.environ | own | {"TMPDIR": folder, "TEMP": folder, "TMP": folder}
        asked = json.dumps(asdict(settings) | {"debug": debug})
        try:
            found = answer_of(__name__, module, asked, environment=environment)
        except BenchmarkError as error:
            raise BenchmarkError(without_temporary(str(error), folder)) from error
    entries = [Entry(**entry | {"values": tuple(entry["values"])}) for entry in found["entries"]]
    told = [
        replace(each, note=without_temporary(each.note, folder), work=without_temporary(each.work, folder))
        for each in entries
    ]
    return PartResult(found["name"], without_temporary(found["title"], folder), told)


def without_temporary(text: str, folder: str) -> str:
    """A text with a word in place of a temporary folder, and of those of random names in it.

    >>> without_temporary("cannot read /tmp/tmpab12cd34/tmpef56gh78/weights.pt", "/tmp/tmpab12cd34")
    'cannot read (temporary folder)/weights.pt'
    """
    return re.sub(re.escape(folder) + r"(?:[/\\]tmp[a-z0-9_]{8}(?=\W|$))*", _TEMPORARY, text)


def main(module: str, asked: str, answer: Path) -> None:
    """What the process does: measure, and write what was found, or why nothing was, to `answer`."""
    options = json.loads(asked)
    debug = options.pop("debug")
    settings = Settings(**options | {"methods": tuple(options["methods"])})
    give_answer(answer, lambda: asdict(importlib.import_module(module).measure(settings, _say)), debug=debug)


def _say(line: str) -> None:
    sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
