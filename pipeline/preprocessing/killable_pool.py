"""A pool of processes in which a task that takes too long, too much memory or crashes is killed."""

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

# A task may take this many times its limit of processor time until it is done: far more than a
# busy machine makes of it, and an end for a reader that only waits.
WALL_TIMES = 20


@dataclass(frozen=True)
class Failure:
    """The reason why a task has no result."""

    kind: str  # "timeout", "memory", "crash", or the attribute `kind` of the error's class
    reason: str
    # Of a score, where they are known: the notes counted in it, and another number that was read.
    notes_read: int | None = None
    notes_by_reader: int | None = None


@dataclass(frozen=True)
class Limits:
    """The most that one task may use."""

    seconds: float = 60.0  # of processor time, so that a busy machine rejects the same files
    memory_gib: float = 2.0  # address space of a worker, its libraries included

    @property
    def wall_seconds(self) -> float:
        """Seconds after which a task is killed, however little processor time it took."""
        return WALL_TIMES * self.seconds


class ParsePool(Generic[Task, Result]):
    """Pool of worker processes that turn tasks into results.

    A task that raises ValueError or OSError fails with that reason. A task fails too if it takes
    too long, needs too much memory or ends its process; a new worker then replaces the lost one.

    Workers are forked from a server that has loaded the modules named in `preload` but never
    TensorFlow: so a new worker costs milliseconds and is safe whatever threads the parent runs.
    Workers live on for the next `run`, until `close`. A copy of a pool that is sent to another
    process starts its own workers there.
    """

    # By hand and not pebble.ProcessPool (5.2.3): that limits wall time only, by the parent's clock,
    # and has no limit of processor time or memory; a worker that hangs outlives a killed parent.

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
        """Kill the idle workers."""
        while self._idle:
            self._idle.pop().kill()

    def _new_worker(self) -> _Worker:
        context = multiprocessing.get_context("forkserver")
        # No modules of our own: the fork server would import them from the folder it is started in,
        # or from another checkout that is installed. A worker has the sys.path of this process.
        own = f"{__package__.partition('.')[0]}."
        context.set_forkserver_preload([name for name in self._preload if not name.startswith(own)])
        return _Worker(context, self._work, self._limits, self._preload)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result | Failure]]:
        """Yield each task with its result or failure, in the order in which they are done."""
        waiting = iter(tasks)
        busy: dict[Connection, tuple[_Worker, Task]] = {}
        try:
            while True:
                # Give every free worker a task.
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

                # Wait for the first results.
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
        theirs.close()  # else no end of file would show that the worker has died

    def start(self, task: Any) -> None:
        with suppress(BrokenPipeError):  # it died while idle: finish() returns the reason
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
        limits = self._limits
        if exit_code == -signal.SIGPROF:
            reason = f"took more than {limits.seconds:g} seconds of processor time"
            return Failure("timeout", reason)
        if exit_code == -signal.SIGALRM:
            reason = f"was not done after {limits.wall_seconds:g} seconds, nearly all of them"
            return Failure("timeout", f"{reason} spent waiting")
        if exit_code == -signal.SIGKILL:
            return Failure("memory", "killed by the system, most likely for lack of memory")
        if exit_code < 0:
            return Failure("crash", f"its reader died of {signal.Signals(-exit_code).name}")
        return Failure("crash", f"its reader ended with exit code {exit_code}")


def _serve(
    connection: Connection, work: Callable[[Any], Any], limits: Limits, preload: list[str]
) -> None:
    """Turn tasks into results until the parent closes the pipe or has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # The default action of both alarms ends the process, inside C code too and without a parent: a
    # worker that hangs while its parent is killed does not stay behind.
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for module in preload:  # those that the fork server did not load; before any file's time
        importlib.import_module(module)
    max_bytes = int(limits.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        # Processor time of this process and its threads; readers start no other processes.
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
        signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
        outcome, is_usable = _attempt(work, task, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            connection.send((outcome, is_usable))
        except BrokenPipeError:
            return
        if not is_usable:
            os._exit(0)


def _attempt(work: Callable[[Any], Any], task: Any, limits: Limits) -> tuple[Any, bool]:
    """The outcome of a task, and whether this process can take another one."""
    try:
        return work(task), True
    except MemoryError:
        return Failure("memory", f"needs more than {limits.memory_gib:g} GiB of memory"), False
    except RecursionError:
        return Failure("unreadable", "nested too deeply"), False
    except OSError as error:  # without the path, which differs from host to host
        return Failure("unreadable", error.strerror or str(error)), True
    except ValueError as error:
        counts = (getattr(error, name, None) for name in ("notes_read", "notes_by_reader"))
        kind = getattr(error, "kind", "unreadable")
        return Failure(kind, " ".join(str(error).split()), *counts), True
