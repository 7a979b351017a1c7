"""Where jobs run: joblib's backends on this machine (`local`) or on a cluster (`dask`, `ray`)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

from workbench.errors import ConfigurationError

Engine = Literal["local", "dask", "ray"]
ENGINES: tuple[Engine, ...] = ("local", "dask", "ray")
ANSWER_SECONDS = 20
"""How long to wait for a cluster to answer."""
RETRIES = 3
"""Times that a cluster itself gives out a job again whose process was killed."""
WATCH_SECONDS = 0.5
"""How often to look whether a job has ended, where the engine does not tell."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_job(workers: int) -> int:
    """Return the threads of each of several jobs at once on this machine, so that they do not fight for cores."""
    return max(1, cores() // workers)


def engine_named(name: str, address: str | None) -> Engine:
    """Return the engine of that name. Raises ConfigurationError when it is none, or cannot be used here."""
    chosen = next((one for one in ENGINES if one == name), None)
    if chosen is None:
        raise ConfigurationError(f"--engine {name}: must be one of {', '.join(ENGINES)}")
    check_engine(chosen, address)
    return chosen


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


@dataclass(frozen=True)
class Lost:
    """An item that the engine gave up, with its reason."""

    item: Any
    error: BaseException


Ended = Callable[[Any], Any]
"""Takes an item that was given out; returns its result if it is known to have one by other ways, else None."""
Run = Callable[[Callable[[Any], Any], Sequence[Any], Callable[[Any], None], Ended], None]
"""`run(function, items, done, ended)`: calls `done` with each result, or Lost, as it comes, in any order.

Raises the engine's own error when processes were killed that it does not start again; the other results are lost then.
"""


@contextmanager
def open_engine(engine: Engine, workers: int, threads: int, address: str | None) -> Iterator[Run]:
    """Start the engine, or join the one at `address`; gives what runs a function over items there.

    workers: jobs at once, 0 for as many as the cluster has room for; threads: of each. Raises ConfigurationError when
    nothing answers at the address.
    """
    import joblib

    with ExitStack() as stack:
        settings = {"local": _local, "dask": _dask, "ray": _ray}[engine](stack, workers, threads, address)
        at_once = workers or settings["n_jobs"]
        # With a single job at once joblib would not start a process, and a job that dies would take the sweep along.
        stack.enter_context(joblib.parallel_config(**{**settings, "n_jobs": max(2, settings["n_jobs"])}))
        if engine == "dask":
            _amend(joblib.parallel.get_active_backend()[0])

        def run(
            function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[Any], None], ended: Ended
        ) -> None:
            # Jobs are given out one by one: joblib would put short ones together, and their failures with them.
            shared = {"batch_size": 1, "pre_dispatch": at_once}
            calls = (joblib.delayed(function)(item) for item in items)
            if engine == "ray":
                with _watching(items, done, ended) as left:
                    results = joblib.Parallel(**shared)(calls)
                for index in sorted(left):
                    done(results[index])
            else:
                for result in joblib.Parallel(return_as="generator_unordered", **shared)(calls):
                    done(result)

        yield run


@contextmanager
def _watching(items: Sequence[Any], done: Callable[[Any], None], ended: Ended) -> Iterator[set[int]]:
    """Tell, from a thread, of each item that has ended; gives the indices of those not told of yet.

    For Ray, whose backend hands out all results at the end, and works in the main thread alone.
    """
    left, over = set(range(len(items))), Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            for index in sorted(left):
                result = ended(items[index])
                if result is not None:
                    left.remove(index)
                    done(result)

    with ThreadPoolExecutor(1) as aside:
        watcher = aside.submit(watch)
        try:
            yield left
        finally:
            over.set()
            watcher.result()


def _local(stack: ExitStack, workers: int, threads: int, address: str | None) -> dict[str, Any]:
    from joblib.externals.loky import get_reusable_executor

    # Workers would live on for minutes, with all that the last run holds in memory.
    stack.callback(lambda: get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True))
    return {"backend": "loky", "n_jobs": workers, "inner_max_num_threads": threads}


def _dask(stack: ExitStack, workers: int, threads: int, address: str | None) -> dict[str, Any]:
    distributed: Any = importlib.import_module("distributed")
    if address is None:
        dask: Any = importlib.import_module("dask")
        # A cluster would part for good with a worker that is not back in time, and the last one may take all along.
        stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "30 days"}))
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
        return {"backend": "dask", "client": client, "n_jobs": workers}
    try:
        client = stack.enter_context(distributed.Client(address, timeout=ANSWER_SECONDS))
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigurationError(f"--address {address}: no Dask scheduler answers ({error})") from error
    room = len(client.scheduler_info(n_workers=-1)["workers"])
    if not room:
        raise ConfigurationError(f"--address {address}: the Dask scheduler there has no workers")
    return {"backend": "dask", "client": client, "n_jobs": room}


def _amend(backend: Any) -> None:
    """Make joblib's Dask backend tell of a job that Dask gave up, for which it would wait for ever.

    Not as an error, upon which joblib would drop the other jobs, but in the place of its result. And have a cluster of
    one worker do the work, which joblib would do in this process then.
    """
    submit, room = backend.submit, backend.effective_n_jobs

    def telling(batch: Any, callback: Callable[[Any], None] | None = None) -> Any:
        future = submit(batch, callback)

        def ended(future: Any) -> None:
            error = future.exception()
            if error is not None and callback is not None:
                [(_, (item,), _)] = batch.items
                callback([Lost(item, error)])

        future.add_done_callback(ended)
        return future

    backend.submit = telling
    backend.effective_n_jobs = lambda n_jobs: max(2, room(n_jobs))


def _ray(stack: ExitStack, workers: int, threads: int, address: str | None) -> dict[str, Any]:
    ray: Any = importlib.import_module("ray")
    # An address in the environment must not turn a sweep on this machine into one elsewhere.
    place = {"address": "local", "num_cpus": max(2, workers), "include_dashboard": False}
    try:
        ray.init(
            **(place if address is None else {"address": address}),
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        hint = "one that asks for a token wants RAY_AUTH_MODE=token"
        raise ConfigurationError(f"--address {address}: no Ray cluster answers ({error}; {hint})") from error
    stack.callback(ray.shutdown)
    register: Any = importlib.import_module("ray.util.joblib")
    register.register_ray()
    room = int(ray.cluster_resources().get("CPU", 0))
    if room < 2:
        raise ConfigurationError(
            f"--address {address}: the Ray cluster there has {room} processors, two are needed"
        )
    # Ray starts a killed process again, with the job it had; without this, all others would be killed with it.
    again = {"max_restarts": -1, "max_task_retries": RETRIES}
    return {"backend": "ray", "n_jobs": min(workers or room, room), "ray_remote_args": again}
