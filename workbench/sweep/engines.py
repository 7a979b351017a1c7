"""Where jobs run: joblib's backends on this machine (`local`) or on a cluster (`dask`, `ray`)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from workbench.errors import ConfigurationError

Engine = Literal["local", "dask", "ray"]
ENGINES: tuple[Engine, ...] = ("local", "dask", "ray")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_job(workers: int) -> int:
    """Return the threads of each of several jobs at once on this machine, so that they do not fight for cores."""
    return max(1, cores() // workers)


def check_engine(engine: Engine, address: str | None) -> None:
    """Raise ConfigurationError when the engine's packages are not installed, or an address has no meaning."""
    needed = {"local": (), "dask": ("dask", "distributed"), "ray": ("ray",)}[engine]
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        raise ConfigurationError(
            f"--engine {engine}: needs {' and '.join(lacking)}; pip install 'continual-workbench[{engine}]'"
        )
    if engine == "local" and address is not None:
        raise ConfigurationError("--address: is for --engine dask and ray; local jobs run on this machine")


@contextmanager
def open_engine(
    engine: Engine, workers: int, threads: int, address: str | None
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Start the engine, or join the one at `address`; gives `map(function, items)`, results as they come.

    workers: jobs at once; threads: of each. Raises ConfigurationError when nothing answers at the address.
    """
    import joblib

    with ExitStack() as stack:
        settings = {
            "local": _local,
            "dask": _dask,
            "ray": _ray,
        }[engine](stack, workers, threads, address)
        stack.enter_context(joblib.parallel_config(**settings))

        def run(function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
            # One job a batch: joblib would put short ones together, and their order and failures with them.
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
            found: Iterator[Any] = parallel(joblib.delayed(function)(item) for item in items)
            return found

        yield run


def _local(stack: ExitStack, workers: int, threads: int, address: str | None) -> dict[str, Any]:
    from joblib.externals.loky import get_reusable_executor

    # Workers would live on for minutes, with all that the last run holds in memory.
    stack.callback(lambda: get_reusable_executor().shutdown(wait=False, kill_workers=True))
    return {"backend": "loky", "n_jobs": workers, "inner_max_num_threads": threads}


def _dask(stack: ExitStack, workers: int, threads: int, address: str | None) -> dict[str, Any]:
    distributed: Any = importlib.import_module("distributed")

    if address is None:
        # A thread for each worker process: a job sends what it prints to its log by the process.
        cluster = stack.enter_context(
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
            )
        )
        client = stack.enter_context(distributed.Client(cluster))
    else:
        try:
            client = stack.enter_context(distributed.Client(address, timeout=20))
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigurationError(f"--address {address}: no Dask scheduler answers ({error})") from error
    return {"backend": "dask", "client": client, "n_jobs": -1 if address else workers}


def _ray(stack: ExitStack, workers: int, threads: int, address: str | None) -> dict[str, Any]:
    ray: Any = importlib.import_module("ray")
    register: Any = importlib.import_module("ray.util.joblib")

    try:
        if address is None:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
        else:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"--address {address}: no Ray cluster answers ({error})") from error
    stack.callback(ray.shutdown)
    register.register_ray()
    return {"backend": "ray", "n_jobs": workers if address is None else int(ray.cluster_resources()["CPU"])}
