"""How hard the set is for a classifier without memory: `python -m scenarios.spoken_digits.probe [FILE]`.

Support-vector machines on spike counts in windows of 50 ms x 4 channels, trained on the training speakers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scenarios.spoken_digits import EmbeddedSpokenDigits, default_path, load

Features = npt.NDArray[np.float64]


def window_counts(inputs: npt.NDArray[np.uint8], bins: int = 10, channels: int = 4) -> Features:
    """Return spike counts `[n, windows]` of recordings `[n, T, C]`, in windows of `bins` x `channels`."""
    samples, steps, width = inputs.shape
    blocks = inputs.reshape(samples, steps // bins, bins, width // channels, channels)
    counts: Features = blocks.sum(axis=(2, 4), dtype=np.float64).reshape(samples, -1)
    return counts


def _fitted(kernel: str, features: Features, targets: npt.NDArray[np.int64]) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = SVC(kernel=kernel, C=10.0 if kernel == "rbf" else 1.0)
    return make_pipeline(StandardScaler(), machine).fit(features, targets)


def accuracies(digits: EmbeddedSpokenDigits) -> dict[str, float]:
    """Return the test accuracy of each probe, over all, by speaker, by group of four classes, and on rates."""
    train, test = window_counts(digits.train_inputs), window_counts(digits.test_inputs)
    result = {}
    for kernel in ("rbf", "linear"):
        machine = _fitted(kernel, train, digits.train_targets)
        right = machine.predict(test) == digits.test_targets
        result[kernel] = float(right.mean())
        for speaker in np.unique(digits.test_speakers).tolist():
            result[f"{kernel}, speaker {speaker}"] = float(right[digits.test_speakers == speaker].mean())
    for first in range(0, len(digits.class_names), 4):
        learn, ask = (targets // 4 == first // 4 for targets in (digits.train_targets, digits.test_targets))
        machine = _fitted("rbf", train[learn], digits.train_targets[learn])
        name = f"rbf among classes {first} to {first + 3}"
        result[name] = float(machine.score(test[ask], digits.test_targets[ask]))
    rates = (inputs.sum(axis=1, dtype=np.float64) for inputs in (digits.train_inputs, digits.test_inputs))
    train_rates, test_rates = rates
    machine = _fitted("rbf", train_rates, digits.train_targets)
    result["rbf on channel rates alone"] = float(machine.score(test_rates, digits.test_targets))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the density of the spikes and the probes' accuracies."""
    parser = argparse.ArgumentParser(prog="python -m scenarios.spoken_digits.probe", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=default_path())
    digits = load(parser.parse_args(arguments).file)
    for name, inputs in (("training", digits.train_inputs), ("test", digits.test_inputs)):
        spikes = inputs.sum(axis=(1, 2), dtype=np.int64)
        coarse = inputs.reshape(len(inputs), -1, 2, inputs.shape[2]).max(axis=2)
        speech = coarse.max(axis=2).sum()
        print(
            f"{name}: {len(inputs)} recordings, {spikes.mean():.0f} spikes ({spikes.min()} to {spikes.max()}), "
            f"{speech / len(inputs) * 0.01:.2f} s with spikes, "
            f"{coarse.sum() / (speech * inputs.shape[2]):.3f} of the 10 ms entries set in it"
        )
    for name, accuracy in accuracies(digits).items():
        print(f"{accuracy:.3f}  {name}")


if __name__ == "__main__":
    main()
