"""Whether two rows of one name were computed in one way: what must agree before they are subtracted."""

from __future__ import annotations

from typing import Any

from agiqa_bench.reporting.results import MethodResults

_COMPONENTS = {
    "weights": "weights",
    "precision": "precision",
    "batch_size": "batch size",
    "deterministic": "determinism",
}
"""Parts of a cell's key that the user has a say in, with their names for people."""


def other_settings(one: MethodResults, other: MethodResults) -> str:
    """In what the settings of two rows differ, in words; empty if in nothing that is recorded."""
    found: list[str] = []
    names = sorted(name for name in one.config | other.config if one.config.get(name) != other.config.get(name))
    if names:
        found.append(f"settings ({', '.join(names)})")
    elif not one.config and one.preset != other.preset:
        found.append("preset")
    before, after = _components(one), _components(other)
    if before and after:
        found += [name for key, name in _COMPONENTS.items() if before.get(key) != after.get(key)]
    elif one.weights != other.weights:
        found.append("weights")
    return ", ".join(found)


def settings_recorded(method: MethodResults) -> bool:
    """Whether the row's store says how it was computed; stores of older versions say less."""
    return bool(_components(method))


def _components(method: MethodResults) -> dict[str, Any]:
    """What the key of the row's cells was made of, the same in all of them but for split and seed."""
    cell = next(iter(method.cells.values()), None)
    components: dict[str, Any] = {} if cell is None else cell.record.get("components", {})
    return components
