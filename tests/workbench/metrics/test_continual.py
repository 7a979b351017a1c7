"""The algebra of the measures, and their agreement with Avalanche's own."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.metrics import continual

Matrix = npt.NDArray[np.float64]

fractions = st.floats(0, 1, allow_nan=False, width=32)


def matrices(smallest: int = 2) -> st.SearchStrategy[Matrix]:
    return st.integers(smallest, 7).flatmap(
        lambda tasks: arrays(np.float64, (tasks, tasks), elements=fractions)
    )


def all_measures(R: Matrix, baseline: Matrix) -> dict[str, float | None]:
    return {
        "acc": continual.average_accuracy(R),
        "bwt": continual.backward_transfer(R),
        "fwt": continual.forward_transfer(R, baseline),
        "forgetting": continual.forgetting(R),
    }


@given(matrices())
def test_ranges(R: Matrix) -> None:
    values = all_measures(R, R[-1])
    assert 0 <= values.pop("acc") <= 1
    assert all(-1 <= value <= 1 for value in values.values() if value is not None)


@given(matrices())
def test_accuracy_is_what_was_learned_plus_what_changed(R: Matrix) -> None:
    tasks = len(R)
    bwt = continual.backward_transfer(R)
    assert bwt is not None
    learned = np.diag(R).mean()
    assert continual.average_accuracy(R) == pytest.approx(learned + (tasks - 1) / tasks * bwt, abs=1e-12)


@given(matrices())
def test_forgetting_is_at_least_minus_backward_transfer(R: Matrix) -> None:
    assert (continual.forgetting_per_task(R) >= -continual.backward_transfer_per_task(R)).all()


@given(matrices())
def test_forgetting_equals_minus_backward_transfer_when_nothing_improves_later(R: Matrix) -> None:
    falling = np.minimum.accumulate(R, axis=0)
    assert continual.forgetting(falling) == pytest.approx(-continual.backward_transfer(falling), abs=1e-12)


@given(matrices(), st.floats(-2, 2))
def test_adding_a_constant_moves_accuracy_alone(R: Matrix, constant: float) -> None:
    before, after = all_measures(R, R[0]), all_measures(R + constant, R[0] + constant)
    assert after.pop("acc") == pytest.approx(before.pop("acc") + constant, abs=1e-9)
    assert after == pytest.approx(before, abs=1e-9)


@given(matrices(), st.floats(0, 4))
def test_measures_scale_with_their_unit(R: Matrix, factor: float) -> None:
    scaled = all_measures(R * factor, R[0] * factor)
    assert scaled == pytest.approx(
        {key: value * factor for key, value in all_measures(R, R[0]).items()}, abs=1e-9
    )


@given(arrays(np.float64, st.integers(2, 7), elements=fractions))
def test_perfect_memory_forgets_nothing(learned: Matrix) -> None:
    R = np.tile(learned, (len(learned), 1))
    assert continual.backward_transfer(R) == 0
    assert continual.forgetting(R) == 0
    assert continual.forward_transfer(R, learned) == 0
    assert continual.average_accuracy(R) == pytest.approx(learned.mean())


@given(matrices())
def test_only_forward_transfer_reads_above_the_diagonal(
    R: Matrix,
) -> None:
    unread = R.copy()
    unread[np.triu_indices(len(R), k=1)] = np.nan
    assert continual.average_accuracy(unread) == continual.average_accuracy(R)
    assert continual.backward_transfer(unread) == continual.backward_transfer(R)
    assert continual.forgetting(unread) == continual.forgetting(R)
    with pytest.raises(ValueError, match="not finite"):
        continual.forward_transfer(unread, R[0])


@given(matrices(smallest=3), st.data())
def test_a_later_peak_raises_forgetting_and_leaves_backward_transfer(R: Matrix, data: st.DataObject) -> None:
    row = data.draw(st.integers(1, len(R) - 2))
    column = data.draw(st.integers(0, row - 1))
    peak = R.copy()
    peak[row, column] = 2.0
    assert continual.backward_transfer(peak) == continual.backward_transfer(R)
    assert continual.forgetting(peak) > continual.forgetting(R)


@given(fractions)
def test_one_task_has_accuracy_alone(accuracy: float) -> None:
    assert all_measures(np.array([[accuracy]]), np.array([0.1])) == {
        "acc": accuracy,
        "bwt": None,
        "fwt": None,
        "forgetting": None,
    }


@pytest.mark.parametrize("rows", [[], [[0.1, 0.2]], [0.1, 0.2], [[[0.1]]]])
def test_what_is_not_square_is_refused(rows: list[object]) -> None:
    with pytest.raises(ValueError, match="shape"):
        continual.average_accuracy(rows)


def test_what_a_measure_reads_must_be_finite() -> None:
    R = [[0.5, 0.1], [float("nan"), 0.9]]
    for measure in (continual.average_accuracy, continual.backward_transfer, continual.forgetting):
        with pytest.raises(ValueError, match="not finite"):
            measure(R)
    with pytest.raises(ValueError, match="one accuracy per task"):
        continual.forward_transfer([[0.5, 0.1], [0.2, 0.9]], [0.1])


@given(matrices(), st.data())
def test_trained_block_cuts_a_run_that_stopped(R: Matrix, data: st.DataObject) -> None:
    trained = data.draw(st.integers(0, len(R)))
    padded = R.copy()
    padded[trained:] = np.nan
    assert np.array_equal(continual.trained_block(padded), R[:trained, :trained])
    assert np.array_equal(continual.trained_block(R[:trained]), R[:trained, :trained])


def test_trained_block_refuses_holes_and_too_many_rows() -> None:
    with pytest.raises(ValueError, match="row of task 0"):
        continual.trained_block([[np.nan, np.nan], [0.5, 0.5]])
    with pytest.raises(ValueError, match="one column per task"):
        continual.trained_block([[0.5], [0.5]])


@pytest.fixture(scope="module")
def avalanche_metrics() -> ModuleType:
    with warnings.catch_warnings():
        # Importing Avalanche pulls in libraries that use what others have deprecated; nothing of it is ours
        # to mend.
        warnings.simplefilter("ignore")
        from avalanche.evaluation.metrics import forgetting_bwt, forward_transfer

    forgetting_bwt.ForwardTransfer = forward_transfer.ForwardTransfer
    return forgetting_bwt


@given(R=matrices())
def test_backward_transfer_is_avalanche_s_and_its_forgetting_the_opposite(
    avalanche_metrics: ModuleType, R: Matrix
) -> None:
    """Avalanche counts forgetting from the accuracy just after training a task, not from the best since."""
    tasks = len(R)
    theirs = avalanche_metrics.ExperienceForgetting()
    transfer = avalanche_metrics.BWT()
    for i in range(tasks):
        theirs.reset_last()
        transfer.reset_last()
        for j in range(tasks):
            theirs.update(j, R[i, j], initial=i == j)
            transfer.update(j, R[i, j], initial=i == j)
    earlier = range(tasks - 1)
    assert theirs.result_key(tasks - 1) is None
    assert np.array_equal([transfer.result()[j] for j in earlier], continual.backward_transfer_per_task(R))
    assert np.array_equal([theirs.result()[j] for j in earlier], -continual.backward_transfer_per_task(R))
    falling = np.minimum.accumulate(R, axis=0)
    for j in range(tasks):
        theirs.update(j, falling[j, j], initial=True)
        theirs.update(j, falling[-1, j])
    assert np.array_equal([theirs.result()[j] for j in earlier], continual.forgetting_per_task(falling))


@given(R=matrices())
def test_forward_transfer_is_avalanche_s(avalanche_metrics: ModuleType, R: Matrix) -> None:
    tasks = len(R)
    baseline = R[::-1, 0].copy()
    theirs = avalanche_metrics.ForwardTransfer()
    for j in range(tasks):
        theirs.update(j, baseline[j], initial=True)
    for i in range(tasks - 1):
        theirs.update(i + 1, R[i, i + 1])
    assert np.array_equal(
        [theirs.result()[j] for j in range(1, tasks)], continual.forward_transfer_per_task(R, baseline)
    )
