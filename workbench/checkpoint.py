"""Checkpoints: everything a bit-exact resume needs, written in one move, read without running code from the file.

Random streams are named and drawn afresh for each task and epoch, so no generator has state to save.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import DataError
from workbench.runfolder import replacing

VERSION = 2


@dataclass
class Checkpoint:
    """State of a run after an epoch.

    task and epoch: the last ones finished. record: plain data of a size that does not grow with the epochs behind
    (times, how far the journal stood). The rest: tensors by name.
    """

    task: int
    epoch: int
    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    rule: dict[str, Tensor]
    modifiers: list[dict[str, Tensor]]
    record: dict[str, Any] = field(default_factory=dict)
    chip: dict[str, Tensor] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint to `path`; a crash leaves the old one whole."""
        with replacing(path) as temporary:
            torch.save({"version": VERSION, **vars(self)}, temporary)

    @staticmethod
    def load(path: Path) -> Checkpoint:
        """Read a checkpoint. Raises DataError if it is missing, damaged or of another version."""
        try:
            # torch itself does not look at the check sums it wrote.
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"bad check sum of {damaged}")
            content = torch.load(path, weights_only=True, map_location="cpu")
        except FileNotFoundError as error:
            raise DataError(f"{path}: no checkpoint, nothing to resume; start the run anew") from error
        except Exception as error:
            # Whatever a damaged file makes the reader stumble over, and that is nearly anything.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{path}: damaged checkpoint ({reason})") from error
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise DataError(
                f"{path}: a checkpoint of another version; this workbench reads version {VERSION}"
            )
        content.pop("version")
        try:
            return Checkpoint(**content)
        except TypeError as error:
            raise DataError(f"{path}: damaged checkpoint ({error})") from error
