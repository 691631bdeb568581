from __future__ import annotations

import numpy as np
import pytest
import torch

from agiqa_bench.errors import TrainingError
from agiqa_bench.training.memory import (
    free,
    generator_states,
    halved,
    in_batches,
    is_out_of_memory,
    pieces,
    set_generator_states,
)


def test_what_torch_raises_when_the_cpu_has_no_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.22 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_other_errors_are_told_apart(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_blocks_of_a_cuda_device_alone_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given.append("back"))
    free("cpu")
    assert given == []
    free("cuda:1")
    assert given == ["back"]


def test_generators_are_those_of_the_cpu_and_of_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"cuda:1": torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device: state}))
    kept = generator_states("cuda:1")
    assert [len(generator_states("cpu")), len(kept)] == [1, 2]
    drawn = torch.rand(3)
    states["cuda:1"] = torch.tensor([9], dtype=torch.uint8)
    set_generator_states("cpu", kept)
    assert torch.equal(torch.rand(3), drawn)
    assert states["cuda:1"].item() == 9
    set_generator_states("cuda:1", kept)
    assert torch.equal(torch.rand(3), drawn)
    assert states["cuda:1"].item() == 7


def test_half_of_an_odd_batch_is_rounded_up_and_a_single_sample_has_none() -> None:
    assert [halved(size, "x") for size in (32, 5, 3, 2)] == [16, 3, 2, 1]
    with pytest.raises(TrainingError, match=r"^scoring: no memory for a single sample; use --precision bf16 or"):
        halved(1, "scoring")


def test_pieces_keep_order_and_leave_nothing_out() -> None:
    assert [piece.tolist() for piece in pieces(np.array([5, 3, 9, 1, 7]), 2)] == [[5, 3], [9, 1], [7]]


def test_batches_shrink_until_they_fit_and_cover_all_in_order() -> None:
    tried: list[list[int]] = []
    said: list[tuple[int, int, str]] = []

    def compute(positions: np.ndarray) -> torch.Tensor:
        tried.append(positions.tolist())
        assert torch.is_inference_mode_enabled()
        if len(positions) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.from_numpy(np.stack([positions, positions**2], axis=1)).double()

    result = in_batches(compute, 8, 10, "cpu", lambda *call: said.append(call), "squaring")
    assert result.dtype == torch.float32
    assert result.tolist() == [[i, i * i] for i in range(8)]
    # 8 do not fit, half of them neither; from then on two at a time.
    assert tried == [[*range(8)], [0, 1, 2, 3], [0, 1], [2, 3], [4, 5], [6, 7]]
    assert said == [(done, 8, "squaring") for done in (2, 4, 6, 8)]


def test_results_of_one_batch_can_take_part_in_training() -> None:
    constant = in_batches(lambda positions: torch.ones(len(positions)), 3, 8, "cpu")
    weight = torch.ones(3, requires_grad=True)
    (weight * constant).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0, 1.0]


def test_a_sample_that_does_not_fit_alone_and_other_errors_end_it() -> None:
    def compute(error: Exception) -> None:
        def fail(positions: np.ndarray) -> torch.Tensor:
            raise error

        in_batches(fail, 4, 4, "cpu", what="encoding prompts")

    with pytest.raises(TrainingError, match=r"^encoding prompts: no memory for a single sample"):
        compute(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(RuntimeError, match="shapes"):
        compute(RuntimeError("shapes"))
