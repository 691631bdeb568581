"""Weight files of CLIPs of full size with random weights: as much work as with trained ones, and no download."""

from __future__ import annotations

from pathlib import Path

from agiqa_bench.seeds import derive_seed


def write_seeded_weights(architecture: str, folder: Path) -> str:
    """Write the weight file of a CLIP as open_clip initialises it, from a seed that the architecture gives.

    Args:
        architecture: open_clip's name, e.g. `ViT-B-32-quickgelu`.
        folder: Where the file goes; one that is there already is taken.

    Returns:
        The backbone for a method's setting, `architecture:file`.
    """
    import open_clip
    import torch

    file = folder / f"seeded-{architecture}.pt"
    if not file.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("benchmark", "weights", architecture))
            torch.save(open_clip.CLIP(**open_clip.get_model_config(architecture)).state_dict(), file)
    return f"{architecture}:{file}"
