"""Names to classes: a lazy registry over entry points and one-file plugins.

Nothing is imported until it is asked for. Facts about built-in entries (title, targets ...) are read from the source
of their class, so that listing them costs milliseconds and no torch; a third party's entry is imported to be listed,
because only that shows whether it works.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from agiqa_bench.errors import PluginError, RegistrationError, UnknownNameError
from agiqa_bench.families import SEPARATOR

if TYPE_CHECKING:
    from agiqa_bench.data.dataset import Dataset
    from agiqa_bench.families import Family
    from agiqa_bench.method import Method

T = TypeVar("T")

BUILT_IN = "agiqa-bench"


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: What users type.
        location: `module:attribute` of the class.
        origin: The distribution or file that it comes from.
        error: Why it cannot be used, in one line; None if nothing is known against it.
        facts: Literal class data (`title`, `summary`, `targets` ...).
    """

    name: str
    location: str
    origin: str
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Registry(Generic[T]):
    """Lazy names of one kind of class."""

    def __init__(self, kind: str, group: str, base: str, families: Registry[Family] | None = None) -> None:
        """Describe the registry.

        Args:
            kind: The noun in messages, e.g. `method`.
            group: Entry-point group that distributions register under.
            base: `module:Class` that every entry must derive from.
            families: Answer for names with a colon; None if there are no such names.
        """
        self.kind = kind
        self.group = group
        self.families = families
        self._base = base
        self._locations: dict[str, str] = {}
        self._origins: dict[str, str] = {}
        self._loaded: dict[str, type[T]] = {}
        self._members: dict[str, type[T]] = {}
        self._refused: list[Entry] = []
        self._contested: dict[str, str] = {}
        self._discovered = False

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        found = sorted(entry_points(group=self.group), key=_built_in_first)
        for point in found:
            origin = _origin(point)
            taken = self._locations.get(point.name)
            if taken == point.value:
                continue  # one distribution seen twice, e.g. through a checkout on the path
            if taken is not None:
                if not self._origins[point.name].startswith(f"{BUILT_IN} "):
                    self._contested[point.name] = origin
                reason = f"the name is taken by {self._origins[point.name]}"
                self._refused.append(Entry(point.name, point.value, origin, error=reason))
                continue
            self._locations[point.name] = point.value
            self._origins[point.name] = origin

    def register(self, name: str, cls: type[T], origin: str) -> None:
        """Add a class under `name`.

        Raises:
            RegistrationError: The name is taken by another class.
        """
        self._discover()
        location = f"{cls.__module__}:{cls.__qualname__}"
        if name in self._locations and self._locations[name] != location:
            raise RegistrationError(
                f"{self.kind} '{name}' of {origin} collides with the one of {self._origins[name]}: "
                "give the class another name"
            )
        self._locations[name] = location
        self._origins[name] = origin
        self._loaded[name] = cls

    def names(self) -> list[str]:
        """All registered names, sorted; the members of families are apart."""
        self._discover()
        return sorted(self._locations)

    def members(self, family: str) -> list[str]:
        """Full names of a family's members, e.g. `pyiqa:musiq`, in the family's order.

        Raises:
            UnknownNameError: There is no such family.
            PluginError: The family is broken.
        """
        return [f"{family}{SEPARATOR}{member}" for member in self._family(family).members()]

    def __contains__(self, name: str) -> bool:
        self._discover()
        if name in self._locations:
            return True
        family, colon, member = name.partition(SEPARATOR)
        if not colon or self.families is None or family not in self.families:
            return False
        try:
            return member in self._family(family).members()
        except (PluginError, RegistrationError):
            return False

    def load(self, name: str) -> type[T]:
        """Import the class registered as `name`, or let its family make it; always the same class for one name.

        Raises:
            UnknownNameError: Nothing has that name; the message suggests near ones.
            PluginError: Its module cannot be imported or does not hold a fitting class.
            RegistrationError: Two third parties claim the name; a built-in's is never in doubt.
        """
        self._discover()
        if name not in self._locations and SEPARATOR in name and self.families is not None:
            return self._member(name)
        if name not in self._locations:
            raise UnknownNameError(self.kind, name, self._locations, f"(see 'agiqa-bench {self.kind}s list')")
        if name in self._contested:
            raise RegistrationError(
                f"{self.kind} '{name}' is claimed by both {self._origins[name]} and {self._contested[name]}: "
                "uninstall one of them"
            )
        if name not in self._loaded:
            self._loaded[name] = self._import(name)
        return self._loaded[name]

    def _import(self, name: str) -> type[T]:
        location, origin = self._locations[name], self._origins[name]
        module_name, _, attribute = location.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way while it is imported
            raise PluginError(
                f"{self.kind} '{name}' of {origin} cannot be imported: {type(error).__name__}: {_first_line(error)}"
            ) from error
        return self._fitting(name, found, location, origin)

    def _fitting(self, name: str, found: Any, location: str, origin: str) -> type[T]:
        """`found`, if it is a class that may stand under `name`."""
        base_module, _, base_name = self._base.partition(":")
        base = getattr(importlib.import_module(base_module), base_name)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise PluginError(f"{self.kind} '{name}' of {origin}: {location} is not a subclass of {base_name}")
        if getattr(found, "name", None) != name:
            raise PluginError(
                f"{self.kind} '{name}' of {origin}: the class calls itself '{getattr(found, 'name', None)}'; "
                "entry point and class must agree"
            )
        problem = problem_with_class_data(found)
        if problem:
            raise PluginError(f"{self.kind} '{name}' of {origin}: {problem}")
        return cast(type[T], found)

    def describe(self, name: str) -> Mapping[str, str]:
        """What its family says of `name`; empty if it is not a member of one."""
        family, colon, member = name.partition(SEPARATOR)
        return self._family(family).describe(member) if colon and name not in self._locations else {}

    def _family(self, name: str) -> Family:
        if self.families is None or name not in self.families:
            known = self.families.names() if self.families is not None else []
            raise UnknownNameError(f"family of {self.kind}s", name, known, f"(see 'agiqa-bench {self.kind}s list')")
        return self.families.load(name)()

    def _member(self, name: str) -> type[T]:
        if name not in self._members:
            family_name, _, member = name.partition(SEPARATOR)
            family = self._family(family_name)
            known = family.members()
            if member not in known:
                hint = f"(see 'agiqa-bench {self.kind}s list --family {family_name}')"
                raise UnknownNameError(f"{family_name} {self.kind}", member, known, hint)
            origin = self._origin_of(name)
            try:
                found = family.load(member)
            except Exception as error:  # a third party's family may fail in any way
                raise PluginError(
                    f"{self.kind} '{name}' of {origin} cannot be made: {type(error).__name__}: {_first_line(error)}"
                ) from error
            self._members[name] = self._fitting(name, found, f"what family '{family_name}' makes", origin)
        return self._members[name]

    def _origin_of(self, name: str) -> str:
        if name not in self._locations and self.families is not None:
            return self.families._origin_of(name.partition(SEPARATOR)[0])
        return self._origins[name]

    def entry(self, name: str) -> Entry:
        """Facts about one name, without importing it if it is built in."""
        self._discover()
        location, origin = self._locations.get(name, ""), self._origin_of(name)
        if location and origin.startswith(f"{BUILT_IN} ") and name not in self._loaded:
            facts = literal_class_data(location)
            if facts is not None:
                return Entry(name, location, origin, facts=facts)
        try:
            cls = self.load(name)
        except (PluginError, RegistrationError) as error:
            return Entry(name, location, origin, error=str(error))
        facts = {key: getattr(cls, key) for key in dir(cls) if not key.startswith("_")}
        return Entry(name, location, origin, facts=facts)

    def entries(self) -> list[Entry]:
        """Every entry, sorted by name; broken and refused ones with their reason."""
        self._discover()
        return sorted([self.entry(name) for name in self.names()] + self._refused, key=lambda entry: entry.name)


def _built_in_first(point: EntryPoint) -> tuple[bool, str, str]:
    return not _origin(point).startswith(BUILT_IN + " "), point.name, point.value


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no message"


def problem_with_class_data(cls: type) -> str:
    """What is wrong with what a class says of itself, in one line; empty if nothing is."""
    for attribute in ("name", "title"):
        value = getattr(cls, attribute, None)
        if not isinstance(value, str) or not value:
            return f"class {cls.__name__} needs a text as its '{attribute}', and has {value!r}"
    targets = getattr(cls, "targets", ())
    if not isinstance(targets, tuple):
        return f"class {cls.__name__} needs a tuple as its 'targets', and has {targets!r}"
    return _problem_with_company(cls) or _problem_with_shares(cls)


def _problem_with_shares(cls: type) -> str:
    for attribute in ("num_cpus", "num_gpus"):
        share = getattr(cls, attribute, 1)
        if type(share) not in (int, float) or not 0 <= share < math.inf:
            return f"class {cls.__name__} needs a number from 0 on as its '{attribute}', and has {share!r}"
    if (gpus := getattr(cls, "num_gpus", 1)) > 1 and gpus % 1:
        return f"class {cls.__name__} asks for {gpus} GPUs as its 'num_gpus': above 1 it must be a whole number"
    return ""


def _problem_with_company(cls: type) -> str:
    together = getattr(cls, "trains_together", 1)
    if type(together) is not int or together < 1:
        return f"class {cls.__name__} needs a whole number from 1 on as its 'trains_together', and has {together!r}"
    if together > 1:
        from agiqa_bench.method import Method

        if inspect.getattr_static(cls, "fit_together", None) is inspect.getattr_static(Method, "fit_together"):
            return f"class {cls.__name__} sets trains_together to {together} and needs a 'fit_together' of its own"
    return ""


def literal_class_data(location: str) -> dict[str, Any] | None:
    """Read the literal class attributes of `module:Class` from its source, without importing the module.

    Base classes in the same file are followed. None if the source or the class cannot be found.
    """
    module_name, _, class_name = location.partition(":")
    spec = importlib.util.find_spec(module_name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return _literals(class_name, classes) if class_name in classes else None


def _literals(class_name: str, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    node = classes[class_name]
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            facts |= _literals(base.id, classes)
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            key, value = statement.targets[0].id, statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            key, value = statement.target.id, statement.value
        else:
            continue
        try:
            facts[key] = ast.literal_eval(value)
        except ValueError:
            continue  # computed class data: shown only once the class is imported
    return facts


@cache
def method_registry() -> Registry[Method]:
    """The registry of methods of this process."""
    return Registry("method", "agiqa_bench.methods", "agiqa_bench.method:Method", family_registry())


@cache
def family_registry() -> Registry[Family]:
    """The registry of families of methods of this process."""
    return Registry("family", "agiqa_bench.method_families", "agiqa_bench.families:Family")


@cache
def dataset_registry() -> Registry[Dataset]:
    """The registry of data sets of this process."""
    return Registry("dataset", "agiqa_bench.datasets", "agiqa_bench.data.dataset:Dataset")
