"""Blocks that are computed twice give what they give once."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from agiqa_bench.training.checkpointing import blocks_of, recompute, recompute_blocks


class WithDropout(nn.Module):
    """A convolution whose output is partly dropped, in a row of its like."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(True))
        self.drop = nn.Dropout(dropout)

    def forward(self, images):
        return images + self.drop(self.body(images))


def small() -> nn.Module:
    return nn.Sequential(
        WithDropout(3, 0.5), WithDropout(3, 0.3), nn.Flatten(), nn.Dropout(0.2), nn.Linear(3 * 8 * 8, 2)
    )


def clip_tower() -> nn.Module:
    torch.manual_seed(0)
    tower = ModifiedResNet([2, 1, 1, 2], output_dim=4, heads=2, image_size=64, width=8)
    for name, parameter in tower.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.5)  # 0, as they begin, would hide what the blocks compute
    return tower


def timm_net(name: str, **options: float) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=2, **options)


def three_steps(network: nn.Module, size: int) -> tuple[list[float], list[torch.Tensor], list[torch.Tensor]]:
    """Losses, the last step's gradients, and all tensors afterwards."""
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    losses = []
    torch.manual_seed(1)
    for step in range(3):
        images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss = network(images).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    gradients = [parameter.grad for parameter in network.parameters()]
    return losses, gradients, list(network.state_dict().values())


CASES = {
    "dropout": (small, 8),
    "CLIP's ResNet": (clip_tower, 64),
    "resnet18 with drop path": (lambda: timm_net("resnet18", drop_path_rate=0.4), 64),
    "norm and activation in one": (lambda: timm_net("mobilenetv2_035", drop_path_rate=0.4), 64),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_gradients_and_averages_are_those_without(case):
    build, size = CASES[case]
    torch.manual_seed(0)
    plain = build()
    twice = copy.deepcopy(plain)
    assert recompute_blocks(twice)
    if isinstance(twice, ModifiedResNet):
        assert recompute(twice, "stem")
    names = list(plain.state_dict())
    losses, gradients, tensors = three_steps(plain, size)
    found_losses, found_gradients, found_tensors = three_steps(twice, size)
    assert list(twice.state_dict()) == names
    assert found_losses == pytest.approx(losses, rel=1e-6)
    for gradient, found in zip(gradients, found_gradients, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-7)
    for name, tensor, found in zip(names, tensors, found_tensors, strict=True):
        torch.testing.assert_close(found, tensor, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    batches = [tensor for name, tensor in twice.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in batches} == {3}, "a batch counts once"


def kept_bytes(network: nn.Module) -> int:
    """Bytes that a pass of two images of 64 x 64 keeps for the way back, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train()(torch.rand(2, 3, 64, 64))
    return sum(kept.values())


def test_what_is_inside_blocks_is_not_kept():
    whole, twice = clip_tower(), clip_tower()
    whole.attnpool = twice.attnpool = nn.Identity()
    assert recompute_blocks(twice)
    assert recompute(twice, "stem")
    # The images, then what goes into each of the six blocks: channels times height times width.
    inputs = 3 * 64**2 + 8 * 16**2 + 32 * 16**2 + 32 * 16**2 + 64 * 8**2 + 128 * 4**2 + 256 * 2**2
    assert kept_bytes(twice) == 2 * 4 * inputs
    assert kept_bytes(whole) > 4 * kept_bytes(twice)


def test_blocks():
    tower = clip_tower()
    assert blocks_of(tower) == [*tower.layer1, *tower.layer2, *tower.layer3, *tower.layer4]
    vit = timm_net("vit_tiny_patch16_224", depth=2)
    assert blocks_of(vit) == list(vit.blocks)
    assert blocks_of(timm_net("vgg11")) == []
    inner = nn.Sequential(WithDropout(3, 0))
    assert blocks_of(nn.Sequential(inner, inner)) == [inner[0]], "the smallest, each once"


def test_nothing_is_done_twice():
    tower = clip_tower()
    assert recompute_blocks(tower)
    assert not recompute_blocks(tower)
    assert not recompute_blocks(nn.Sequential(nn.Linear(2, 2)))


def test_a_deep_copy_is_bound_to_itself():
    first = small()
    recompute_blocks(first)
    second = copy.deepcopy(first)
    first.requires_grad_(False)
    for parameter in first.parameters():
        parameter.zero_()
    images = torch.rand(4, 3, 8, 8)
    second.eval()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in second.parameters())
    fresh = small()
    fresh.load_state_dict(second.state_dict())
    assert torch.equal(fresh.eval()(images), second(images))


def test_scoring_is_left_alone(monkeypatch):
    network = small().eval()
    recompute_blocks(network)
    monkeypatch.setattr("agiqa_bench.training.checkpointing.checkpoint", None)
    with torch.inference_mode():
        network(torch.rand(1, 3, 8, 8))
