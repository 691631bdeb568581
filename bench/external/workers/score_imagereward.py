"""Scores a table by ImageReward, in an interpreter where the package image-reward is installed.

python score_imagereward.py INPUT OUTPUT CHECKPOINT MED_CONFIG

One image at a time by the package's own `score`, as in its README; scores are its rewards, higher is better.
"""

import contextlib
import csv
import os
import sys
from pathlib import Path

import ImageReward
import torch

PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


def main(source, target, checkpoint, med_config):
    """Read the table `source`, write the table `target`."""
    device = os.environ.get("AGIQA_DEVICE", "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"torch finds no CUDA device in {sys.executable}: use --device cpu")
    model = ImageReward.load(checkpoint, device=device, med_config=med_config)
    with Path(source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with Path(target).open("w", encoding="utf-8", newline="") as file, torch.no_grad(), arithmetic(device):
        writer = csv.writer(file)
        writer.writerow(["id", "score"])
        for done, row in enumerate(rows, start=1):
            writer.writerow([row["id"], repr(float(model.score(row["prompt"], row["image"])))])
            sys.stdout.write(f"progress {done} {len(rows)}\n")


def arithmetic(device):
    """A context in which the networks compute in the precision of the run; float32 by default."""
    name = PRECISIONS.get(os.environ.get("AGIQA_PRECISION", ""))
    return torch.autocast(device.split(":")[0], dtype=getattr(torch, name)) if name else contextlib.nullcontext()


if __name__ == "__main__":
    main(*sys.argv[1:])
