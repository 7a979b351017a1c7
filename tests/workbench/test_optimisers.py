"""The fused optimiser takes the steps of the plain one, whatever the layout of a gradient, and resumes bit for bit."""

from __future__ import annotations

import io

import pytest
import torch

from workbench.optimisers import FusedAdamW, build_optimiser
from workbench.plugin import LearnerConfig

SHAPES = ((5, 7), (7,), (3, 2, 4), (1, 33))


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def set_gradients(given: list[torch.nn.Parameter], seed: int, *, turned: bool = False) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in given:
        gradient = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if turned and gradient.ndim > 1:
            # The same numbers, laid out the other way round.
            gradient = gradient.transpose(0, 1).contiguous().transpose(0, 1)
        parameter.grad = gradient


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_fused_adam_takes_the_steps_of_the_plain_one(decay: float, turned: bool) -> None:
    fused, plain = parameters(), parameters()
    ours = build_optimiser(LearnerConfig(weight_decay=decay), [{"params": fused, "lr": 1e-2}])
    assert isinstance(ours, FusedAdamW)
    theirs = torch.optim.AdamW([{"params": plain, "lr": 1e-2}], weight_decay=decay, foreach=False)
    for step in range(20):
        for given in (fused, plain):
            set_gradients(given, step, turned=turned)
        ours.step()
        theirs.step()
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_a_parameter_without_a_gradient_stays() -> None:
    given = parameters()
    optimiser = FusedAdamW([{"params": given, "lr": 1e-2}], 0.1)
    set_gradients(given, 0)
    given[1].grad = None
    before = [parameter.detach().clone() for parameter in given]
    optimiser.step()
    moved = [not torch.equal(one, other) for one, other in zip(given, before, strict=True)]
    assert moved == [True, False, True, True]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_resume_bit_for_bit_whatever_the_number_of_threads(threads: int) -> None:
    def learn(given: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            set_gradients(given, step)
            optimiser.step()

    # Large enough to be shared between threads.
    def large() -> list[torch.nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        return [
            torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((301, 257), (70_001,))
        ]

    whole = large()
    learn(whole, FusedAdamW([{"params": whole, "lr": 1e-2}], 0.01), range(6))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        half = large()
        optimiser = FusedAdamW([{"params": half, "lr": 1e-2}], 0.01)
        learn(half, optimiser, range(3))
        file = io.BytesIO()
        torch.save(optimiser.state_dict(), file)
        file.seek(0)
        again = FusedAdamW([{"params": half, "lr": 1e-2}], 0.01)
        again.load_state_dict(torch.load(file, weights_only=True))
        learn(half, again, range(3, 6))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(whole, half, strict=True))


def test_what_the_fused_kernel_cannot_take_goes_the_plain_way() -> None:
    turned = torch.nn.Parameter(torch.randn(3, 4).T)
    for parameter in (turned, torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64))):
        optimiser = build_optimiser(LearnerConfig(), [{"params": [parameter], "lr": 1e-2}])
        assert type(optimiser) is torch.optim.AdamW


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_takes_the_steps_of_pytorch_to_the_bit(momentum: float) -> None:
    mine, theirs = parameters(torch.float32), parameters(torch.float32)
    config = LearnerConfig(optimiser="sgd", momentum=momentum)
    ours = build_optimiser(config, [{"params": mine, "lr": 0.1}])
    plain = torch.optim.SGD(theirs, lr=0.1, momentum=momentum, foreach=False)
    for step in range(5):
        for given in (mine, theirs):
            set_gradients(given, step)
            given[1].grad = None
        ours.step()
        plain.step()
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))
