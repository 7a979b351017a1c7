"""Random labels: even and independent labels, the same sequences whoever asks, few in memory, honest errors."""

import tracemalloc

import numpy as np
import pytest

from scenarios.random_labels import RandomLabels
from workbench.errors import ConfigurationError, DataError
from workbench.tasks import ScenarioContext


def build(tmp_path, seed=0, **settings):
    config = RandomLabels.Config(**({"tasks": 4, "samples": 20, "channels": 6, "steps": 5} | settings))
    return RandomLabels(config).build(ScenarioContext(seed, tmp_path))


def test_tasks_share_classes_and_test_on_their_training_samples(tmp_path):
    stream = build(tmp_path)
    assert (stream.setting, stream.classes, stream.channels, stream.steps) == ("domain", 10, 6, 5)
    assert stream.training_pool is stream.test_pool
    seen = np.concatenate([task.train for task in stream.tasks])
    np.testing.assert_array_equal(seen, np.arange(80))
    for task in stream.tasks:
        np.testing.assert_array_equal(task.train, task.test)
        assert not len(task.validation)
        labels = stream.training_pool.targets[task.train]
        np.testing.assert_array_equal(np.bincount(labels, minlength=10), np.full(10, 2))


def test_labels_change_from_task_to_task_and_with_the_seed(tmp_path):
    labels = build(tmp_path).training_pool.targets.reshape(4, 20)
    assert len(np.unique(labels, axis=0)) == 4
    assert (labels != build(tmp_path, seed=1).training_pool.targets.reshape(4, 20)).any()


@pytest.mark.parametrize("coding", ["static", "poisson"])
@pytest.mark.parametrize("inputs", ["fixed", "fresh"])
def test_patterns_are_the_same_in_every_task_or_fresh_in_each(tmp_path, inputs, coding):
    pool = build(tmp_path, inputs=inputs, coding=coding, density=0.5).training_pool.inputs
    blocks = [pool[np.arange(20 * task, 20 * task + 20)] for task in range(4)]
    for block in blocks[1:]:
        assert np.array_equal(block, blocks[0]) == (inputs == "fixed")
    assert blocks[0].dtype == np.uint8
    assert set(np.unique(blocks[0])) == {0, 1}
    varies = (blocks[0] != blocks[0][:, :1]).any()
    assert varies == (coding == "poisson")


@pytest.mark.parametrize("inputs", ["fixed", "fresh"])
@pytest.mark.parametrize("coding", ["static", "poisson"])
def test_a_sequence_does_not_depend_on_how_it_is_asked_for(tmp_path, inputs, coding):
    pool = build(tmp_path, inputs=inputs, coding=coding).training_pool.inputs
    whole = np.stack(
        [build(tmp_path, inputs=inputs, coding=coding).training_pool.inputs[i] for i in range(80)]
    )
    picked = np.random.default_rng(0).permutation(80)
    np.testing.assert_array_equal(pool[picked], whole[picked])
    np.testing.assert_array_equal(pool[picked[::-1]], whole[picked[::-1]])
    one = pool[3]
    one += 1  # A caller's copy: the pool must not change with it.
    np.testing.assert_array_equal(pool[3], whole[3])
    assert pool[np.arange(0)].shape == (0, 5, 6)


def test_density_and_rate_are_those_of_the_spikes(tmp_path):
    pool = build(
        tmp_path, coding="poisson", density=0.4, rate=0.5, samples=500, tasks=1, channels=40, steps=10
    ).training_pool.inputs
    block = pool[np.arange(500)]
    assert block.mean() == pytest.approx(0.2, abs=0.01)
    on = block.any(1)
    assert block.mean(1)[on].mean() == pytest.approx(0.5, abs=0.01)


def test_a_long_stream_takes_the_memory_of_two_tasks(tmp_path):
    stream = build(tmp_path, tasks=50, samples=200, channels=50, steps=20, inputs="fresh", coding="poisson")
    bytes_of_task = 200 * 50 * 20
    pool = stream.training_pool.inputs
    tracemalloc.start()
    try:
        for task in stream.tasks:
            pool[task.train]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two tasks kept, one being drawn (4 bytes a draw, twice) and one handed out: far below the stream's 50.
    assert peak < 16 * bytes_of_task


def test_digits_of_scikit_learn_are_permuted_anew_in_every_task(tmp_path):
    stream = build(tmp_path, inputs="digits", channels=None)
    assert stream.channels == 64
    assert stream.dataset.notice
    pool = stream.training_pool.inputs
    first, second = (pool[stream.tasks[task].train] for task in range(2))
    assert first.dtype == np.float32
    assert first.min() == 0.0
    assert first.max() <= 1.0
    assert (first != second).any()
    np.testing.assert_array_equal(first, np.repeat(first[:, :1], 5, axis=1))


@pytest.fixture
def mnist_file(tmp_path):
    """A file of 30 small images in the form in which MNIST is found."""
    path = tmp_path / "digits.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 3, 4)).astype(np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    np.savez(path, train_x=pixels, train_y=labels, test_x=pixels[:5], test_y=labels[:5])
    return path


def test_images_come_from_a_local_file(tmp_path, mnist_file):
    stream = build(tmp_path, inputs="digits", channels=None, path=mnist_file)
    assert stream.channels == 12
    block = stream.training_pool.inputs[stream.tasks[0].train][:, 0]
    with np.load(mnist_file) as archive:
        pixels = (archive["train_x"].reshape(30, 12) / 255.0).astype(np.float32)
    rows, known = ({tuple(row) for row in np.sort(images, axis=1)} for images in (block, pixels))
    assert len(rows) == 20
    assert rows <= known


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        build(tmp_path, inputs="digits", channels=None, path=tmp_path / "nowhere.npz")


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="path"):
        build(tmp_path, path=tmp_path / "digits.npz")
    with pytest.raises(ConfigurationError, match="channels"):
        build(tmp_path, inputs="digits")
    with pytest.raises(ConfigurationError, match="1797"):
        build(tmp_path, inputs="digits", channels=None, samples=1798)


def test_the_digest_tells_streams_apart(tmp_path):
    digests = {
        build(tmp_path).dataset.digest,
        build(tmp_path, seed=1).dataset.digest,
        build(tmp_path, coding="poisson").dataset.digest,
        build(tmp_path, inputs="digits", channels=None).dataset.digest,
    }
    assert len(digests) == 4
    assert build(tmp_path).dataset.digest in digests
