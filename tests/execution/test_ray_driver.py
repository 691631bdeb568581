"""What the driver of a cluster does, with a stand-in for Ray whose tasks say what a test wants."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agiqa_bench.errors import ConfigError
from agiqa_bench.execution.executors import cluster, model, ray_session
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import Task, TaskResult, tasks_of
from agiqa_bench.stopping import Terminated, stop_signals

ERRORS = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "ObjectLostError", "OutOfMemoryError",
          "TaskCancelledError", "RayTaskError", "RayError")  # fmt: skip

Script = Callable[[Task], Iterator[Any]]


class Stream:
    """What Ray gives for a task: its messages, one after the other. None stands for a while without one."""

    def __init__(self, messages: Iterator[Any]) -> None:
        self._messages, self.news = messages, None

    def has_news(self) -> bool:
        if self.news is None:
            try:
                self.news = next(self._messages)
            except Exception as error:  # noqa: BLE001 - the driver gets it
                self.news = error
        return self.news is not None

    def __next__(self) -> Any:
        news, self.news = self.news, None
        if isinstance(news, Exception):
            raise news
        return news


class StandIn:
    """Ray with one node of two CPUs; `look` is called whenever the driver waits."""

    def __init__(self, script: Script, look: Callable[[], None] = lambda: None) -> None:
        self.exceptions = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in ERRORS})
        self._script, self._look = script, look
        self.ended: list[Stream] = []
        self.waits: list[float | None] = []

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2}}]

    def remote(self, function: Any) -> Any:
        begin = SimpleNamespace(remote=lambda job, task, *more: Stream(self._script(task)))
        return SimpleNamespace(options=lambda **options: begin)

    def wait(self, streams: list[Stream], num_returns: int, timeout: float | None) -> tuple[list[Stream], None]:
        self.waits.append(timeout)
        time.sleep(0.005)
        self._look()
        return [stream for stream in streams if stream.has_news()], None

    def get(self, message: Any) -> Any:
        return message

    def cancel(self, stream: Stream, *, force: bool = False) -> None:
        assert force
        self.ended.append(stream)
        stream.news = self.exceptions.WorkerCrashedError()


@pytest.fixture
def results(plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`results(ray, cell_timeout)`: how the tasks of two repeats end."""
    for module in (cluster, model):
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    plan, store = plan_of("epochs", repeats=2), Store(tmp_path)
    store.prepare()

    def of(ray: StandIn, cell_timeout: float | None = None) -> Generator[TaskResult]:
        monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
        return cluster.Cluster(None, cell_timeout).results(plan, store, tasks_of(plan), Silent())

    return of


def done(task: Task) -> Iterator[Any]:
    yield "ready"
    yield TaskResult(task, 1, (), 0.0)


def hangs(task: Task) -> Iterator[Any]:
    yield "ready"
    while True:
        yield None


def tokens(folder: Path) -> list[Path]:
    return list(folder.glob(".ray*.tmp"))


def test_three_times_in_all_also_if_the_lock_of_the_lost_outlives_it(results: Any) -> None:
    begun: list[Task] = []

    def lost_and_then_taken(task: Task) -> Iterator[Any]:
        begun.append(task)
        assert len(begun) < 20
        if len(begun) % 2:
            raise ray.exceptions.NodeDiedError
        yield "ready"
        yield TaskResult(task, 0, (), 0.0, taken=True)

    ray = StandIn(lambda task: lost_and_then_taken(task) if task.repeats == (0,) else done(task))
    ends = {result.task.repeats: result.failures for result in results(ray)}
    assert ends[(1,)] == ()
    ((what, line),) = ends[(0,)]
    assert (what, line.split(" (")[0]) == ("repeat 0", "its worker or node was lost 3 times")
    assert len(begun) == 5, "lost, taken, lost, taken, lost"


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_second_sigterm_does_not_interrupt_the_cleaning_up(results: Any, tmp_path: Path) -> None:
    looks: list[bool] = []

    def terminate() -> None:
        looks.append(bool(tokens(tmp_path)))
        try:
            if len(looks) in (2, 3):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # Ray makes a plain one of what a handler raises

    def ends_when_told(task: Task) -> Iterator[Any]:
        yield "ready"
        while len(looks) < 4:
            yield None
        raise ray.exceptions.TaskCancelledError

    ray = StandIn(ends_when_told, terminate)
    with stop_signals(), pytest.raises(Terminated):
        list(results(ray))
    assert looks == [True, True, False, False], "nodes see that the token is gone, and are waited for"
    assert ray.ended == [], "both have ended by themselves"


def test_what_does_not_end_by_itself_is_ended_by_force(
    results: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cluster, "LAST_WORDS_SECONDS", 0.05)
    ray = StandIn(lambda task: hangs(task) if task.repeats == (1,) else done(task))
    running = results(ray)
    assert next(running).computed == 1
    running.close()
    assert len(ray.ended) == 1
    assert not tokens(tmp_path)


def test_a_node_ends_what_is_late_and_the_driver_does_where_the_node_does_not(
    results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LAST_WORDS_SECONDS", 0.05)
    ray = StandIn(lambda task: hangs(task) if task.repeats == (1,) else iter(["ready", "late"]))
    ends = [result.failures for result in results(ray, 0.05)]
    line = "took longer than --cell-timeout 0.05 seconds and was ended; give it more"
    assert ends == [(("repeat 0", line),), (("repeat 1", line),)]
    assert len(ray.ended) == 1


def test_the_token_of_a_long_run_stays_young(results: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second command in the folder deletes leftovers that are older than a day."""
    monkeypatch.setattr(cluster, "_REFRESH_SECONDS", 0.0)
    looks: list[int] = []

    def two_days_pass() -> None:
        Store(tmp_path).prepare()
        looks.append(len(tokens(tmp_path)))
        for token in tokens(tmp_path):
            os.utime(token, (token.stat().st_mtime - 2 * 24 * 3600,) * 2)

    def long(task: Task) -> Iterator[Any]:
        yield "ready"
        yield from [None] * 4
        yield TaskResult(task, 1, (), 0.0)

    ray = StandIn(long, two_days_pass)
    assert len(list(results(ray))) == 2
    assert looks == [1] * 6
    assert set(ray.waits) == {0.0}, "the driver wakes up in time"
    assert not tokens(tmp_path)


def test_an_address_where_nobody_listens_is_told_before_ray_tries_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ray = SimpleNamespace(is_initialized=lambda: False, init=lambda address, **options: asked.append(address),
                          shutdown=lambda: None, exceptions=SimpleNamespace(RayError=RuntimeError))  # fmt: skip
    monkeypatch.setattr(ray_session, "import_ray", lambda: ray)
    monkeypatch.setattr(ray_session, "_without_bulletins", nullcontext)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with ray_session.connected(address):
            assert asked == [address]
    with (
        pytest.raises(ConfigError, match=rf"^--ray-address {address}: nothing answers there \(Connection refused\); "),
        ray_session.connected(address),
    ):
        pass
    assert asked == [address]
    with ray_session.connected("auto"):
        assert asked == [address, "auto"]
