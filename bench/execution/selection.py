"""Which methods a request names: single ones, groups such as `deep` or `zero-shot`, and exceptions behind a minus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agiqa_bench.errors import ConfigError, UnknownNameError
from agiqa_bench.execution.request import MethodSpec, parse_method
from agiqa_bench.families import SEPARATOR
from agiqa_bench.method import Method
from agiqa_bench.registry import Registry

ALL = "all"

DERIVED: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "zero-shot": lambda facts: not facts.get("trainable", True),
    "alignment": lambda facts: "alignment" in facts.get("targets", Method.targets),
    "no-pixel": lambda facts: not facts.get("uses_images", True),
}
"""Groups that follow from a method's class data; all others are in its `groups`."""


def groups_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups of a method with this class data, its own first.

    >>> groups_of({"groups": ("deep",), "targets": ("quality", "alignment")})
    ('deep', 'alignment')
    """
    return (*facts.get("groups", ()), *(name for name, belongs in DERIVED.items() if belongs(facts)))


def method_groups(registry: Registry[Method]) -> dict[str, list[str]]:
    """Names of the methods of each group, sorted; `all` is every registered method.

    The members of a family, which are a group under its name, are apart.
    """
    groups: dict[str, list[str]] = {ALL: registry.names()}
    for entry in registry.entries():
        if entry.error is None:
            for group in groups_of(entry.facts):
                groups.setdefault(group, []).append(entry.name)
    return groups


def family_names(registry: Registry[Method]) -> list[str]:
    """Names of the families, e.g. `pyiqa`: of each all members are a group."""
    return registry.families.names() if registry.families is not None else []


def requested_methods(texts: Sequence[str], registry: Registry[Method]) -> tuple[list[MethodSpec], bool]:
    """The methods that `--methods` names, in its order, each once.

    Args:
        texts: Names with or without settings, names of groups, and either behind a minus for what is left out.
        registry: Where names are looked up; a method's name goes before that of a group.

    Returns:
        The methods, and whether any came with a group: then one that is broken is left out and stops nothing.

    Raises:
        ConfigError: A text is not of that form, or nothing is left.
        UnknownNameError: No method or group has that name.

    >>> from agiqa_bench.registry import method_registry
    >>> specs, forgiving = requested_methods(["no-pixel", "-prompt_text"], method_registry())
    >>> [spec.name for spec in specs], forgiving
    (['generator_mean', 'generator_prompt'], True)
    """
    wanted: list[MethodSpec] = []
    left_out: set[str] = set()
    forgiving = False
    for text in texts:
        if text.startswith("-"):
            left_out.update(_members(text[1:].strip(), registry) or [_known(text[1:].strip(), registry)])
            continue
        members = _members(text, registry)
        if members is not None:
            forgiving = True
            wanted.extend(MethodSpec(name) for name in members)
            continue
        spec = parse_method(text)
        if spec.name not in registry and _members(spec.name, registry) is not None:
            raise ConfigError(f"'{text}': a group takes no settings; name the method that they are for")
        _known(spec.name, registry)
        wanted.append(spec)
    specs = [spec for place, spec in enumerate(wanted) if spec.name not in left_out and spec not in wanted[:place]]
    if not specs and wanted:
        raise ConfigError(f"--methods {','.join(texts)}: what stands behind a minus leaves nothing to compare")
    if not specs:
        raise ConfigError("no method was asked for: give --methods NAME,NAME or --methods all")
    return specs, forgiving


def _members(name: str, registry: Registry[Method]) -> list[str] | None:
    """The methods of a group; None if there is no such group."""
    if name == ALL:
        return registry.names()
    if name in registry or "[" in name:
        return None
    if name in family_names(registry):
        return registry.members(name)
    return method_groups(registry).get(name)


def _known(name: str, registry: Registry[Method]) -> str:
    """The name of a method.

    Raises:
        UnknownNameError: There is none of that name; the message suggests methods and groups.
    """
    if name not in registry:
        if SEPARATOR in name:
            registry.load(name)  # raises, with suggestions from the family
        known = [*registry.names(), *method_groups(registry), *family_names(registry)]
        raise UnknownNameError("method", name, known, "(see 'agiqa-bench methods list')")
    return name
