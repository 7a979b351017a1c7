"""The command line. Its modules import nothing heavy; the commands that compute load torch and Avalanche."""

from __future__ import annotations

from workbench.cli.app import main

__all__ = ["main"]
