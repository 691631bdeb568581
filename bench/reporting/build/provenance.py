"""Where the numbers of a report come from, and what is not among them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from agiqa_bench.reporting.homes import without_home
from agiqa_bench.reporting.model import Column, Row, Table
from agiqa_bench.reporting.results import RunResults

Facts = list[tuple[str, str]]

_DIGITS = 16
"""Of a digest; as many as the names of the files in a store have."""


def provenance_table(results: RunResults, prefix: str) -> Table:
    """Facts about program, machine and data behind the results, one a row.

    Where commands or machines differ, a fact has several values. Home folders are shown as `~`.
    """
    environments = list(_environments(results))
    facts = [
        *_program_facts(results, environments),
        *_machine_facts(environments),
        *_data_facts(results),
        *_weight_facts(results),
    ]
    return Table(
        key=f"{prefix}provenance",
        title=f"{results.title}: provenance",
        columns=(Column("value", "Value", text=True),),
        rows=tuple(Row(_key(name), name, (value,)) for name, value in facts),
        head="Fact",
        notes=(
            f"of digests (SHA-256) and commits the first {_DIGITS} digits are shown; the run's folder has the rest",
        ),
    )


def left_out_table(results: RunResults, prefix: str) -> Table | None:
    """Methods that were skipped, have failed or cannot be used, and why; None if there is none."""
    if not results.left_out:
        return None
    rows = []
    for name, text in results.left_out:
        what, _, why = text.partition(": ")
        rows.append(Row(name, name, (what, why)))
    return Table(
        key=f"{prefix}left-out",
        title=f"{results.title}: left out",
        columns=(Column("what", "What", text=True), Column("why", "Why", text=True)),
        rows=tuple(rows),
    )


def _environments(results: RunResults) -> Iterator[dict[str, Any]]:
    """What the commands and, where those are of other ones, the cells say of program and machine; each once."""
    seen: list[dict[str, Any]] = []
    cells = (cell.record for method in results.methods for cell in method.cells.values())
    for record in (*results.plans, *cells):
        environment = record["environment"]
        if environment not in seen:
            seen.append(environment)
            yield environment


def _program_facts(results: RunResults, environments: list[dict[str, Any]]) -> Facts:
    facts = [("agiqa-bench", _several(_version(environment) for environment in environments))]
    times = [_times(plan) for plan in results.plans]
    facts.append(("When", _several(filter(None, times))))
    commands = dict.fromkeys(command_line(environment["argv"]) for environment in environments)
    return [*facts, *_numbered("Command", list(commands))]


def _machine_facts(environments: list[dict[str, Any]]) -> Facts:
    versions: dict[str, dict[str, None]] = {}
    for environment in environments:
        for name, version in environment["libraries"].items():
            versions.setdefault(name, {})[version] = None
    libraries = ", ".join(
        f"{name} {' or '.join(found)}" for name, found in sorted(versions.items(), key=lambda entry: entry[0].lower())
    )
    return [
        ("Python", _several(environment["python"] for environment in environments)),
        ("Libraries", libraries),
        ("Platform", _several(environment["platform"] for environment in environments)),
        ("Device", _several(_device(environment) for environment in environments)),
    ]


def _data_facts(results: RunResults) -> Facts:
    protocol = results.protocol
    facts = [("Annotations", _short(protocol["annotations"]))]
    for side, name in (("train", "training"), ("test", "test")):
        if f"{side}_on" in protocol:
            annotations = _short(protocol[f"{side}_annotations"])
            facts.append((f"Annotations of the {name} set", f"{protocol[f'{side}_on']}: {annotations}"))
    facts += [
        ("Images", "no method looked at them" if results.images is None else _short(results.images)),
        ("Splits", _short(protocol["splits_digest"])),
        ("Seed", str(protocol["seed"])),
    ]
    faults = dict.fromkeys(without_home(fault) for plan in results.plans for fault in plan["faults"])
    return [*facts, *_numbered("Fault of the data set", list(faults))]


def _weight_facts(results: RunResults) -> Facts:
    """The pretrained weights that finished cells were computed with."""
    users: dict[tuple[str, str], dict[str, None]] = {}
    for method in results.methods:
        for cell in method.cells.values():
            for weights in cell.record["weights"]:
                users.setdefault((weights["name"], weights["digest"]), {})[method.display] = None
    by_name: dict[str, list[str]] = {}
    for (name, digest), methods in sorted(users.items()):
        by_name.setdefault(name, []).append(f"{_short(digest) if digest else 'no file'}: {', '.join(methods)}")
    return [(f"Weights {name}", "; ".join(uses)) for name, uses in by_name.items()]


def _version(environment: dict[str, Any]) -> str:
    git, version = environment["git"], str(environment["agiqa_bench"])
    if git is None:
        return version
    return f"{version}, commit {_short(git['commit'])}{' with local changes' if git['changed'] else ''}"


def _device(environment: dict[str, Any]) -> str:
    device, cores = environment["device"], f"{environment['cpu_count']} processors"
    if device["type"] == "cpu":
        return f"{device['name']}, {cores}"
    memory = f"{device['memory_bytes'] / 2**30:.0f} GiB"
    driver = f", driver {device['driver']}" if device["driver"] else ""
    return f"{device['name']}, {memory}, CUDA {device['cuda']}{driver}, {cores}"


def _times(plan: dict[str, Any]) -> str:
    """When a command ran, UTC, to the minute."""
    if "started" not in plan:
        return ""
    started = datetime.fromisoformat(plan["started"])
    if "ended" not in plan:
        return f"{started:%Y-%m-%d %H:%M} UTC, not ended"
    ended = datetime.fromisoformat(plan["ended"])
    same_day = started.date() == ended.date()
    return f"{started:%Y-%m-%d %H:%M} to {ended:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} UTC"


def command_line(words: Sequence[str]) -> str:
    """A command line as it was typed, without the folder of the program and of the user."""
    program, *arguments = words or [""]
    name = PurePath(program).name
    return without_home(shlex.join(["agiqa-bench" if name in ("", "__main__.py") else name, *arguments]))


def _several(values: Iterable[str]) -> str:
    """The distinct values in order."""
    return "; ".join(dict.fromkeys(values))


def _numbered(name: str, values: list[str]) -> Facts:
    """One fact per value, numbered if there are several."""
    if len(values) == 1:
        return [(name, values[0])]
    return [(f"{name} {number}", value) for number, value in enumerate(values, start=1)]


def _short(digest: str) -> str:
    return digest[:_DIGITS]


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
