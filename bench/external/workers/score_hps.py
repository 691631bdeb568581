"""Scores a table by HPS v2, in an interpreter where the package hpsv2 (or hpsv2x) is installed.

python score_hps.py INPUT OUTPUT CHECKPOINT

Model, input and tokenizer are the package's; the loop is not its `score`, which reads the checkpoint of gigabytes anew
for each prompt, and fetches the weights of a CLIP first that the checkpoint then replaces to the last one. Scores are
cosines, computed in float32 whatever the precision of the networks.
"""

import contextlib
import csv
import os
import sys
from pathlib import Path

import torch
from hpsv2.src.open_clip import create_model_and_transforms, get_tokenizer
from PIL import Image

ARCHITECTURE = "ViT-H-14"
BATCH = 16

PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


def main(source, target, checkpoint):
    """Read the table `source`, write the table `target`."""
    device = os.environ.get("AGIQA_DEVICE", "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"torch finds no CUDA device in {sys.executable}: use --device cpu")
    # `light_augmentation` selects the transform that the package itself scores with.
    model, _, transform = create_model_and_transforms(
        ARCHITECTURE, precision="amp", device=device, light_augmentation=True, output_dict=True
    )
    # Strict: a checkpoint that leaves a weight as it was drawn is refused.
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    model.eval()
    tokenizer = get_tokenizer(ARCHITECTURE)
    with Path(source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with Path(target).open("w", encoding="utf-8", newline="") as file, torch.no_grad():
        writer = csv.writer(file)
        writer.writerow(["id", "score"])
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            images = torch.stack([transform(Image.open(row["image"])) for row in batch]).to(device)
            texts = tokenizer([row["prompt"] for row in batch]).to(device)
            with arithmetic(device):
                features = model(images, texts)
            cosines = (features["image_features"].float() * features["text_features"].float()).sum(dim=1)
            writer.writerows(zip((row["id"] for row in batch), map(repr, cosines.tolist())))  # noqa: B905
            sys.stdout.write(f"progress {start + len(batch)} {len(rows)}\n")


def arithmetic(device):
    """A context in which the networks compute in the precision of the run; float32 by default."""
    name = PRECISIONS.get(os.environ.get("AGIQA_PRECISION", ""))
    return torch.autocast(device.split(":")[0], dtype=getattr(torch, name)) if name else contextlib.nullcontext()


if __name__ == "__main__":
    main(*sys.argv[1:])
