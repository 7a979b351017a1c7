"""The files of a study: numbers, text, page, pictures; each is written whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import ConfigurationError
from workbench.feasibility.page import render
from workbench.feasibility.pictures import Picture
from workbench.feasibility.study import Study, content
from workbench.feasibility.words import markdown
from workbench.runfolder import write_atomically

NUMBERS, TEXT, PAGE, PICTURES = "feasibility.json", "feasibility.txt", "feasibility.html", "pictures"
LEFT_BEHIND = re.compile(r"(accuracy|memory|writes|energy|(bits|noise|asymmetry|stuck|drift)-.+)\.(svg|png)")
"""Names of pictures, which an earlier state of a study may have left."""


def save(study: Study, drawn: Sequence[Picture], folder: Path) -> list[Path]:
    """Write a study into a folder, its own or another; returns the files, pictures last.

    Pictures that the study no longer has are removed. Raises ConfigurationError when a file cannot be written.
    """
    root = Path(os.path.relpath(study.folder, folder)).as_posix()
    text = json.dumps({"study": root, **content(study)}, indent=2, ensure_ascii=False, allow_nan=False)
    files: dict[Path, bytes] = {
        folder / NUMBERS: f"{text}\n".encode(),
        folder / TEXT: markdown(study, root).encode(),
        folder / PAGE: render(study, drawn, root).encode(),
    }
    for one in drawn:
        files[folder / PICTURES / f"{one.name}.svg"] = one.svg.encode()
        files[folder / PICTURES / f"{one.name}.png"] = one.png
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            write_atomically(file, data)
        for old in (folder / PICTURES).iterdir():
            if LEFT_BEHIND.fullmatch(old.name) and old not in files:
                old.unlink()
    except OSError as error:
        raise ConfigurationError(f"{folder}: the study cannot be written there: {error}") from error
    return list(files)
