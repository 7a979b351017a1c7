"""What every use of MLflow's client needs: connecting without talk, experiments, keys and texts that MLflow takes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_STORE = "sqlite:///mlflow.db"
KEY_LENGTH = 250


def default_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite store in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def connect(uri: str) -> MlflowClient:
    """Return a client of the store; the folder of an SQLite file is made."""
    keep_to_itself()
    from mlflow import MlflowClient

    database = database_of(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def keep_to_itself() -> None:
    """Set, before MLflow is imported, that it reports to nobody and gives a server that is down little time."""
    # MLflow reports its use to its makers unless told not to; a run here reports to nobody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    # Its own patience with a server that is down is minutes for each call.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """Return the identifier of an experiment, which is made if there is none, and taken up again if deleted."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        database = database_of(uri)
        beside = None if database is None else (database.parent / "mlartifacts").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=beside))
        except Exception:
            # Another run may have made it in the meantime.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def database_of(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for a server or another data base.

    >>> database_of("sqlite:////srv/mlflow.db"), database_of("http://127.0.0.1:5000")
    (PosixPath('/srv/mlflow.db'), None)
    """
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    return Path(match[1]).resolve() if match else None


def store_name(uri: str) -> str:
    """Return a store's address as it may be written down: files with their whole path, servers without passwords.

    >>> store_name("https://me:secret@host:5000/x")
    'https://host:5000/x'
    """
    database = database_of(uri)
    if database is not None:
        return f"sqlite:///{database}"
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the talk of a first use (a page of migrations) and what SQLAlchemy deprecates in MLflow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*``noload`` loader strategy", category=DeprecationWarning)
        import mlflow  # noqa: F401  (it sets its own logging up when first imported)

        loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
        levels = [each.level for each in loggers]
        for each in loggers:
            each.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


def key_for(name: str) -> str:
    """Return the name with what MLflow does not allow in a key replaced by an underscore."""
    return re.sub(r"[^\w\-. /]", "_", name)[:KEY_LENGTH]


def text_of(value: Any) -> str:
    """Return a value as text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def first_line(error: Exception) -> str:
    """Return what an error says, cut to its first line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def milliseconds() -> int:
    """Return the time as MLflow counts it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000
