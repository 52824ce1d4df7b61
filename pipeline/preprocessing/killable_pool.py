"""Processes that work through tasks and may be killed: by a bad file's time, memory or crash."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a task gave no result."""

    kind: str  # "timeout", "memory", "crash", or what the error's class says in `kind`
    reason: str


@dataclass(frozen=True)
class Limits:
    """What one task may use."""

    seconds: float = 60.0
    memory_gib: float = 2.0  # address space of a worker, its libraries included


class ParsePool(Generic[Task, Result]):
    """Workers, each a process of its own, that turn tasks into results.

    A task that raises ValueError or OSError fails with that reason; one that takes too long, too
    much memory or its process down fails too, and a new worker takes the place of the lost one.

    Workers come from a fork server that has the named modules loaded and never had TensorFlow, so
    that a new one costs milliseconds and is safe whatever threads the parent runs. They stay for
    the next `run`, until `close`. A pool that is sent to another process makes its own there.
    """

    def __init__(
        self,
        work: Callable[[Task], Result],
        num_processes: int,
        limits: Limits,
        preload: Iterable[str] = (),
    ) -> None:
        if num_processes < 1:
            raise ValueError(f"{num_processes} processes; at least 1 is needed")
        if limits.seconds <= 0 or limits.memory_gib <= 0:
            raise ValueError(f"the limits of time and memory must be positive, not {limits}")
        self._work, self.num_processes, self._limits = work, num_processes, limits
        self._preload = list(preload)
        self._idle: list[_Worker] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return ParsePool, (self._work, self.num_processes, self._limits, self._preload)

    def __enter__(self) -> ParsePool[Task, Result]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        while self._idle:
            self._idle.pop().kill()

    def _new_worker(self) -> _Worker:
        context = multiprocessing.get_context("forkserver")
        # Not of our own: the fork server finds those of the folder it is started in, or of another
        # checkout that is installed. A worker looks where this process does.
        own = f"{__package__.partition('.')[0]}."
        context.set_forkserver_preload([name for name in self._preload if not name.startswith(own)])
        return _Worker(context, self._work, self._limits, self._preload)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        """Each task with its result or failure, as they are done: in no order to rely on."""
        waiting = iter(tasks)
        busy: dict[Connection, tuple[_Worker, Task]] = {}
        try:
            while True:
                while len(busy) < self.num_processes:
                    try:
                        task = next(waiting)
                    except StopIteration:
                        break
                    worker = self._idle.pop() if self._idle else self._new_worker()
                    worker.start(task)
                    busy[worker.connection] = (worker, task)
                if not busy:
                    return
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker, task = busy.pop(connection)
                    outcome, is_usable = worker.finish()
                    if is_usable:
                        self._idle.append(worker)
                    yield task, outcome
        finally:
            for worker, _ in busy.values():
                worker.kill()


class _Worker:
    """The parent's side of a worker process."""

    def __init__(
        self, context: Any, work: Callable[[Any], Any], limits: Limits, preload: list[str]
    ) -> None:
        self.connection, theirs = context.Pipe()
        self._limits = limits
        self._process = context.Process(
            target=_serve, args=(theirs, work, limits, preload), daemon=True
        )
        self._process.start()
        theirs.close()  # else the end of the worker would not be seen here

    def start(self, task: Any) -> None:
        with suppress(BrokenPipeError):  # it died while idle: finish() says how
            self.connection.send(task)

    def finish(self) -> tuple[Any, bool]:
        """The result or failure of the task, and whether the worker can take another."""
        try:
            outcome, is_usable = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            outcome, is_usable = self._cause_of_death(self._process.exitcode), False
        if not is_usable:
            self.kill()
        return outcome, is_usable

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _cause_of_death(self, exit_code: int) -> Failure:
        if exit_code == -signal.SIGALRM:
            return Failure("timeout", f"took more than {self._limits.seconds:g} seconds")
        if exit_code == -signal.SIGKILL:
            return Failure("memory", "killed by the system, most likely for lack of memory")
        if exit_code < 0:
            return Failure("crash", f"its reader died of {signal.Signals(-exit_code).name}")
        return Failure("crash", f"its reader ended with exit code {exit_code}")


def _serve(
    connection: Connection, work: Callable[[Any], Any], limits: Limits, preload: list[str]
) -> None:
    """The worker's side: tasks in, results out, until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # The alarm's default action ends the process inside any C code too, and needs no parent: a
    # worker that hangs while its parent is killed does not stay behind.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for module in preload:  # where the fork server could not: no file's time pays for it
        importlib.import_module(module)
    max_bytes = int(limits.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, limits.seconds)
        outcome, is_usable = _attempt(work, task, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            connection.send((outcome, is_usable))
        except BrokenPipeError:
            return
        if not is_usable:
            os._exit(0)


def _attempt(work: Callable[[Any], Any], task: Any, limits: Limits) -> tuple[Any, bool]:
    """The outcome of a task, and whether this process is fit for another one."""
    try:
        return work(task), True
    except MemoryError:
        return Failure("memory", f"needs more than {limits.memory_gib:g} GiB of memory"), False
    except RecursionError:
        return Failure("unreadable", "nested too deeply"), False
    except OSError as error:  # without the path, which differs from host to host
        return Failure("unreadable", error.strerror or str(error)), True
    except ValueError as error:
        return Failure(getattr(error, "kind", "unreadable"), " ".join(str(error).split())), True
