"""Where and with what a run was made: machine, package versions, code version, command line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.plugin import GROUPS

PACKAGES = (
    "continual-workbench",
    "torch",
    "avalanche-lib",
    "numpy",
    "numba",
    "scikit-learn",
    "h5py",
    "pyarrow",
    "pydantic",
    "mlflow",
)


def capture(
    repository: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return what someone needs to know to repeat a run elsewhere; plain data, quick, imports nothing heavy.

    repository: git checkout whose version counts; by default the one that holds this package, if any.
    threads: threads of a tensor operation; by default what torch says, if torch is loaded already, else None.
    command: the words that give this run, if they are not those this process was called with.
    Keys: `started` (UTC, ISO 8601), `command`, `folder`, `python`, `platform`, `machine` (`cpu`, `cores`,
    `cores_available`, `memory_bytes`), `device`, `threads`, `packages` (name -> version), `code` (`commit`,
    `dirty`, or None without a checkout). What the system does not tell is None.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else command),
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "cores_available": _available_cores(),
            "memory_bytes": total_memory(),
        },
        "device": device,
        "threads": _torch_threads() if threads is None else threads,
        "packages": package_versions(),
        "code": code_version(checkout() if repository is None else repository),
    }


def package_versions() -> dict[str, str]:
    """Return the installed versions of what a result depends on, packages that bring plug-ins included."""
    names = set(PACKAGES)
    everything = importlib.metadata.entry_points()  # one pass over what is installed is slow enough
    for group in GROUPS.values():
        for entry in everything.select(group=group):
            if entry.dist is not None:
                names.add(entry.dist.name)
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def checkout() -> Path | None:
    """Return the root of the git checkout this package is imported from; None when installed from a wheel."""
    root = Path(__file__).resolve().parent.parent
    # Only the folder itself counts: site-packages may lie inside somebody else's repository.
    return root if (root / ".git").exists() else None


def code_version(repository: Path | None) -> dict[str, Any] | None:
    """Return `commit` and `dirty` of a git checkout; None when there is none, or git is not installed.

    Dirty means that a tracked file differs from the commit, or that a Python file is not tracked.
    """
    if repository is None:
        return None
    commit = _git(repository, "rev-parse", "HEAD")
    status = _git(repository, "status", "--porcelain", "--untracked-files=all")
    if commit is None or status is None:
        return None
    changes = [
        line for line in status.splitlines() if not line.startswith("??") or line.endswith((".py", '.py"'))
    ]
    return {"commit": commit.strip(), "dirty": bool(changes)}


def cpu_model() -> str | None:
    """Return the processor's name as its maker gives it, or None."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or None


def total_memory() -> int | None:
    """Return the machine's main memory in bytes, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _available_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _git(repository: Path, *arguments: str) -> str | None:
    # Inside a git hook these variables name another repository than the one asked for.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # Reading the status must not take the index lock away from somebody who commits meanwhile.
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        answer = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
