"""The encoder of the embedded spoken digits does what its equations say."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.spoken_digits.encoder import (
    REFERENCE_PRESSURE,
    Cochlea,
    CochleaParameters,
    centre_frequencies,
    erb_width,
    fire,
    gammatone_response,
    transmitter,
)

RATE = 22_050


def tone(frequency: float, level: float, seconds: float = 0.25) -> np.ndarray:
    """Return a tone in pascal, faded in and out over 10 ms; level in dB SPL."""
    time = np.arange(round(seconds * RATE)) / RATE
    fade = np.clip(np.minimum(time, seconds - time) / 0.01, 0.0, 1.0)
    amplitude = REFERENCE_PRESSURE * 10.0 ** (level / 20.0) * np.sqrt(2.0)
    return amplitude * fade * np.sin(2.0 * np.pi * frequency * time)


@pytest.fixture(scope="module")
def cochlea() -> Cochlea:
    return Cochlea(RATE, bins=60, bin_ms=5.0)


def test_centre_frequencies_are_equally_spaced_in_erb_rate_and_fall_with_the_channel() -> None:
    centres = centre_frequencies(140, 80.0, 9000.0)
    assert centres[[0, -1]] == pytest.approx([9000.0, 80.0])
    rates = 21.4 * np.log10(1.0 + 0.00437 * centres)
    np.testing.assert_allclose(np.diff(rates), (rates[-1] - rates[0]) / 139, rtol=1e-9)
    assert np.all(np.diff(centres) < 0)


def test_bandwidths_are_those_of_glasberg_and_moore() -> None:
    # 24.7 (4.37 f/kHz + 1) by hand at 0.1, 1 and 4 kHz.
    np.testing.assert_allclose(
        erb_width(np.array([100.0, 1000.0, 4000.0])), [35.494, 132.639, 456.456], rtol=1e-4
    )


def test_a_filter_passes_its_centre_and_has_the_bandwidth_of_its_erb() -> None:
    centres = np.array([4000.0, 1000.0, 250.0])
    gain = np.abs(gammatone_response(RATE, RATE, centres))
    for row, centre in zip(gain, centres, strict=True):
        assert row[round(centre)] == pytest.approx(1.0, abs=0.02)
        assert abs(int(np.argmax(row)) - centre) <= 0.02 * centre
        # Equivalent rectangular bandwidth: area under the squared gain over its peak, bins of 1 Hz.
        assert np.sum(row**2) / row.max() ** 2 == pytest.approx(float(erb_width(centre)), rel=0.05)


def test_the_filter_rings_after_the_sound_and_never_before(cochlea: Cochlea) -> None:
    click = np.zeros(cochlea.samples)
    click[3000] = 1.0
    motion = np.abs(cochlea.motion(click))
    assert motion[:, :2990].max() < 1e-9 * motion.max()
    assert motion[:, 3001:].max() == motion.max()


@pytest.mark.parametrize("frequency", [200.0, 700.0, 2000.0, 6000.0])
def test_a_tone_drives_the_channels_around_its_frequency(cochlea: Cochlea, frequency: float) -> None:
    counts = cochlea.encode(tone(frequency, 50.0)).sum(axis=0)
    nearest = int(np.argmin(np.abs(cochlea.centres - frequency)))
    assert counts[nearest] == counts.max() > 0
    driven = np.flatnonzero(counts)
    assert abs(float(np.average(driven, weights=counts[driven])) - nearest) < 6.0
    assert driven.size < 60


def test_a_louder_tone_makes_more_spikes(cochlea: Cochlea) -> None:
    counts = [int(cochlea.encode(tone(1000.0, level)).sum()) for level in (10.0, 45.0, 60.0, 75.0)]
    assert counts == sorted(set(counts))
    assert counts[0] == 0


def test_the_response_adapts_after_the_onset(cochlea: Cochlea) -> None:
    spikes = cochlea.encode(tone(1000.0, 45.0))
    near = np.abs(cochlea.centres - 1000.0) < 60.0
    times = [np.flatnonzero(channel) for channel in spikes[:, near].T]
    first, last = (np.mean([np.diff(time)[end] for time in times]) for end in (0, -1))
    assert last > 1.3 * first


def test_silence_makes_no_spike(cochlea: Cochlea) -> None:
    assert not cochlea.encode(np.zeros(cochlea.samples)).any()


def test_equal_sounds_give_equal_spikes_and_the_end_is_cut_off(cochlea: Cochlea) -> None:
    sound = tone(500.0, 60.0, seconds=1.0)
    spikes = cochlea.encode(sound)
    assert spikes.shape == (60, 140)
    assert spikes.dtype == np.uint8
    assert set(np.unique(spikes)) == {0, 1}
    np.testing.assert_array_equal(spikes, cochlea.encode(sound[: cochlea.samples]))
    np.testing.assert_array_equal(spikes, Cochlea(RATE, bins=60, bin_ms=5.0).encode(sound))


def test_the_store_settles_where_release_equals_refill() -> None:
    parameters = CochleaParameters()
    step, rate = 0.5e-3, 20.0
    released = transmitter(np.full((2000, 1), rate), step, parameters)
    # dq/dt = 0 gives q = 1 / (1 + rate * recovery).
    settled = rate / (1.0 + rate * parameters.recovery)
    assert released[-1, 0] / step == pytest.approx(settled, rel=0.02)
    assert released[0, 0] / step == pytest.approx(rate, rel=0.02)


def test_the_neuron_fires_at_the_rate_of_theory() -> None:
    parameters = CochleaParameters()
    step, current = 0.5e-4, 0.5e-3
    spikes = fire(np.full((20_000, 1), current), step, parameters)
    # Charging to 1 towards the asymptote I takes membrane * log(I / (I - 1)), then the refractory pause.
    asymptote = parameters.efficacy * current / step * parameters.membrane
    interval = parameters.membrane * np.log(asymptote / (asymptote - 1.0)) + parameters.refractory
    assert np.diff(np.flatnonzero(spikes)).mean() * step == pytest.approx(interval, rel=0.03)


def test_the_neuron_is_silent_below_threshold_and_never_faster_than_its_pause() -> None:
    parameters = CochleaParameters()
    step = 0.5e-3
    asymptote_one = step / (parameters.efficacy * parameters.membrane)
    assert not fire(np.full((1000, 1), 0.95 * asymptote_one), step, parameters).any()
    fastest = np.diff(np.flatnonzero(fire(np.ones((1000, 1)), step, parameters)))
    assert fastest.min() * step > parameters.refractory


def test_a_sampling_rate_too_low_for_the_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="must exceed 18000 Hz"):
        Cochlea(16_000, bins=10, bin_ms=5.0)
