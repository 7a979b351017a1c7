"""What every crossbar has, whatever its devices: tiles, converters, wires, time, faults, endurance."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.plugin import PluginConfig


class CrossbarConfig(PluginConfig):
    """Settings of a crossbar; a preset changes the defaults."""

    headroom: float = Field(
        2.0,
        gt=0,
        description="largest weight that a matrix can hold, as a multiple of its largest initial weight",
    )
    sequence_seconds: float = Field(
        1.0, ge=0, description="simulated time that a training sequence takes, seconds"
    )
    task_seconds: float = Field(0.0, ge=0, description="simulated time that passes after each task, seconds")
    t_read: float = Field(0.0, ge=0, description="time between the last write and a test, seconds")

    stuck: float = Field(0.0, ge=0, le=1, description="share of devices that never change")
    wearout: bool = Field(False, description="devices that were written too often no longer change")
    endurance: float = Field(1e9, gt=0, description="writes that a device endures (median)")
    endurance_spread: float = Field(
        0.0,
        ge=0,
        description="device-to-device spread of endurance: standard deviation of its natural logarithm",
    )

    rows: int = Field(
        256, ge=1, description="inputs of a tile; a wider matrix is split, its sums added digitally"
    )
    columns: int = Field(256, ge=1, description="outputs of a tile")
    dac_bits: int = Field(
        0,
        ge=0,
        le=24,
        description="resolution of the input drivers, bits (2 or more), 0: exact; spikes pass any driver exactly",
    )
    adc_bits: int = Field(
        0,
        ge=0,
        le=24,
        description="resolution of the output converters, bits (2 or more); 0: exact, no range",
    )
    adc_range: float = Field(
        10.0,
        gt=0,
        description="largest output of a tile that is told apart, in full-scale inputs at the largest weight",
    )
    adc_range_rule: Literal["fixed", "max"] = Field(
        "fixed",
        description="range of the output converters: `adc_range`, or the largest output a tile can have",
    )
    output_noise: float = Field(
        0.0,
        ge=0,
        description="noise of each output of a tile at each read: standard deviation, in full-scale inputs at the "
        "largest weight",
    )
    noise_management: bool = Field(
        True,
        description="the inputs of a read are divided by their largest magnitude, which spikes have at 1; errors "
        "always are",
    )
    bound_management: bool = Field(
        False, description="a read that clips at the converters' range is repeated with half the input"
    )
    backward_reads: Literal["tiles", "exact"] = Field(
        "tiles",
        description="how errors that a rule carries back through weights meet them: by reads of the transposed tiles, "
        "with the same converters, noise and wires, or exactly, as weights were last read",
    )
    ir_drop: Literal["none", "quick", "detailed"] = Field(
        "none",
        description="voltage lost along the wires: none, a closed form, or the resistor network solved exactly, "
        "anew after every update (seconds for a large matrix)",
    )
    wire_ohm: float = Field(
        0.35, ge=0, description="resistance of a wire from cell to cell, ohm; for ir_drop"
    )
    g_max_siemens: float = Field(
        5e-6, gt=0, description="conductance that holds the largest weight, siemens; for ir_drop"
    )
    read_volt: float = Field(0.2, gt=0, description="voltage of an input at full scale, volt; for energies")

    @field_validator("dac_bits", "adc_bits")
    @classmethod
    def _has_levels(cls, bits: int) -> int:
        if bits == 1:
            raise ValueError("one bit has no level besides zero: 0 for an exact converter, or 2 and more")
        return bits
