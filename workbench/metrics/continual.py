"""How much was learned, kept and carried over: ACC, BWT, FWT and forgetting of an accuracy matrix.

R is `[T, T]`; R[i, j] is the test accuracy on task j after training on tasks 0 to i, a fraction in [0, 1].
Tasks count from zero here and from one in the papers. No function rounds or clips: values outside [0, 1]
(another score in which more is better) go through unchanged, and the stated ranges then do not hold.

A measure raises ValueError when an entry that it reads is not finite; entries that it does not read may be
NaN (the upper triangle, say, when later tasks are not tested). For a run that stopped early, take
`trained_block` first. What compares two tasks is None when there is one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


def trained_block(rows: npt.ArrayLike) -> Matrix:
    """Return the leading `[k, k]` block of R that the k tasks trained so far span.

    rows: `[k, T]` or `[T, T]`, rows of tasks not trained yet all NaN or absent. Returns `[0, 0]` when there
    are none.
    Raises ValueError when a row of NaN stands before a trained one, or when there are more rows than columns.

    >>> trained_block([[0.9, 0.1, 0.2], [0.5, 0.8, 0.1], [float("nan")] * 3]).tolist()
    [[0.9, 0.1], [0.5, 0.8]]
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.size == 0:
        return np.empty((0, 0))
    if matrix.ndim != 2 or matrix.shape[0] > matrix.shape[1]:
        raise ValueError(
            f"R needs one column per task and at most one row per task, not shape {matrix.shape}"
        )
    trained = np.atleast_1d(~np.isnan(matrix).all(axis=1))
    count = int(trained.sum())
    if not trained[:count].all():
        raise ValueError(
            f"R lacks the row of task {int(np.argmin(trained))}, which was trained before a later one"
        )
    return matrix[:count, :count]


def average_accuracy(matrix: npt.ArrayLike) -> float:
    """Return ACC, the mean test accuracy over all tasks after the last one.

    ACC = 1/T sum_j R[T-1, j]. Fraction in [0, 1]; more is better.
    Source: Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, NeurIPS 2017, eq. 2.

    >>> average_accuracy([[0.9, 0.1], [0.5, 0.8]])
    0.65
    """
    R = _square(matrix)
    return float(_finite(R[-1], "its last row").mean())


def backward_transfer_per_task(matrix: npt.ArrayLike) -> Vector:
    """Return `[T-1]`: R[T-1, j] - R[j, j], what later tasks changed in the accuracy on each earlier one.

    >>> backward_transfer_per_task([[0.75, 0.0], [0.5, 1.0]]).tolist()
    [-0.25]
    """
    R = _square(matrix)
    change = R[-1, :-1] - np.diag(R)[:-1]
    return _finite(change, "its diagonal or its last row")


def backward_transfer(matrix: npt.ArrayLike) -> float | None:
    """Return BWT, the mean change of the accuracy on a task from learning it to the end; None for one task.

    BWT = 1/(T-1) sum_{j<T-1} (R[T-1, j] - R[j, j]). Difference of fractions in [-1, 1]; below 0 means
    forgetting.
    Source: Lopez-Paz and Ranzato 2017, eq. 3; the same in Xiao et al., Hebbian Learning based Orthogonal
    Projection, ICLR 2024. It is minus the mean of Avalanche's per-experience forgetting.

    >>> backward_transfer([[0.75, 0.0], [0.5, 1.0]])
    -0.25
    """
    return _mean(backward_transfer_per_task(matrix))


def forward_transfer_per_task(matrix: npt.ArrayLike, baseline: npt.ArrayLike) -> Vector:
    """Return `[T-1]`: R[j-1, j] - baseline[j] for j >= 1, the head start of each task before it is trained.

    baseline: `[T]` test accuracies of the untrained network.

    >>> forward_transfer_per_task([[0.75, 0.25], [0.5, 1.0]], baseline=[0.0, 0.125]).tolist()
    [0.125]
    """
    R = _square(matrix)
    untrained = np.asarray(baseline, dtype=np.float64)
    if untrained.shape != (len(R),):
        raise ValueError(f"the baseline needs one accuracy per task, {len(R)}, not shape {untrained.shape}")
    start = np.diag(R, k=1) - untrained[1:]
    return _finite(start, "its first diagonal above the main one, or the baseline,")


def forward_transfer(matrix: npt.ArrayLike, baseline: npt.ArrayLike) -> float | None:
    """Return FWT, the mean head start on a task that is next, over the untrained network; None for one task.

    FWT = 1/(T-1) sum_{j>=1} (R[j-1, j] - baseline[j]). Difference of fractions in [-1, 1]; above 0 means that
    earlier tasks help. In a class-incremental stream with one head it is at most 0 up to chance: a class that
    was never a target is not predicted.
    Source: Lopez-Paz and Ranzato 2017, eq. 4. Avalanche's ForwardTransfer is the same.

    >>> forward_transfer([[0.75, 0.25], [0.5, 1.0]], baseline=[0.0, 0.125])
    0.125
    """
    return _mean(forward_transfer_per_task(matrix, baseline))


def forgetting_per_task(matrix: npt.ArrayLike) -> Vector:
    """Return `[T-1]`: the best accuracy on each earlier task since it was trained, minus that at the end.

    >>> forgetting_per_task([[0.5, 0.0, 0.0], [0.75, 1.0, 0.0], [0.25, 0.5, 1.0]]).tolist()
    [0.5, 0.5]
    """
    R = _square(matrix)
    tasks = len(R)
    best = np.array([R[j : tasks - 1, j].max() for j in range(tasks - 1)], dtype=np.float64)
    return _finite(best - R[-1, :-1], "its lower triangle")


def forgetting(matrix: npt.ArrayLike) -> float | None:
    """Return the mean drop of an earlier task from its best accuracy to that at the end; None for one task.

    F = 1/(T-1) sum_{j<T-1} (max_{j<=i<=T-2} R[i, j] - R[T-1, j]). Difference of fractions in [-1, 1]; less is
    better, below 0 when the last task helped the earlier ones. F >= -BWT, equal when no task improved after
    it was learned.
    Source: Chaudhry et al., Riemannian Walk for Incremental Learning, ECCV 2018, section 4. The paper's
    maximum also runs over the rows before task j was trained, which hold no knowledge of j to forget; they
    are left out here.

    >>> forgetting([[0.5, 0.0, 0.0], [0.75, 1.0, 0.0], [0.25, 0.5, 1.0]])
    0.5
    """
    return _mean(forgetting_per_task(matrix))


def _square(matrix: npt.ArrayLike) -> Matrix:
    R = np.asarray(matrix, dtype=np.float64)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not len(R):
        raise ValueError(f"R must be [tasks, tasks] with at least one task, not shape {R.shape}")
    return R


def _finite(values: Vector, where: str) -> Vector:
    if not np.isfinite(values).all():
        raise ValueError(f"R holds a value that is not finite in {where} which this measure reads")
    return values


def _mean(values: Vector) -> float | None:
    return float(values.mean()) if values.size else None
