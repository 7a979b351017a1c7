"""The program that draws charts, put together once for all tests: that takes seconds."""

from pathlib import Path

import pytest

from workbench.report.pictures import program


@pytest.fixture(scope="session")
def program_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the program."""
    folder = tmp_path_factory.mktemp("cache")
    program(folder)
    return folder
