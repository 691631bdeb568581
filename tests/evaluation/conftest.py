from __future__ import annotations

import pandas as pd
import pytest


@pytest.fixture
def table() -> pd.DataFrame:
    """20 prompts x 6 generators of 3 families, every prompt with every generator; one file name is there twice."""
    generators = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b", "c-1": "c", "c-2": "c"}
    rows = [
        {
            "image": f"{generator}_{prompt:02d}.png",
            "path": "",
            "prompt": f"prompt {prompt}",
            "group": f"p{prompt:02d}",
            "generator": generator,
            "family": family,
            "mos_quality": float((7 * prompt + 3 * index) % 11) / 2,
        }
        for prompt in range(20)
        for index, (generator, family) in enumerate(generators.items())
    ]
    rows[1]["image"] = rows[0]["image"]
    return pd.DataFrame(rows)
