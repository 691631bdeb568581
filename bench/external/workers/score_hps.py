"""Scores a table by HPS v2, in an interpreter where the package hpsv2 (or hpsv2x) is installed.

python score_hps.py INPUT OUTPUT CHECKPOINT

Model, input and tokenizer are the package's; the loop is not its `score`, which reads the checkpoint of gigabytes anew
for each prompt, and fetches the weights of a CLIP first that the checkpoint then replaces to the last one. Scores are
cosines, computed in float32 whatever the precision of the networks.
"""

import sys

import torch
from hpsv2.src.open_clip import create_model_and_transforms, get_tokenizer
from PIL import Image
from table import arithmetic, device_of_run, score_table

ARCHITECTURE = "ViT-H-14"
BATCH = 16


def main(source, target, checkpoint):
    """Read the table `source`, write the table `target`."""
    device = device_of_run()
    # `light_augmentation` selects the transform that the package itself scores with.
    model, _, transform = create_model_and_transforms(
        ARCHITECTURE, precision="amp", device=device, light_augmentation=True, output_dict=True
    )
    # Strict: a checkpoint that leaves a weight as it was drawn is refused.
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    model.eval()
    tokenizer = get_tokenizer(ARCHITECTURE)

    def cosines(rows):
        images = torch.stack([transform(Image.open(row["image"])) for row in rows]).to(device)
        texts = tokenizer([row["prompt"] for row in rows]).to(device)
        with arithmetic(device):
            features = model(images, texts)
        return (features["image_features"].float() * features["text_features"].float()).sum(dim=1).tolist()

    score_table(source, target, BATCH, cosines)


if __name__ == "__main__":
    main(*sys.argv[1:])
