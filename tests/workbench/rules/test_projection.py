"""Projection: exact complements, gradients and activity alike, optimisers that it does not go with."""

from __future__ import annotations

import pytest
import torch
from fixtures.small import RULES, batch, network, rule
from hypothesis import given
from hypothesis import strategies as some

from workbench.errors import ConfigurationError
from workbench.neurons.presynaptic import presynaptic
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.full_trace import FullCredit
from workbench.rules.presynaptic import PresynapticCredit
from workbench.rules.projection import (
    Projector,
    check_optimiser,
    complete,
    orthonormal_to,
    projected_sites,
)


def rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    """Return orthonormal rows `[count, width]` in float64."""
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return orthonormal_to(drawn, drawn[:0])


@given(width=some.integers(1, 12), data=some.data())
def test_rows_and_their_completion_are_a_basis(width, data):
    count = data.draw(some.integers(0, width))
    first = rows(count, width, seed=1)
    basis = torch.cat([first, complete(first)])
    torch.testing.assert_close(basis @ basis.T, torch.eye(width, dtype=torch.float64), rtol=0, atol=1e-12)


@given(width=some.integers(2, 12), data=some.data())
def test_new_rows_add_exactly_what_candidates_have_beyond_the_old(width, data):
    old = rows(data.draw(some.integers(0, width - 1)), width)
    count = data.draw(some.integers(1, width - len(old)))
    generator = torch.Generator().manual_seed(2)
    candidates = torch.randn(count, width, generator=generator, dtype=torch.float64)
    candidates[0] += 1e6 * old.sum(0)  # Far inside the old rows, but for a little.
    new = orthonormal_to(candidates, old)
    both = torch.cat([old, new])
    torch.testing.assert_close(both @ both.T, torch.eye(len(both), dtype=torch.float64), rtol=0, atol=1e-9)
    left = candidates - (candidates @ both.T) @ both
    assert float(left.abs().max()) < 1e-8 * float(candidates.abs().max())


@pytest.mark.parametrize("count", [0, 2, 5, 6])
def test_both_forms_of_the_projection_are_the_matrix_i_minus_hth(count):
    """Few rows: by them. Many: by the rows that complete them."""
    site = projected_sites(network(), readout=True)[0]
    held = rows(count, site.width)
    projector = Projector("hlop", [site], "update")
    projector.protect(site.name, held, orthonormal=True)
    change = torch.randn(5, site.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = change @ (torch.eye(site.width, dtype=torch.float64) - held.T @ held)
    torch.testing.assert_close(projector.project(site.name, change), wanted, rtol=0, atol=1e-12)


def test_rows_that_are_not_orthonormal_are_taken_as_they_are():
    site = projected_sites(network(), readout=True)[0]
    held = 1.1 * rows(5, site.width)
    projector = Projector("hlop", [site], "update")
    projector.protect(site.name, held, orthonormal=False)
    change = torch.eye(site.width, dtype=torch.float64)
    torch.testing.assert_close(
        projector.project(site.name, change), change - held.T @ held, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", list(RULES))
def test_projecting_the_gradient_is_projecting_presynaptic_activity(name, monkeypatch):
    """Traces are sums of the activity they trace: a projection goes through. BPTT's x is replaced by autograd."""
    net = network(hidden=(5, 5), recurrent=name != "sltt", seed=5)
    sites = projected_sites(net, readout=True)
    made = rule(name, net)
    present = batch(steps=9)
    by_name = {site.name: torch.eye(site.width, dtype=torch.float64) for site in sites}
    for number, site in enumerate(sites):
        held = rows(2, site.width, seed=number)
        by_name[site.name] -= held.T @ held
    made.train_step(present)
    wanted = {site.name: site.weight.grad @ by_name[site.name] for site in sites}
    assert all(float(gradient.abs().max()) > 0 for gradient in wanted.values())
    net.zero_grad()
    if name == "bptt":
        found = _by_projected_inputs(made, present, sites, by_name)
    else:
        found = _by_projected_traces(made, present, sites, by_name, monkeypatch)
    for site in sites:
        scale = float(wanted[site.name].abs().max())
        torch.testing.assert_close(found[site.name], wanted[site.name], rtol=0, atol=1e-10 * scale)


def _by_projected_inputs(made, present, sites, by_name):
    """Sum dE/dI_t (P x_t)^T, dE/dI_t read off the synapse's output."""
    heard, slopes = {}, {}
    for layer in made.network.layers:
        layer.listeners.append(heard.__setitem__)
        layer.synapse.register_forward_hook(
            lambda module, _, output, key=layer: (
                output.register_hook(lambda gradient: slopes.__setitem__(key, gradient)) and None
            )
        )
    made.train_step(present)
    return {
        site.name: slopes[site.layer].flatten(0, 1).T
        @ (site.presynaptic(heard[site.layer]) @ by_name[site.name])
        for site in sites
    }


def _by_projected_traces(made, present, sites, by_name, monkeypatch):
    """Let every layer's traces be made of projected activity; forward pass and errors see it as it is."""

    def projected(source, matrix):
        return presynaptic(source.rows().view(source.shape) @ matrix, matrix)

    for kind in (LayerEligibility, PresynapticCredit, FullCredit):
        original = kind.accumulate

        def accumulate(self, trajectory, signal, activity, before, *, last, original=original):
            mine = {site.recurrent: by_name[site.name] for site in sites if site.layer is self.layer}
            if before is not None:
                before = projected(before, mine[True])
            original(self, trajectory, signal, projected(activity, mine[False]), before, last=last)

        monkeypatch.setattr(kind, "accumulate", accumulate)
    made.train_step(present)
    return {site.name: site.weight.grad for site in sites}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": "adam"}, "adam scales"),
        ({"optimiser": "sgd", "weight_decay": 0.1}, "weight decay shrinks"),
    ],
)
def test_optimisers_that_undo_a_projected_gradient_are_refused(settings, message):
    made = rule("bptt", network(), **settings)
    with pytest.raises(ConfigurationError, match=rf"projection=gradient: {message}.*projection=update"):
        check_optimiser("hlop", "gradient", made)
    check_optimiser("hlop", "update", made)
    check_optimiser("hlop", "gradient", rule("bptt", network(), optimiser="sgd", momentum=0.9))
