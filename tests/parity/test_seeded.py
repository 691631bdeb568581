"""The numbers that the figures were computed on are the same on every machine."""

from __future__ import annotations

import pytest
import torch

VALUES = {
    "visual.proj": ((3, 2), [0.05194091796875, 0.64111328125, -0.55517578125, -0.370849609375, -0.611328125]),
    "token_embedding.weight": ((2, 2), [0.0120697021484375, 0.039276123046875, 0.07183837890625]),
    "prompt_learner.ctx": ((1, 2), [0.020751953125, -0.034393310546875]),
    "conv1.weight": ((1, 2, 1, 1), [-0.79443359375, -0.779296875]),
    "bn1.running_var": ((2,), [1.138671875, 1.1416015625]),
    "ln_final.weight": ((2,), [0.89501953125, 1.1689453125]),
    "ln_final.bias": ((2,), [0.054473876953125, 0.006832122802734375]),
    "logit_scale": ((), [4.60546875]),
    "bn1.num_batches_tracked": ((), [0]),
}


@pytest.fixture
def seeded(official):
    return official("ipiqa").seeded


@pytest.mark.parametrize("name", VALUES)
def test_tensors_follow_from_salt_name_and_shape(name, seeded):
    shape, values = VALUES[name]
    tensor = seeded.seeded(name, shape, "test")
    assert tensor.shape == shape
    assert tensor.flatten()[: len(values)].tolist() == values
    assert torch.equal(tensor, tensor.half().to(tensor.dtype))


def test_another_salt_gives_other_numbers(seeded):
    one, other = (seeded.seeded("visual.proj", (3, 2), salt) for salt in ("test", "other"))
    assert not torch.isclose(one, other).any()


def test_images_and_ratings(seeded):
    image = [-0.12972596287727356, 0.4336741268634796, 0.2609136700630188]
    assert seeded.images(1, 1, "test").flatten().tolist() == image
    assert seeded.mos(1, 2, "test").tolist() == [[0.7553074359893799, 0.9042196273803711]]
    assert seeded.images(2, 3, "test").shape == (2, 3, 3, 3)
