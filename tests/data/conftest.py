"""Image files of noise, and a folder for their cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZES = [(40, 30), (30, 40), (32, 32), (1, 1), (50, 41)]


Render = Callable[..., list[Path]]


def _render(folder: Path, sizes: list[tuple[int, int]] = SIZES) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (height, width) in enumerate(sizes):
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(noise).save(paths[-1])
    return paths


@pytest.fixture
def sizes() -> list[tuple[int, int]]:
    """Height and width of the images of `paths`."""
    return SIZES


@pytest.fixture
def render() -> Render:
    """`render(folder, sizes)`: write one PNG of noise per (height, width), by default those of `sizes`."""
    return _render


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return _render(tmp_path / "set")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"
