"""Tiny CLIPs under names of their own, and ways to save them as people's files are saved."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny-vit": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": TEXT,
    },
    "tiny-rn": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "patch_size": None},
        "text_cfg": TEXT,
    },
    "tiny-custom": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"},
    },
}
for _name in ("tiny-vit", "tiny-rn"):
    CONFIGS[f"{_name}-quickgelu"] = {**CONFIGS[_name], "quick_gelu": True}


@pytest.fixture(autouse=True)
def tiny_architectures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import open_clip.factory

    from agiqa_bench.backbones.clip import _load

    # A test may add configurations of its own; open_clip's tables are as before after each. What a test in another
    # folder added, such as the real demo CLIPs, would stand in the way of the small ones that bear their names here.
    known = {name: config for name, config in open_clip.factory._MODEL_CONFIGS.items() if not name.startswith("demo-")}
    configs = {**known, **copy.deepcopy(CONFIGS)}
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    yield
    _load.cache_clear()


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the weights of the machine it runs on, or its offline settings."""
    from huggingface_hub import constants

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.delenv("AGIQA_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def announced(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="agiqa_bench")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("agiqa_bench")]


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """`make_model(architecture, seed)`: open_clip's model with random weights, in evaluation mode."""
    import open_clip
    import torch

    def make(architecture: str, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        config = copy.deepcopy(CONFIGS.get(architecture)) or open_clip.get_model_config(architecture)
        cls = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
        model = cls(**config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
                parameter.copy_(parameter.half())  # so that a file of float16 holds the same numbers
            for name, buffer in model.named_buffers():  # a residual network without its starting zeros
                if name.endswith("running_mean"):
                    buffer.normal_(std=0.1)
        return model

    return make


@pytest.fixture(scope="session")
def save_openai() -> Callable[[Any, Path], Path]:
    """`save_openai(model, path)`: a TorchScript archive with float16 weights and three constants, like OpenAI's."""
    import torch

    def save(model: Any, path: Path) -> Path:
        model = copy.deepcopy(model)
        for name, value in (
            ("input_resolution", model.visual.image_size),
            ("context_length", 77),
            ("vocab_size", 49408),
        ):
            if hasattr(model, name):
                delattr(model, name)
            model.register_buffer(name, torch.tensor(value if isinstance(value, int) else value[0]))
        size = int(model.input_resolution)
        image, text = torch.zeros(1, 3, size, size), torch.zeros(1, len(model.positional_embedding), dtype=torch.long)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(model, (image, text), check_trace=False)
            for name, parameter in traced.named_parameters():
                if "ln_" not in name and "bn" not in name and "logit_scale" not in name:
                    parameter.data = parameter.data.half()
            torch.jit.save(traced, str(path))
        return path

    return save


@pytest.fixture(scope="session")
def save_safetensors() -> Callable[[Any, Path], Path]:
    from safetensors.torch import save_file

    def save(model: Any, path: Path) -> Path:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
        return path

    return save
