"""Devices that are changed in place by pulses: the generic one, and presets fitted to measured devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from workbench.hardware.pulsed_settings import PulsedConfig, preset
from workbench.plugin import Hardware

if TYPE_CHECKING:
    import torch

    from workbench.backbones.network import Network
    from workbench.hardware.array import Array
    from workbench.hardware.chip import Chip
    from workbench.randomness import RandomStreams


class Pulsed(Hardware):
    """Devices changed by pulses, of any step: constant, linear, soft bounds, exponential, power.

    Each coincidence of a pulse on a row and one on a column changes a device by a step, which depends on its weight and
    differs from device to device and from pulse to pulse. Steps after aihwkit, neurosim's curve after NeuroSim.
    """

    Config: ClassVar[type[PulsedConfig]] = PulsedConfig
    config: PulsedConfig

    def attach(self, network: Network, streams: RandomStreams) -> Chip:
        """Draw the devices and program the network's weights into them."""
        from workbench.hardware.chip import Chip

        return Chip(network, streams, self.config, self.array)

    def array(self, weights: torch.Tensor, generator: torch.Generator) -> Array:
        """Return the devices of one matrix of initial weights `[N, in]`."""
        from workbench.hardware.continuous_array import ContinuousArray
        from workbench.hardware.pulsed_array import PulsedArray

        kind = ContinuousArray if self.config.continuous else PulsedArray
        return kind(weights, self.config, generator)


class ReRamES(Pulsed):
    """Resistive memory, 1481 states, exponential steps and strong noise (Gong et al. 2018)."""

    cell_kind = "rram"
    Config = preset(
        "ReRamESConfig",
        "fit to Gong et al., Nat. Commun. 2018, in aihwkit",
        step="exponential",
        dw_min=0.00135,
        up_down=0.259359,
        w_max=1.0,
        w_min=-1.0,
        a=-0.5,
        b=-0.5,
        gamma_up=5.0,
        gamma_down=5.0,
        a_up=-1.18445,
        a_down=-0.081404,
        dw_min_dtod=0.2,
        up_down_dtod=0.05,
        w_max_dtod=0.3,
        w_min_dtod=0.3,
        dw_min_std=5.0,
        write_noise=75.0,
    )


class ReRamSB(Pulsed):
    """Resistive memory, 1000 states, soft bounds around a calibrated symmetry point (Gong et al. 2018).

    The device has been calibrated: its symmetry point is weight zero, hence the lopsided range.
    """

    cell_kind = "rram"
    Config = preset(
        "ReRamSBConfig",
        "loose fit to Gong et al., Nat. Commun. 2018, in aihwkit",
        step="soft-bounds",
        dw_min=0.002,
        w_max=1.25,
        w_min=-0.75,
        multiplicative_noise=False,
        dw_min_dtod=0.3,
        up_down_dtod=0.01,
        w_max_dtod=0.3 / 1.25,
        w_min_dtod=0.3 / 0.75,
        dw_min_std=3.75,
        write_noise=56.0,
    )


class ReRamOM(Pulsed):
    """Array of resistive memory, optimised material: 21 states (Gong and Rasch et al. 2022).

    13.48 % of the devices of the measured array were stuck; `stuck` is 0 here, set it to 0.1348 for the whole array.
    """

    cell_kind = "rram"
    Config = preset(
        "ReRamOMConfig",
        "array of Gong and Rasch et al., IEDM 2022, optimised material, in aihwkit",
        step="soft-bounds",
        dw_min=0.0949,
        w_max=1.0,
        w_min=-1.0,
        multiplicative_noise=False,
        dw_min_log_normal=True,
        dw_min_dtod=0.7829,
        up_down_dtod=0.01,
        w_max_dtod=0.3499,
        w_min_dtod=0.5695,
        dw_min_std=0.4158,
        write_noise=1.4113,
        stuck_range=0.01,
        subtract_symmetry_point=True,
        reference_std=0.05,
    )


class ReRamHfO2(Pulsed):
    """Array of resistive memory, plain HfO2: 4 states (Gong and Rasch et al. 2022).

    9.77 % of the devices of the measured array were stuck; `stuck` is 0 here, set it to 0.0977 for the whole array.
    """

    cell_kind = "rram"
    Config = preset(
        "ReRamHfO2Config",
        "array of Gong and Rasch et al., IEDM 2022, baseline HfO2, in aihwkit",
        step="soft-bounds",
        dw_min=0.4622,
        w_max=1.0,
        w_min=-1.0,
        multiplicative_noise=False,
        dw_min_log_normal=True,
        dw_min_dtod=0.7125,
        up_down_dtod=0.01,
        w_max_dtod=0.4295,
        w_min_dtod=0.5990,
        dw_min_std=0.2174,
        write_noise=0.5841,
        stuck_range=0.01,
        subtract_symmetry_point=True,
        reference_std=0.05,
    )


class Capacitor(Pulsed):
    """Capacitor, 400 states, nearly linear; its charge leaks (Li et al. 2018).

    `lifetime` counts updates: how long they take decides what it should be.
    """

    cell_kind = "capacitor"
    Config = preset(
        "CapacitorConfig",
        "fit to Li et al., VLSI 2018, in aihwkit",
        step="linear",
        dw_min=0.005,
        w_max=1.0,
        w_min=-1.0,
        multiplicative_noise=False,
        gamma_up=0.05,
        gamma_down=0.05,
        gamma_up_dtod=0.01,
        gamma_down_dtod=0.01,
        dw_min_dtod=0.1,
        up_down_dtod=0.06,
        w_max_dtod=0.07,
        w_min_dtod=0.07,
        dw_min_std=0.3,
        lifetime=1e6,
        lifetime_dtod=0.3,
    )


class ECRAM(Pulsed):
    """Electrochemical memory with lithium, 1000 states, linear steps (Tang et al. 2018)."""

    cell_kind = "ecram"
    Config = preset(
        "ECRAMConfig",
        "fit to Tang et al., IEDM 2018, in aihwkit",
        step="linear",
        dw_min=0.002,
        w_max=1.1724,
        w_min=-0.8276,
        gamma_up=0.1153,
        gamma_down=0.5085,
        gamma_up_dtod=0.05,
        gamma_down_dtod=0.05,
        dw_min_dtod=0.1,
        up_down_dtod=0.01,
        w_max_dtod=0.05,
        w_min_dtod=0.05,
        dw_min_std=0.3,
    )


class ECRAMMO(Pulsed):
    """Electrochemical memory with metal oxide, 7089 states, linear steps (Kim et al. 2019)."""

    cell_kind = "ecram"
    Config = preset(
        "ECRAMMOConfig",
        "data of Kim et al., IEDM 2019, in aihwkit",
        step="linear",
        dw_min=2.8214e-4,
        w_max=1.1714,
        w_min=-0.8286,
        gamma_up=0.4152,
        gamma_down=0.7342,
        gamma_up_dtod=0.05,
        gamma_down_dtod=0.05,
        dw_min_dtod=0.1,
        up_down_dtod=0.01,
        w_max_dtod=0.05,
        w_min_dtod=0.05,
        dw_min_std=2.0,
    )


class PCMPair(Pulsed):
    """Phase-change memory, two devices a weight that only ever go up, refreshed (Nandakumar et al. 2020)."""

    cell_kind = "pcm"
    Config = preset(
        "PCMPairConfig",
        "fit to Nandakumar et al., Front. Neurosci. 2020, in aihwkit",
        step="exponential",
        cell="pair",
        dw_min=0.01,
        w_max=2.0,
        w_min=0.0,
        a=-1.0,
        b=0.0,
        gamma_up=2.5,
        gamma_down=2.5,
        a_up=-27.235,
        a_down=-2.235,
        dw_min_dtod=0.2,
        up_down_dtod=0.05,
        w_max_dtod=0.1,
        w_min_dtod=0.0,
        dw_min_std=0.6,
        dw_min_std_add=0.042,
        dw_min_std_slope=0.108,
        reset=0.01,
        reset_dtod=0.02,
    )


class Idealised(Pulsed):
    """Idealised device, 10 000 equal steps, no asymmetry (Rasch et al. 2019)."""

    Config = preset(
        "IdealisedConfig",
        "Rasch, Gokmen and Haensch, IEEE Design & Test 2019, in aihwkit",
        dw_min=0.0002,
        dw_min_dtod=0.3,
        dw_min_std=0.3,
        up_down_dtod=0.0,
        w_max=1.0,
        w_min=-1.0,
        w_max_dtod=0.3,
        w_min_dtod=0.3,
    )


class GokmenVlasov(Pulsed):
    """The device that training in place asks for: 1250 equal steps (Gokmen and Vlasov 2016)."""

    Config = preset(
        "GokmenVlasovConfig",
        "Gokmen and Vlasov, Front. Neurosci. 2016, in aihwkit",
        dw_min=0.0016,
        dw_min_dtod=0.3,
        dw_min_std=0.3,
        up_down_dtod=0.01,
        w_max=1.0,
        w_min=-1.0,
        w_max_dtod=0.3,
        w_min_dtod=0.3,
    )
