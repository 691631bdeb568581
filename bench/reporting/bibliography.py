"""BibTeX of what was run: reads the entries that methods and data sets carry, and writes each of them once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

from agiqa_bench.errors import AgiqaError

_ENTRY = re.compile(r"@\s*([A-Za-z]+)\s*\{\s*([^\s,{}()\"#%~\\=]+)\s*")
_FIELD = re.compile(r"\s*,\s*([A-Za-z][\w.:+/-]*)\s*=\s*")
_END = re.compile(r"\s*,?\s*\}")
_BARE = re.compile(r"\d+|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE)
_NO_ENTRIES = {"comment", "preamble", "string"}


class CitationError(AgiqaError):
    """A citation is not well-formed BibTeX."""


@dataclass(frozen=True)
class Entry:
    """One BibTeX entry.

    Attributes:
        kind: In lower case, e.g. `article`.
        key: What it is cited by.
        fields: (name in lower case, value) in order; a value has its blanks collapsed and its delimiters, braces or
            none, about it.
    """

    kind: str
    key: str
    fields: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """The entry as BibTeX, one field a line."""
        lines = [f"@{self.kind}{{{self.key}", *(f"  {name} = {value}" for name, value in self.fields)]
        return ",\n".join(lines) + "\n}"


def entries(text: str) -> list[Entry]:
    """The entries of a BibTeX text, in order.

    Every value is a number, the short name of a month, or text in braces or quotes; abbreviations (`@string`) and
    joined texts (`#`) are refused. Text between entries is a comment, as in BibTeX.

    Raises:
        CitationError: An entry is not well formed, in one line that names it.

    >>> entries('@Misc{a, title = "Some  {T}itle", year = 2024}')
    [Entry(kind='misc', key='a', fields=(('title', '{Some {T}itle}'), ('year', '2024')))]
    """
    found = []
    position = text.find("@")
    while position >= 0:
        entry, position = _entry(text, position)
        found.append(entry)
        position = text.find("@", position)
    return found


def references(citations: Iterable[str]) -> str:
    """Each entry of some citations once, sorted by key, as BibTeX; empty if there is none.

    Entries that differ keep their places under different keys: the second of one key gets `-2` behind it, and so on.
    What cannot be read as BibTeX stands at the end, as a comment that says why.

    Args:
        citations: BibTeX of one or more entries each; empty ones are passed over.
    """
    known: dict[tuple[str, str, frozenset[tuple[str, str]]], Entry] = {}
    unread = set()
    for citation in filter(str.strip, citations):
        try:
            read = entries(citation)
        except CitationError as error:
            unread.add(_comment(f"{error}: {citation}"))
            continue
        if not read:
            unread.add(_comment(f"no BibTeX entry: {citation}"))
        for entry in read:
            known.setdefault((entry.kind, entry.key.casefold(), frozenset(entry.fields)), entry)
    parts = [*map(str, _with_own_keys(known.values())), *sorted(unread)]
    return "\n\n".join(parts) + "\n" if parts else ""


def _with_own_keys(found: Iterable[Entry]) -> list[Entry]:
    """The entries by key, with other keys where several have the same but for capitals, which BibTeX does not tell."""
    ordered = sorted(found, key=lambda entry: (entry.key.casefold(), str(entry)))
    wanted = {entry.key.casefold() for entry in ordered}
    taken: set[str] = set()
    result = []
    for entry in ordered:
        key = entry.key
        if key.casefold() in taken:
            numbered = (f"{entry.key}-{number}" for number in count(2))
            key = next(name for name in numbered if name.casefold() not in taken | wanted)
        taken.add(key.casefold())
        result.append(replace(entry, key=key))
    return sorted(result, key=lambda entry: entry.key.casefold())


def _entry(text: str, start: int) -> tuple[Entry, int]:
    """The entry that begins at `start`, and where it ends."""
    head = _ENTRY.match(text, start)
    if head is None:
        raise CitationError(
            f"BibTeX: '{_excerpt(text, start)}' does not begin with a kind and a key, as @article{{key,"
        )
    kind, key, position = head[1].lower(), head[2], head.end()
    if kind in _NO_ENTRIES:
        raise CitationError(f"BibTeX: @{kind} is not read: write out what it stands for")
    fields: dict[str, str] = {}
    while (end := _END.match(text, position)) is None:
        name = _FIELD.match(text, position)
        if name is None:
            raise CitationError(f"BibTeX entry {key}: no field, as name = {{value}}, at '{_excerpt(text, position)}'")
        if name[1].lower() in fields:
            raise CitationError(f"BibTeX entry {key}: the field '{name[1].lower()}' is there twice")
        fields[name[1].lower()], position = _value(text, name.end(), key)
    if not fields:
        raise CitationError(f"BibTeX entry {key}: it has no field")
    return Entry(kind, key, tuple(fields.items())), end.end()


def _value(text: str, start: int, key: str) -> tuple[str, int]:
    """The value that begins at `start`, and where it ends."""
    bare = _BARE.match(text, start)
    if bare is not None:
        return bare[0].lower(), bare.end()
    opening = text[start : start + 1]
    if opening not in ("{", '"'):
        raise CitationError(
            f"BibTeX entry {key}: a value is a number, a month, or stands in braces or quotes, unlike "
            f"'{_excerpt(text, start)}'"
        )
    end = _closing(text, start)
    if end is None:
        raise CitationError(f"BibTeX entry {key}: what begins with '{_excerpt(text, start)}' has no end")
    return f"{{{' '.join(text[start + 1 : end].split())}}}", end + 1


def _closing(text: str, start: int) -> int | None:
    """Where the brace or quote that opens at `start` is closed, with braces in pairs between; None if nowhere."""
    quoted = text[start] == '"'
    depth = 0
    for position in range(start + 1, len(text)):
        letter = text[position]
        if letter == "{":
            depth += 1
        elif depth == 0 and letter == ('"' if quoted else "}"):
            return position
        elif letter == "}":
            depth -= 1
            if depth < 0:
                return None
    return None


def _comment(text: str) -> str:
    # BibTeX takes every @ outside an entry for the beginning of one, behind a percent sign, too.
    return "% " + " ".join(text.replace("@", "(at)").split())


def _excerpt(text: str, start: int) -> str:
    return " ".join(text[start : start + 40].split())
