"""From sound to spikes: filter bank, hair cell, leaky integrate-and-fire neuron, one chain for each channel.

Written from published descriptions, each named at its function. It is a compact model in the manner of the
one behind the Spiking Heidelberg Digits (Cramer et al. 2020, doi:10.1109/TNNLS.2020.3044364), not a copy of
it: the constants are chosen so that a spoken digit makes some 1,500 spikes in 140 channels.

    sound p(t) [Pa] -> gammatone v_c(t) [Pa] -> hair cell k_c(t), q_c(t) -> neuron u_c(t) -> spikes, binned

Channel 0 has the highest centre frequency, as in SHD. Only NumPy; float64 throughout; no random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.float64]

REFERENCE_PRESSURE = 20e-6
"""Pressure of 0 dB SPL, in pascal."""


@dataclass(frozen=True)
class CochleaParameters:
    """Constants of the encoder; times in seconds, frequencies in hertz, levels in dB SPL."""

    channels: int = 140
    lowest: float = 80.0
    highest: float = 9000.0
    tail: float = 0.1
    """Silence after the sound in which the filters ring out."""
    step: float = 0.5e-3
    """Time step of hair cell and neuron (rounded to whole samples)."""
    compression: float = 0.3
    """Exponent of the basilar membrane's growth."""
    threshold: float = 20.0
    """Level of a channel's signal below which no transmitter is released: the spontaneous rate is 0."""
    release: float = 60.0
    """Release rate for a signal at 60 dB SPL, per second."""
    recovery: float = 0.06
    """Time constant in which the store of transmitter refills."""
    membrane: float = 0.02
    """Time constant of the neuron's leak."""
    efficacy: float = 18.0
    """What one full store of transmitter would add to the membrane, in units of the firing threshold."""
    refractory: float = 5e-3
    """Absolute refractory time: no shorter than a bin, so a binary bin loses no spike."""


def erb_width(frequency: Signal) -> Signal:
    """Return the equivalent rectangular bandwidth in hertz, 24.7 (4.37e-3 f + 1).

    Glasberg & Moore 1990, Hearing Research 47, equation 3.

    >>> round(float(erb_width(np.array(1000.0))), 2)
    132.64
    """
    return 24.7 * (4.37e-3 * frequency + 1.0)


def centre_frequencies(channels: int, lowest: float, highest: float) -> Signal:
    """Return `[channels]` centre frequencies in hertz, highest first, equally spaced on the ERB-rate scale.

    ERB-rate E(f) = 21.4 log10(4.37e-3 f + 1), Glasberg & Moore 1990, equation 4.
    """
    ends = 21.4 * np.log10(4.37e-3 * np.array([highest, lowest]) + 1.0)
    rates = np.linspace(ends[0], ends[1], channels)
    return np.asarray((10.0 ** (rates / 21.4) - 1.0) / 4.37e-3, dtype=np.float64)


def gammatone_response(samples: int, sampling_rate: float, centres: Signal) -> npt.NDArray[np.complex128]:
    """Return the filters' frequency response `[channels, samples // 2 + 1]`, laid out as by `numpy.fft.rfft`.

    Fourth-order gammatone as four identical complex one-pole filters (Hohmann 2002, Acta Acustica 88) of
    the bandwidth of Patterson et al. 1992 (Auditory Physiology and Perception):

        H(w) = ((1 - |a|) / (1 - a e^{-iw}))^4,   a = exp((-2 pi 1.019 ERB(f_c) + 2 pi i f_c) / rate),

    of which twice the real part is taken, H(w) + conj(H(-w)), so that a tone at f_c passes with gain 1.
    """
    pole = np.exp(2.0 * np.pi * (1j * centres - 1.019 * erb_width(centres)) / sampling_rate)[:, None]
    turn = np.exp(-2j * np.pi * np.arange(samples // 2 + 1) / samples)
    response = np.zeros((centres.size, turn.size), dtype=np.complex128)
    for mirrored in (pole, pole.conj()):
        one_pole = (1.0 - np.abs(pole)) / (1.0 - mirrored * turn)
        squared = one_pole * one_pole
        response += squared * squared
    return response


def release_rate(motion: Signal, samples_per_step: int, parameters: CochleaParameters) -> Signal:
    """Return the rate at which hair cells release transmitter, per second, `[steps, channels]`.

    The motion `[channels, samples]` in pascal is rectified, compressed (exponent 0.2 to 0.3: Oxenham & Plack
    1997, J. Acoust. Soc. Am. 101), and averaged over each step. The 0.5 ms average stands for the hair cell's
    membrane, which follows single cycles below about 1 kHz only (Palmer & Russell 1986, Hearing Research 24).

        k = release * max(y - y_threshold, 0),   y = (max(v, 0) / p_60dB)^0.3
    """
    reference = REFERENCE_PRESSURE * 10.0 ** (60.0 / 20.0)
    floor = 10.0 ** (parameters.compression * (parameters.threshold - 60.0) / 20.0)
    drive = (np.maximum(motion, 0.0) / reference) ** parameters.compression
    rate = parameters.release * np.maximum(drive - floor, 0.0)
    channels, samples = rate.shape
    steps = samples // samples_per_step
    blocks = rate[:, : steps * samples_per_step].reshape(channels, steps, samples_per_step)
    return np.ascontiguousarray(blocks.mean(axis=2).T)


def transmitter(rate: Signal, step: float, parameters: CochleaParameters) -> Signal:
    """Return the transmitter released in each step, in units of a full store, `[steps, channels]`.

    One store that empties by release and refills: dq/dt = (1 - q) / recovery - k q, release k q. It is the
    depletion of Meddis 1986 (J. Acoust. Soc. Am. 79) with the reuptake path left out; it gives the strong
    onset and the adaptation within some 60 ms that auditory nerve fibres show (Westerman & Smith 1984,
    Hearing Research 15).
    Within a step the release is exact for a constant k; the store is full at the start.
    """
    store = np.ones(rate.shape[1])
    emptied = -np.expm1(-rate * step)
    refill = -np.expm1(-step / parameters.recovery)
    released = np.empty_like(rate)
    for index in range(rate.shape[0]):
        released[index] = store * emptied[index]
        store = store - released[index]
        store = store + (1.0 - store) * refill
    return released


def fire(current: Signal, step: float, parameters: CochleaParameters) -> npt.NDArray[np.bool_]:
    """Return the spikes `[steps, channels]` of leaky integrate-and-fire neurons driven by `current`.

    u <- u exp(-step / membrane) + efficacy * current; a spike where u >= 1; then u is held at 0 for the
    refractory time (Gerstner & Kistler 2002, Spiking Neuron Models, section 4.1).
    """
    keep = np.exp(-step / parameters.membrane)
    pause = round(parameters.refractory / step)
    membrane = np.zeros(current.shape[1])
    rest = np.zeros(current.shape[1], dtype=np.int64)
    spikes = np.zeros(current.shape, dtype=np.bool_)
    for index in range(current.shape[0]):
        awake = rest == 0
        membrane = np.where(awake, membrane * keep + parameters.efficacy * current[index], 0.0)
        fired = membrane >= 1.0
        spikes[index] = fired
        membrane[fired] = 0.0
        rest = np.where(fired, pause, np.maximum(rest - 1, 0))
    return spikes


class Cochlea:
    """Encodes sounds of one sampling rate: equal sounds give equal spikes, silence gives none."""

    def __init__(
        self, sampling_rate: float, bins: int, bin_ms: float, parameters: CochleaParameters | None = None
    ) -> None:
        """Prepare the filters for sounds of `bins * bin_ms` milliseconds at `sampling_rate` hertz.

        Raises ValueError when the sampling rate is too low for the highest channel.
        """
        self.parameters = parameters or CochleaParameters()
        if sampling_rate <= 2.0 * self.parameters.highest:
            raise ValueError(
                f"a sampling rate of {sampling_rate:g} Hz cannot carry the highest channel, "
                f"{self.parameters.highest:g} Hz: it must exceed {2.0 * self.parameters.highest:g} Hz"
            )
        self.bins = bins
        self.bin_seconds = bin_ms * 1e-3
        self.samples = int(np.ceil(bins * self.bin_seconds * sampling_rate))
        self.centres = centre_frequencies(
            self.parameters.channels, self.parameters.lowest, self.parameters.highest
        )
        # The filters act in the frequency domain; a tail of zeros keeps their ring from wrapping around.
        self._padded = self.samples + round(self.parameters.tail * sampling_rate)
        self._response = gammatone_response(self._padded, sampling_rate, self.centres)
        self._samples_per_step = max(1, round(self.parameters.step * sampling_rate))
        self._step = self._samples_per_step / sampling_rate

    def motion(self, sound: Signal) -> Signal:
        """Return the basilar membrane's motion `[channels, samples]` for a sound `[n]`, both in pascal."""
        spectrum = np.fft.rfft(np.asarray(sound, dtype=np.float64)[: self.samples], self._padded)
        return np.asarray(np.fft.irfft(self._response * spectrum, self._padded, axis=1)[:, : self.samples])

    def encode(self, sound: Signal) -> npt.NDArray[np.uint8]:
        """Return binary spikes `[bins, channels]` of a sound `[n]` in pascal; what is too long is cut off."""
        rate = release_rate(self.motion(sound), self._samples_per_step, self.parameters)
        spikes = fire(transmitter(rate, self._step, self.parameters), self._step, self.parameters)
        when, channel = np.nonzero(spikes)
        bin_index = np.floor(when * self._step / self.bin_seconds).astype(np.int64)
        binned = np.zeros((self.bins, self.parameters.channels), dtype=np.uint8)
        inside = bin_index < self.bins
        binned[bin_index[inside], channel[inside]] = 1
        return binned
