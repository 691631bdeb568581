"""Feeds the targets of test_fuzz.py with random examples for as long as it is told, and prints what it found.

    python tests/fuzz/keep_on.py [--minutes 10] [TARGET...]

Each target, or all targets whose name has the word in it, gets so many minutes. Exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

LARGEST = 2048
"""Random bytes that an example is made of."""

MOST_FINDINGS = 5
"""Of one target, after which the next one's turn comes."""


def targets(words: list[str]) -> dict[str, Callable[[], None]]:
    found = spec_from_file_location("test_fuzz", Path(__file__).with_name("test_fuzz.py"))
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    tests = {name: test for name, test in vars(module).items() if hasattr(test, "hypothesis")}
    return {name: test for name, test in tests.items() if not words or any(word in name for word in words)}


def feed(name: str, test: Any, seconds: float) -> int:
    """Run one target; print each kind of finding once, with the example that it came from."""
    last: dict[str, Any] = {}
    inner = test.hypothesis.inner_test

    def remembered(*arguments: Any, **named: Any) -> None:
        last["example"] = (*arguments, *(f"{key}={value!r}" for key, value in named.items()))
        inner(*arguments, **named)

    test.hypothesis.inner_test = remembered
    ends, count, seen = time.monotonic() + seconds, 0, set()
    while time.monotonic() < ends and len(seen) < MOST_FINDINGS:
        count += 1
        content = os.urandom(int.from_bytes(os.urandom(2), "little") % LARGEST)
        try:
            test.hypothesis.fuzz_one_input(content)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            if kind not in seen:
                seen.add(kind)
                sys.stdout.write(f"\nFOUND in {name}: {last.get('example')}\n")
                sys.stdout.write("".join(traceback.format_exception(error)[-12:]))
    sys.stdout.write(f"{name}: {count} examples, {len(seen)} kinds of finding\n")
    sys.stdout.flush()
    return len(seen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    found = sum(feed(name, test, 60 * options.minutes) for name, test in targets(options.words).items())
    return int(found > 0)


if __name__ == "__main__":
    raise SystemExit(main())
