"""The demo CLIPs' own vocabulary: byte-pair merges learned from their training captions.

The file has the format that `open_clip.SimpleTokenizer` reads: gzip, one header line, one merge of two symbols per
line, no line feed at the end (an empty last line would count as a merge).
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from agiqa_bench.atomic import write_bytes

MERGES = 512
"""Most merges there can be; beside them the vocabulary has 256 bytes, 256 bytes that end a word and two specials."""

_HEADER = "#version: 0.2 - merges of agiqa-bench's demo CLIPs"
_END = "</w>"

Merge = tuple[str, str]


def learn_merges(texts: Iterable[str], count: int = MERGES) -> list[Merge]:
    """Learn byte-pair merges, the most frequent pair first and the alphabetically first of equally frequent ones.

    Args:
        texts: Lower-case ASCII captions; words are runs of letters, and nothing else is learned.
        count: Upper bound of the number of merges; there are fewer once every word is one symbol.

    Returns:
        The merges in the order in which they are applied.
    """
    frequency = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    spelled = {word: (*word[:-1], word[-1] + _END) for word in frequency}
    merges: list[Merge] = []
    while len(merges) < count:
        pairs: Counter[Merge] = Counter()
        for word, symbols in spelled.items():
            for pair in itertools.pairwise(symbols):
                pairs[pair] += frequency[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = {word: _merged(symbols, best) for word, symbols in spelled.items()}
    return merges


def _merged(symbols: Sequence[str], pair: Merge) -> tuple[str, ...]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def write_merges(path: Path, merges: Sequence[Merge]) -> None:
    """Write `merges` to `path` (`bpe.txt.gz`); the same merges give the same text, and no time stamp is kept."""
    text = "\n".join([_HEADER, *(" ".join(pair) for pair in merges)])
    write_bytes(path, gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def read_merges(path: Path) -> list[Merge]:
    """Read the merges of `path` in order."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1:]
    return [(first, second) for first, second in (line.split(" ") for line in lines)]
