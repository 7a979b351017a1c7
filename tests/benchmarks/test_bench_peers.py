"""The neighbouring libraries compute what is said of them: our function, but for the differences that are named."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contenders import Contenders
from benchmarks.options import learners
from benchmarks.peers import PEERS, installed
from benchmarks.plain_loop import DECAY, PlainLoop
from benchmarks.workload import Sizes

SIZES = Sizes(inputs=40, hidden=(24, 16), classes=5, steps=20, batch=6)

pytestmark = [
    pytest.mark.parametrize("recurrent", [False, True]),
    # Norse compiles its functions with torch.jit when it is imported.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]


def peer(name: str, recurrent: bool) -> tuple[Contenders, float]:
    """Return a workload and the peer's first loss."""
    pytest.importorskip(PEERS[name].module)
    bench = Contenders(SIZES, "lif", recurrent)
    return bench, bench.peer(name)()


def test_spikingjelly_begins_as_we_do(recurrent: bool) -> None:
    bench, loss = peer("spikingjelly", recurrent)
    assert loss == pytest.approx(bench.loop()(), abs=1e-5)


def test_norse_resets_to_zero(recurrent: bool) -> None:
    bench, loss = peer("norse", recurrent)
    (hard,) = learners("bptt:backbone.reset=hard")
    assert loss == pytest.approx(bench.learner(hard)(), abs=1e-5)
    assert abs(loss - bench.loop()()) > 1e-5


def test_snntorch_subtracts_the_reset_undecayed(recurrent: bool) -> None:
    bench, loss = peer("snntorch", recurrent)
    with torch.no_grad():
        scores = undecayed(PlainLoop(bench.network), bench.floats)
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(scores, bench.targets)), abs=1e-5)
    assert abs(loss - bench.loop()()) > 1e-5


def undecayed(loop: PlainLoop, inputs: torch.Tensor) -> torch.Tensor:
    """Return the readout averaged over time of u_t = d u_{t-1} - y_{t-1} + I_t."""
    membranes = [inputs.new_zeros(inputs.shape[1], len(weight)) for weight in loop.inputs]
    spikes = [torch.zeros_like(membrane) for membrane in membranes]
    total = torch.zeros_like(membranes[-1])
    for activity in inputs:
        for layer, weight in enumerate(loop.inputs):
            membrane = DECAY * membranes[layer] - spikes[layer] + activity @ weight.T
            if str(layer) in loop.recurrent:
                membrane += spikes[layer] @ loop.recurrent[str(layer)].T
            membranes[layer] = membrane
            if layer < len(membranes) - 1:
                spikes[layer] = activity = (membrane >= 1).to(membrane.dtype)
        total += membranes[-1]
    return total / len(inputs)


def test_all_learn(recurrent: bool) -> None:
    for name in installed()[0]:
        step = Contenders(SIZES, "lif", recurrent).peer(name)
        losses = [step() for _ in range(4)]
        assert losses[-1] < losses[0]
        if recurrent:
            assert all(parameter.grad is not None for parameter in step.module.parameters())
