"""What every crossbar has, whatever its devices: tiles, converters, wires, time, faults, endurance."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
        0.0, ge=0, description="device-to-device spread of endurance: standard deviation of its natural logarithm"
    )

    rows: int = Field(256, ge=1, description="inputs of a tile; a wider matrix is split, its sums added digitally")
    columns: int = Field(256, ge=1, description="outputs of a tile")
    dac_bits: int = Field(
        0, ge=0, le=24, description="resolution of the input drivers, bits; 0: exact. Spikes take one bit, exactly"
    )
    adc_bits: int = Field(0, ge=0, le=24, description="resolution of the output converters, bits; 0: exact")
    adc_range: float = Field(
        10.0, gt=0, description="largest output of a tile, in full-scale inputs times the largest weight"
    )
    output_noise: float = Field(
        0.0, ge=0, description="noise of each output at each read, standard deviation in units of the largest weight"
    )
    noise_management: bool = Field(True, description="analogue inputs are divided by their largest number first")
    bound_management: bool = Field(
        False, description="a read that clips at `adc_range` is repeated with half the input"
    )
    ir_drop: Literal["none", "quick", "detailed"] = Field(
        "none", description="voltage lost along the wires: none, a closed form, or the resistor network solved"
    )
    wire_ohm: float = Field(0.35, ge=0, description="resistance of a wire from cell to cell, ohm")
    read_volt: float = Field(0.2, gt=0, description="voltage of an input at full scale, volt")
