"""The tables of the protocol, the device and the precision, for the worker scripts beside this file."""

import contextlib
import csv
import os
import sys
from pathlib import Path

import torch

PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


def device_of_run():
    """The device of the run; ends the script where torch does not have it."""
    device = os.environ.get("AGIQA_DEVICE", "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"torch finds no CUDA device in {sys.executable}: use --device cpu")
    return device


def arithmetic(device):
    """A context in which the networks compute in the precision of the run; float32 by default."""
    name = PRECISIONS.get(os.environ.get("AGIQA_PRECISION", ""))
    return torch.autocast(device.split(":")[0], dtype=getattr(torch, name)) if name else contextlib.nullcontext()


def score_table(source, target, batch, score):
    """Read the table `source`, write the table `target`; `score` gives a float for each of at most `batch` rows."""
    with Path(source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with Path(target).open("w", encoding="utf-8", newline="") as file, torch.no_grad():
        writer = csv.writer(file)
        writer.writerow(["id", "score"])
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            writer.writerows([row["id"], repr(value)] for row, value in zip(part, score(part)))  # noqa: B905
            sys.stdout.write(f"progress {start + len(part)} {len(rows)}\n")
