"""Learn a vocabulary for the demo CLIPs: `python -m agiqa_bench.backbones.demo.vocabulary`, then train anew.

Weights belong to the vocabulary that they were trained with. The shipped `bpe.txt.gz` was learned so from an earlier
mixture of the same captions, and has stayed: it makes every word of theirs one token.
"""

from __future__ import annotations

from agiqa_bench.backbones.demo.bank import training_family
from agiqa_bench.backbones.demo.bpe import Merge, learn_merges, write_merges
from agiqa_bench.backbones.demo.captions import random_caption
from agiqa_bench.backbones.demo.models import TOKENIZER_FILE
from agiqa_bench.synthetic.draws import Draws


def training_captions(families: int = 1000) -> list[str]:
    """A sample of training captions of every form, the same on every machine."""
    draws = Draws("demo clip vocabulary")
    pictures = [picture for index in range(families) for picture in training_family(0, index)]
    return [random_caption(picture, draws).text for picture in pictures]


def demo_merges() -> list[Merge]:
    """The merges of the demo CLIPs: every word of their captions becomes one token."""
    return learn_merges(training_captions())


if __name__ == "__main__":
    write_merges(TOKENIZER_FILE, demo_merges())
