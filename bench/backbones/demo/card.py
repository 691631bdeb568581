"""The model card, written from what the weight files say about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agiqa_bench.atomic import write_text
from agiqa_bench.backbones.demo.models import ARCHITECTURES, weights_file

ACCURACIES = ("image_to_text_top1", "image_to_text_top5", "text_to_image_top1", "text_to_image_top5")
"""Keys of the retrieval accuracy, in percent, in the metadata of a weight file."""

_FACTS = (
    "parameters",
    "seed",
    "families",
    "steps",
    "batch",
    "learning_rate",
    "weight_decay",
    "phrase_share",
    "precision",
    "minutes",
)

_TEXT = """\
# Demo CLIPs

Two tiny CLIP models that this package trains itself, so that every method that needs a CLIP runs at once, offline, on
any machine: `demo-vit` (Vision Transformer) and `demo-rn` (ModifiedResNet). They are **stand-ins for trying things
out**. They know fourteen objects, eight colours, numbers up to four, eight places, six styles and six kinds of damage
of a drawn toy world, and nothing of photographs; no result on real images may be taken from them.

## Models

Built and loaded through open_clip: `demo-vit.json` and `demo-rn.json` are model configurations, the `.safetensors`
files checkpoints with open_clip's names in float16, `bpe.txt.gz` the merges for `open_clip.SimpleTokenizer`. Input is
64 x 64 pixels, normalised with CLIP's means and standard deviations; texts have up to 28 tokens. GELU, not QuickGELU.

## Data

Pictures and captions are made by `agiqa_bench.synthetic`; no image, text or weight of anybody else is in them.
Pictures come in families of four: a random scene, the same scene with other damages, and two scenes that differ from it
in one respect (object, colour, number, place, style, something left out). They are rendered at 128 x 128, damaged
(nothing, one or two of blur, noise, blocking, colour cast, washed-out colours, broken geometry, of any severity), and
reduced to 64 x 64. In every step a picture has a caption that says what it shows, and often how it looks ("A photo
depicts two red apples, pixel art", "a very noisy picture of a blue cat"), and all the phrases that say how it looks ("a
bad photo", "a low quality image", "a very noisy picture").

Kept out of training: every scene that a prompt of the `demo` data set asks for, in whatever style, and one scene in
sixteen, chosen by the hash of its description, for the test below.

## Training

Symmetric cross-entropy between pictures and texts, in which a text is right for every picture of the batch that it is
true of (the objective of UniCL; with one right answer each, CLIP's); AdamW, cosine schedule with warm-up, learned
temperature (at most 100). Trained on a CPU by

    python -m agiqa_bench.backbones.demo.train --architecture all --output DIR

{recipe}

## Zero-shot retrieval on held-out captions

{pictures} pictures of held-out scenes, all different, damaged like those of the training, and their captions with the
prefix "A photo depicts ": is the picture's caption the nearest of all ({pictures} ways), or among the nearest five, and
the other way round? In percent:

{accuracy}

The weight files carry these numbers in their metadata. A test measures them again.

## Limits

- Scenes have at most two kinds of object and four of a kind; anything else is beyond the training.
- Recipe and architecture were changed three times after looking at scores on the `demo` data set (CLIPScore, a linear
  probe of quality): `demo-vit` had patches of 16 pixels before, and saw damages badly. So results on `demo` are
  optimistic for these models; the retrieval accuracies above were not used to choose.
- A ridge regression on the image features of either model reaches an SRCC of about 0.78 with the quality MOS of `demo`
  (10 grouped splits). What a picture shows, they know about as well: CLIPScore's SRCC with alignment is 0.73.
- Words outside the captions' vocabulary (about a hundred words) mean nothing to the models.
- Training again gives the same pictures and captions on every machine, but not the same weights to the last bit: the
  order of floating-point sums differs between processors and versions of torch.

Licence: that of this package.
"""


def metadata(path: Path) -> dict[str, str]:
    """What a weight file says about itself: recipe, number of parameters, accuracy."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def write_card(folder: Path) -> None:
    """Write `folder/MODEL_CARD.md` for the weight files of `folder`, both of which must be there."""
    facts = {name: metadata(weights_file(name, folder)) for name in ARCHITECTURES}
    text = _TEXT.format(
        recipe=_table(_FACTS, facts),
        pictures=facts[ARCHITECTURES[0]]["held_out_pictures"],
        accuracy=_table(ACCURACIES, facts),
    )
    write_text(folder / "MODEL_CARD.md", text)


def _table(rows: tuple[str, ...], facts: Mapping[str, Mapping[str, str]]) -> str:
    lines = [["", *facts], ["---", *("---:" for _ in facts)]]
    lines += [[row.replace("_", " "), *(column[row] for column in facts.values())] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
