"""Random numbers by place: distributed as they should, alike in Numba and torch, whoever draws them."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
import torch

from workbench.hardware import counter_noise
from workbench.hardware.counter_noise import bits_at, draw_seed, normal_at, quantiles, uniform_at

COUNT = 200_000
SEED = 0x1234_5678_9ABC_DEF
EDGES = [-4.0, -3.0, -2.0, -1.0, -0.3, 0.0, 0.7, 1.5, 2.5, 3.4, 4.2]

# Numba takes these from the names around a function.
_bits, _uniform, _normal = counter_noise.bits, counter_noise.uniform, counter_noise.normal


@numba.njit
def bits_one_by_one(seed, places, out):
    for i in range(places.size):
        out[i] = _bits(seed, np.uint64(places[i]))


@numba.njit
def numbers_one_by_one(seed, places, table, uniforms, normals):
    for i in range(places.size):
        uniforms[i] = _uniform(seed, np.uint64(places[i]))
        normals[i] = _normal(seed, np.uint64(places[i]), table)


def splitmix64(state, count):
    """Return the first numbers of the generator as its authors wrote it, in whole numbers of any length."""
    mask, found = 2**64 - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        found.append(z ^ (z >> 31))
    return found


def test_bits_are_those_of_splitmix64():
    # The first three numbers of its reference implementation at seed 1234567.
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for seed in (0, 1234567, 2**63 - 2):
        expected = np.array(splitmix64(seed, 50), dtype=np.uint64)
        places = torch.arange(50)
        assert np.array_equal(bits_at(seed, places).numpy().view(np.uint64), expected)
        found = np.empty(50, np.uint64)
        bits_one_by_one(np.uint64(seed), places.numpy(), found)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("seed", [0, SEED, 2**63 - 2])
def test_kernels_and_torch_draw_the_same_to_the_last_bit(seed):
    places = torch.cat([torch.arange(COUNT), torch.arange(2**40, 2**40 + COUNT)])
    uniforms, normals = np.empty(len(places)), np.empty(len(places))
    numbers_one_by_one(np.uint64(seed), places.numpy(), quantiles(), uniforms, normals)
    assert np.array_equal(uniform_at(seed, places).numpy(), uniforms)
    assert np.array_equal(normal_at(seed, places).numpy(), normals)


def test_a_number_depends_on_seed_and_place_alone():
    places = torch.arange(1000)
    whole = normal_at(SEED, places)
    assert torch.equal(normal_at(SEED, places.view(20, 50)).view(-1), whole)
    assert torch.equal(normal_at(SEED, places.flip(0)).flip(0), whole)
    assert torch.equal(normal_at(SEED, places[137:200]), whole[137:200])
    assert (normal_at(SEED + 1, places) != whole).all()


def test_uniform_numbers_fill_the_interval_evenly():
    drawn = uniform_at(SEED, torch.arange(COUNT))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    for power in (1, 2, 3):
        spread = math.sqrt(1 / (2 * power + 1) - 1 / (power + 1) ** 2)
        assert abs(float((drawn**power).mean()) - 1 / (power + 1)) < 5 * spread / math.sqrt(COUNT)
    counts = torch.histc(drawn, 64, 0, 1)
    chi_square = float(((counts - COUNT / 64) ** 2 / (COUNT / 64)).sum())
    assert abs(chi_square - 63) < 5 * math.sqrt(2 * 63)


def test_normal_numbers_have_their_moments_and_their_tails():
    drawn = normal_at(SEED, torch.arange(COUNT))
    # Mean of x^p, and the standard deviation of x^p.
    for power, mean, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs(float((drawn**power).mean()) - mean) < 5 * spread / math.sqrt(COUNT), power
    for edge in EDGES:
        share = 0.5 * math.erfc(-edge / math.sqrt(2))
        spread = math.sqrt(share * (1 - share) / COUNT)
        assert abs(float((drawn < edge).double().mean()) - share) < 5 * spread, edge
    assert drawn.abs().max() < 5.6


def test_the_table_is_of_unit_variance_and_symmetric_and_never_falls():
    table = torch.from_numpy(quantiles())
    assert torch.equal(table[1], -table[1].flip(0))
    assert torch.equal(table[2], -table[0].flip(0))
    assert (table.diff(dim=1) >= 0).all()
    # The last cells of the middle row stand for the other two.
    assert table[0, -1] == table[1, 1]
    one, other = table[:, :-1], table[:, 1:]
    squares = (one**2 + one * other + other**2) / 3
    variance = (squares[1, 1:-1].sum() + squares[0].mean() + squares[2].mean()) / 4096
    assert float(variance) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("step", [1, 64])
def test_neighbours_seeds_and_pulses_have_nothing_to_do_with_each_other(step):
    places = torch.arange(COUNT) * step
    one = normal_at(SEED, places)
    for other in (normal_at(SEED, places + step), normal_at(SEED + 1, places), one.roll(700)):
        for left, right in ((one, other), (one.square() - 1, other.square() - 1)):
            spread = float(left.std() * right.std()) / math.sqrt(COUNT)
            assert abs(float((left * right).mean())) < 5 * spread


def test_seeds_follow_from_the_generator():
    seeds = [draw_seed(torch.Generator().manual_seed(3)) for _ in range(2)]
    assert seeds[0] == seeds[1]
    drawn = torch.Generator().manual_seed(3)
    many = {draw_seed(drawn) for _ in range(1000)}
    assert len(many) == 1000
    assert all(0 <= seed < 2**63 for seed in many)
    assert max(many) > 2**62
