"""One pass over a stream, with sharp or blurred boundaries."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fixtures.small import task_stream
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import resolve
from workbench.experiment import build_experiment
from workbench.online_stream import blurred_places, online
from workbench.run import conduct
from workbench.streams import BatchLoader, Source, build_benchmark
from workbench.tasks import SequencePool, TaskStream

sizes_of_tasks = st.lists(st.integers(0, 30), min_size=1, max_size=5)


def stream_of(sizes: list[int]) -> TaskStream:
    """Return tasks of those sizes; the samples of the pool are numbered along the tasks."""
    whole = task_stream("task", tasks=len(sizes))
    count = sum(sizes)
    inputs = np.zeros((count, 2, 8), dtype=np.uint8)
    starts = np.cumsum([0, *sizes])
    tasks = tuple(
        replace(task, train=np.arange(starts[k], starts[k + 1]), validation=np.empty(0, dtype=np.int64))
        for k, task in enumerate(whole.tasks)
    )
    targets = 2 * np.repeat(np.arange(len(sizes)), sizes)
    return replace(whole, training_pool=SequencePool(inputs, targets), tasks=tasks)


@given(sizes=sizes_of_tasks, blur=st.floats(0.01, 1.0), seed=st.integers(0, 9), blurred=st.booleans())
def test_every_sample_is_seen_once_and_tasks_keep_their_length(
    sizes: list[int], blur: float, seed: int, blurred: bool
) -> None:
    before = stream_of(sizes)
    made = online(before, np.random.default_rng(seed), "blurred" if blurred else "sharp", blur)
    assert made.in_order
    assert [len(task.train) for task in made.tasks] == sizes
    seen = np.concatenate([task.train for task in made.tasks])
    assert sorted(seen.tolist()) == list(range(sum(sizes)))
    for number, (task, old) in enumerate(zip(made.tasks, before.tasks, strict=True)):
        assert task.origins is not None
        assert (before.training_pool.targets[task.train] == 2 * task.origins).all()
        assert set(np.abs(task.origins - number).tolist()) <= ({0, 1} if blurred else {0})
        assert (task.classes, task.test.tolist()) == (old.classes, old.test.tolist())
    assert not before.in_order


@given(sizes=sizes_of_tasks, blur=st.floats(0.01, 1.0), seed=st.integers(0, 9))
def test_nothing_moves_outside_of_the_regions(sizes: list[int], blur: float, seed: int) -> None:
    places = blurred_places(sizes, blur, np.random.default_rng(seed))
    assert sorted(places.tolist()) == list(range(sum(sizes)))
    fixed = np.ones(sum(sizes), dtype=bool)
    boundary = 0
    for size, following in pairwise(sizes):
        boundary += size
        half = int(blur * min(size, following) / 2)
        fixed[boundary - half : boundary + half] = False
    assert (places[fixed] == np.flatnonzero(fixed)).all()


@pytest.mark.parametrize("blur", [0.5, 1.0])
def test_the_share_of_the_next_task_grows_linearly(blur: float) -> None:
    size, generator = 20_000, np.random.default_rng(0)
    places = blurred_places([size, size], blur, generator)
    half = int(blur * size / 2)
    region = places[size - half : size + half] >= size
    shares = region.reshape(10, -1).mean(axis=1)
    np.testing.assert_allclose(shares, (np.arange(10) + 0.5) / 10, atol=0.03)


def test_the_order_is_drawn_and_shown_as_it_is() -> None:
    made = [online(stream_of([9, 9]), np.random.default_rng(seed), "sharp", 0.5) for seed in (0, 0, 1)]
    orders = [[task.train.tolist() for task in stream.tasks] for stream in made]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] != sorted(orders[0][0])
    [first, _] = build_benchmark(made[0]).train_stream
    loader = BatchLoader(made[0].training_pool, [Source.of(first.dataset, 1)], in_order=made[0].in_order)
    loader.order = np.random.default_rng(0)
    assert [int(targets) for _, targets, _ in loader] == [0] * 9


@pytest.mark.parametrize("setting", ["task", "class"])
def test_lent_samples_keep_their_label_in_the_task_setting_alone(setting: str) -> None:
    made = online(replace(stream_of([20, 20]), setting=setting), np.random.default_rng(0), "blurred", 1.0)
    for task, experience in zip(made.tasks, build_benchmark(made).train_stream, strict=True):
        assert task.origins is not None
        assert set(task.origins.tolist()) == {0, 1}
        labels = Source.of(experience.dataset, 4).task_labels
        assert labels.tolist() == (task.origins.tolist() if setting == "task" else [0] * 20)


def test_origins_that_a_stream_brings_are_kept() -> None:
    before = stream_of([4, 4])
    first, second = before.tasks
    mixed = replace(second, train=np.arange(8), origins=np.repeat([0, 1], 4))
    made = online(replace(before, tasks=(first, mixed)), np.random.default_rng(0), "sharp", 0.5)
    task = made.tasks[1]
    assert task.origins is not None
    assert (task.origins == (task.train >= 4)).all()


@pytest.mark.parametrize("setting", ["class", "task"])
def test_an_experiment_trains_on_each_sample_once(setting: str, tmp_path: Path) -> None:
    config = resolve(
        [
            "scenario=split-digits",
            f"scenario.setting={setting}",
            "scenario.tasks=2",
            "scenario.bins=4",
            "learner=bptt+replay",
            "backbone.hidden=[8]",
            "stream.mode=online",
            "stream.batch=100",
            "stream.boundaries=blurred",
            "track.mlflow=false",
            "device=cpu",
        ]
    )
    experiment = build_experiment(config)
    assert (experiment.epochs, experiment.batch_size, experiment.stream.in_order) == (1, 100, True)
    lent = [(task.origins != number).sum() for number, task in enumerate(experiment.stream.tasks)]
    assert lent[0] == lent[1] > 20
    results = conduct(experiment, tmp_path / "run")
    assert results["status"] == "finished"
    assert (results["epochs"], results["samples"]) == (
        1,
        [len(task.train) for task in experiment.stream.tasks],
    )
