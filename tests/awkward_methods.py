"""Methods that are told by EXAMPLE_FOLDER what went on: each fit is written down; some hang, or find memory short."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np

from agiqa_bench import Method, Samples


def folder() -> Path:
    return Path(os.environ["EXAMPLE_FOLDER"])


class Logged(Method):
    """Writes its repeat down, takes its time, and predicts the means of generators and something of its own."""

    name = title = "logged"
    targets = ("*",)
    uses_images = False

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        with (folder() / "log").open("a", encoding="utf-8") as log:
            log.write(f"{self.name} {self.context.repeat}\n")
        time.sleep(float(os.environ.get("EXAMPLE_SLEEP", "0")))
        generators = np.array(train.generators)
        self.means = {name: train.mos[generators == name].mean(axis=0) for name in set(train.generators)}
        self.noise = np.random.default_rng(self.context.seed).normal(size=1000)
        return self

    def predict(self, samples: Samples) -> np.ndarray:
        return np.stack([self.means[name] for name in samples.generators]) + self.noise[: len(samples), None]


class Hangs(Logged):
    """Hangs in repeat 1, and in repeat 2 in a process that it has started."""

    name = title = "hangs"

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        if self.context.repeat == 1:
            time.sleep(1000)
        if self.context.repeat == 2:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            (folder() / "child").write_text(f"{child.pid}\n", encoding="utf-8")
            child.wait()
        return super().fit(train, validation)


class Short(Logged):
    """Finds memory short in repeats 0 to 2, each in its own way; is mistaken in 3; has cut its batches in 4."""

    name = title = "short"

    def fit(self, train: Samples, validation: Samples | None = None) -> Self:
        import torch

        match self.context.repeat:
            case 0:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")
            case 1:
                raise MemoryError
            case 2:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate")
            case 3:
                raise RuntimeError("shapes do not fit")
        epoch = {"epoch": 1, "loss": 0.5, "micro_batch": 8}
        self.history = [epoch, epoch | {"micro_batch": 4, "batch": 8}, epoch | {"micro_batch": 2, "batch": 8}]
        return super().fit(train, validation)
