"""Scores a table by ImageReward, in an interpreter where the package image-reward is installed.

python score_imagereward.py INPUT OUTPUT CHECKPOINT MED_CONFIG

One image at a time by the package's own `score`, as in its README; scores are its rewards, higher is better. Always in
float32: a reward is the output of a network, and in the run's lower precision many images would get the same one.
"""

import sys

import ImageReward
from table import device_of_run, score_table


def main(source, target, checkpoint, med_config):
    """Read the table `source`, write the table `target`."""
    model = ImageReward.load(checkpoint, device=device_of_run(), med_config=med_config)
    score_table(source, target, 1, lambda rows: [float(model.score(row["prompt"], row["image"])) for row in rows])


if __name__ == "__main__":
    main(*sys.argv[1:])
