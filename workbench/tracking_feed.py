"""A process beside this one that imports MLflow and is told, line by line, what to send there."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from workbench.tracking_store import milliseconds

Call = list[Any]
"""Name, milliseconds since 1970, and arguments of what was told."""


class Feed:
    """Starts `python -m MODULE`, tells it calls as lines of JSON, and hears its answers.

    Its answers are lines like `{"run_id": "..."}`; `failure` ends the telling, `over` says that everything is done.
    Whoever tells never waits, but for `finish`. A process that ends before its time is a failure; of the first one
    `failed` is told the reason, from another thread.
    """

    def __init__(self, module: str, about: Mapping[str, str], failed: Callable[[str], None]) -> None:
        self.answers: dict[str, str] = {}
        self.failure: str | None = None
        self.process: subprocess.Popen[str] | None = None
        self._module = module
        self._about = dict(about)
        self._failed = failed
        # What is to be sent waits here and not in the pipe, which holds no more than 64 KiB; None is the end.
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def tell(self, name: str, *arguments: Any) -> None:
        """Pass a call on, once the process is started."""
        if self.failure is None:
            self._calls.put([name, milliseconds(), *arguments])

    def start(self) -> None:
        """Start the process, if that has not happened."""
        if self.process is not None or self.failure is not None:
            return
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module, json.dumps(self._about)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is meant for whoever computes, and that one ends MLflow's run in its own time.
                start_new_session=True,
            )
        except OSError as error:
            self._fail(str(error))
            return
        for work in (self._write, self._listen):
            thread = threading.Thread(
                target=work, args=(self.process,), name="workbench tracking", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def finish(self) -> None:
        """Tell that nothing follows, and wait until the process has sent everything."""
        self.start()
        self._calls.put(None)
        for thread in self._threads:
            thread.join()
        if self.process is not None:
            self.process.wait()

    def _write(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                while (call := self._calls.get()) is not None:
                    pipe.write(json.dumps(call) + "\n")
                    pipe.flush()
        except OSError:
            # It ended before its time; `_listen` says so.
            pass

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            for line in pipe:
                answer = json.loads(line)
                self.answers |= answer
                if "failure" in answer:
                    self._fail(answer["failure"])
        if "over" not in self.answers and self.failure is None:
            self._fail(f"its process ended with code {process.wait()}")

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._failed(reason)


class Answers:
    """What a fed process answers: each thing once."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._told: set[str] = set()

    def tell(self, name: str, value: str | None) -> None:
        """Answer, unless there is nothing to answer yet or that has been answered."""
        if value is not None and name not in self._told:
            self._told.add(name)
            self._stream.write(json.dumps({name: value}) + "\n")
            self._stream.flush()


def serve_standard_input(serve: Callable[[Mapping[str, str], IO[str], Answers], None]) -> None:
    """Be the fed process: `serve(about, calls, answers)` with what the command line and the pipes hold."""
    # What libraries print goes to standard error: standard output holds the answers.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with open(0, encoding="utf-8", closefd=False) as calls, stream:
        serve(json.loads(sys.argv[1]), calls, Answers(stream))
