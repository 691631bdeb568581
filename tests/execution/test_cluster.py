"""Ray: two simulated nodes give the table of one process, whatever is lost; what a node must share and says."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agiqa_bench.errors import AgiqaError, ConfigError
from agiqa_bench.execution.executors import node
from agiqa_bench.execution.executors.cluster import Cluster, _job
from agiqa_bench.execution.inputs import store_inputs
from agiqa_bench.execution.plan import Plan
from agiqa_bench.execution.planning import make_plan
from agiqa_bench.execution.progress import Silent
from agiqa_bench.execution.request import RunRequest
from agiqa_bench.execution.runner import Outcome, run
from agiqa_bench.execution.store import Store
from agiqa_bench.execution.tasks import tasks_of
from agiqa_bench.plugins import load_plugin
from agiqa_bench.reporting.files import write_run_tables
from agiqa_bench.reporting.results import read_results
from agiqa_bench.stopping import stop_signals

FAULTY = """
import os, signal, subprocess, time
from pathlib import Path

import numpy as np
from agiqa_bench import Method
from agiqa_bench.stopping import unbroken

FOLDER = Path({folder!r})


def asked(what, method):
    with (FOLDER / "log").open("a") as log:
        log.write(f"{{method.context.repeat}}\\n")
    return (FOLDER / f"{{what}}-{{method.context.repeat}}").exists()


class Faulty(Method):
    name = title = "faulty"
    targets = ("*",)
    uses_images = False

    def fit(self, train, validation=None):
        if asked("dies", self):
            os._exit(9)
        if asked("hangs", self):
            sleeps = f"sleep 600 & echo $! > {{FOLDER}}/sleeper; wait"
            child = subprocess.Popen(["sh", "-c", sleeps], start_new_session=True)
            try:
                child.wait()
            finally:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if os.environ.get("EXAMPLE_NODE") == "doomed":
            (FOLDER / "begun").touch()
            time.sleep(600)
        if asked("stops", self):
            with unbroken():
                os.kill(int((FOLDER / "driver").read_text()), signal.SIGINT)
                time.sleep(1.5)
                (FOLDER / "finished").touch()
        self.mean = train.mos.mean()
        return self

    def predict(self, samples):
        noise = np.random.normal(size=len(samples))
        return [len(name) + self.mean + x for name, x in zip(samples.names, noise)]
"""


class Nodes:
    """A Ray cluster of simulated nodes with one CPU each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Simulated

        self.cluster = Simulated(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, **environment: str) -> Any:
        return self.cluster.add_node(num_cpus=1, env_vars=environment)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'agiqa-bench[ray]'")
    started = Nodes()
    yield started
    started.cluster.shutdown()


@pytest.fixture
def plan(rated_table: Path, fresh_registries: None, tmp_path: Path) -> Plan:
    """Four repeats of a method that does what files in the test's folder say."""
    plugin = tmp_path / "faulty.py"
    plugin.write_text(FAULTY.format(folder=str(tmp_path)), encoding="utf-8")
    load_plugin(plugin)
    request = RunRequest(
        dataset=str(rated_table), methods=("faulty",), annotations_only=True, repeats=4, plugins=(plugin,)
    )
    return make_plan(request)


def ran(plan: Plan, folder: Path, executor: Cluster | None = None) -> Outcome:
    store = Store(folder)
    store.prepare()
    store_inputs(plan, store)
    for cell in (cell for method in plan.methods for cell in method.cells):
        cell.result = None
    plan.find_results(store)
    with stop_signals():
        return run(plan, store, Silent(), executor)


def table(folder: Path) -> bytes:
    write_run_tables(read_results(Store(folder)), folder)
    return (folder / "table.csv").read_bytes()


@pytest.fixture
def sleeper_has_ended(ended: Callable[[int], bool], tmp_path: Path) -> Callable[[], bool]:
    """Whether the process is gone, soon, that `hangs` starts."""
    return lambda: ended(int((tmp_path / "sleeper").read_text()))


def failures(folder: Path) -> list[tuple[str, str]]:
    files = sorted(folder.glob("failures/*/*.json"))
    return [(file.name[:2], json.loads(file.read_text())["error"]) for file in files]


@pytest.mark.slow
def test_two_nodes_give_the_table_of_one_process(
    nodes: Nodes, rated_table: Path, example_methods: Path, fresh_registries: None, tmp_path: Path
) -> None:
    for number, line in enumerate(rated_table.read_text().splitlines()[1:]):
        Image.new("RGB", (32, 32), (4 * number, 255 - number, 90)).save(tmp_path / line.split(",")[0])
    load_plugin(example_methods)
    methods = ("name_length", "epochs", "brightness", "generator_mean")
    request = RunRequest(dataset=str(rated_table), methods=methods, repeats=3, plugins=(example_methods,))
    local, remote = (
        ran(make_plan(request), tmp_path / "local"),
        ran(make_plan(request), tmp_path / "ray", Cluster(nodes.address, None)),
    )
    assert (remote.computed, remote.failures) == (local.computed, []) == (12, [])
    assert table(tmp_path / "ray") == table(tmp_path / "local")
    assert not list((tmp_path / "ray").glob(".*")), "the token is gone"


@pytest.mark.slow
def test_a_node_that_is_lost_changes_nothing(nodes: Nodes, plan: Plan, tmp_path: Path) -> None:
    doomed = nodes.add(EXAMPLE_NODE="doomed")

    def kill() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.1)
        nodes.cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    outcome = ran(plan, tmp_path / "ray", Cluster(nodes.address, None))
    killer.join()
    assert (outcome.computed + outcome.reused, outcome.failures) == (4, [])
    ran(plan, tmp_path / "local")
    assert table(tmp_path / "ray") == table(tmp_path / "local")


@pytest.mark.slow
def test_a_task_is_begun_three_times_and_what_hangs_is_ended(
    nodes: Nodes, plan: Plan, tmp_path: Path, sleeper_has_ended: Callable[[], bool]
) -> None:
    (tmp_path / "dies-1").touch()
    (tmp_path / "hangs-2").touch()
    outcome = ran(plan, tmp_path / "ray", Cluster(nodes.address, 20.0))
    assert (outcome.computed, len(outcome.failures)) == (2, 2)
    assert failures(tmp_path / "ray") == [("01", "WorkerDied"), ("02", "CellTimeout")]
    lines = {what: line for _, what, line in outcome.failures}
    assert lines["repeat 1"].startswith("its worker or node was lost 3 times (out of memory?): ")
    assert lines["repeat 2"] == "took longer than --cell-timeout 20 seconds and was ended; give it more"
    begun = (tmp_path / "log").read_text().split()
    assert begun.count("1") == 3
    assert sleeper_has_ended()
    for file in ("dies-1", "hangs-2"):
        (tmp_path / file).unlink()
    outcome = ran(plan, tmp_path / "ray", Cluster(nodes.address, None))
    assert (outcome.computed, outcome.reused, outcome.failures) == (2, 2, [])
    assert failures(tmp_path / "ray") == []


@pytest.mark.slow
def test_ctrl_c_waits_for_the_epoch_under_way(nodes: Nodes, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "driver").write_text(str(os.getpid()))
    (tmp_path / "stops-0").touch()  # another one's Ctrl-C would be the second
    outcome = ran(plan, tmp_path / "ray", Cluster(nodes.address, None))
    assert outcome.interrupted
    assert not outcome.terminated
    assert (tmp_path / "finished").exists()
    assert not list((tmp_path / "ray").glob(".*"))


@pytest.mark.slow
def test_sigterm_ends_what_a_method_has_started_in_a_session_of_its_own(
    nodes: Nodes, plan: Plan, tmp_path: Path, sleeper_has_ended: Callable[[], bool]
) -> None:
    (tmp_path / "hangs-0").touch()

    def stop() -> None:
        while not (tmp_path / "sleeper").exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    outcome = ran(plan, tmp_path / "ray", Cluster(nodes.address, None))
    stopper.join()
    assert outcome.terminated
    assert sleeper_has_ended()
    assert not list((tmp_path / "ray").glob(".*"))


@pytest.mark.slow
def test_a_node_that_would_compute_something_else_ends_the_run(nodes: Nodes, plan: Plan, tmp_path: Path) -> None:
    for cell in plan.methods[0].cells:
        cell.components |= {"images": "others", "code": "older"}
    with pytest.raises(AgiqaError, match=r"^node .+: differs from this machine in code, images: give both the same"):
        ran(plan, tmp_path / "ray", Cluster(nodes.address, None))
    assert not (tmp_path / "log").exists(), "nothing was computed"


def told(plan: Plan, folder: Path, seconds: float | None = None, **changes: Any) -> list[node.Message]:
    """What a node says to the plan's first task, in this process; the token is `folder`/token-*."""
    store = Store(folder)
    store.prepare()
    token = store.root / f"token-{time.monotonic_ns()}"
    token.touch()
    (task, *_), (method,) = tasks_of(plan), plan.methods
    components = {cell.repeat: cell.components for cell in method.cells if cell.repeat in task.repeats}
    job = replace(_job(plan, store, token.name, "cpu"), **changes)
    return list(node.compute(job, task, components, seconds))


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_node_ends_a_task_that_is_late_with_all_that_it_has_started(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper_has_ended: Callable[[], bool]
) -> None:
    (tmp_path / "hangs-0").touch()
    assert told(plan, tmp_path / "out", 1.0) == ["ready", "late"]
    assert sleeper_has_ended()
    monkeypatch.setattr(node, "_LOOK_SECONDS", 0.05)
    (tmp_path / "sleeper").unlink()

    def end() -> None:
        while not (tmp_path / "sleeper").exists():
            time.sleep(0.02)
        for token in (tmp_path / "out").glob("token-*"):
            token.unlink()

    driver = threading.Thread(target=end, daemon=True)
    driver.start()
    assert told(plan, tmp_path / "out") == ["ready"]
    driver.join()
    assert sleeper_has_ended()
    assert list((tmp_path / "out").glob("failures/*/*")) == []
    (tmp_path / "hangs-0").unlink()
    _, result = told(plan, tmp_path / "out", 60.0)
    assert isinstance(result, node.TaskResult)
    assert result.computed == 1


def test_a_node_without_the_output_folder_says_where_to_put_it(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_VISIBLE_SECONDS", 0.0)
    (error,) = told(plan, tmp_path / "out", output=tmp_path / "elsewhere")
    assert str(error).startswith(f"node {os.uname().nodename}: cannot see the output folder {tmp_path}/elsewhere")
    assert "put --output on a file system that all nodes share, or run --shard I/N" in str(error)


def test_data_of_the_node_come_first_and_those_of_the_command_when_they_differ(
    rated_table: Path, example_methods: Path, fresh_registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, theirs, name = tmp_path / "own", tmp_path / "theirs", "brightness"
    for folder, blue in ((own, 10), (theirs, 200)):
        folder.mkdir()
        for number, line in enumerate(rated_table.read_text().splitlines()[1:]):
            Image.new("RGB", (16, 16), (4 * number, 0, blue)).save(folder / line.split(",")[0])
    load_plugin(example_methods)
    monkeypatch.setenv("AGIQA_DATA", str(theirs))
    plan = make_plan(RunRequest(dataset=str(rated_table), methods=(name,), repeats=2, data_root=theirs))
    plan.request = plan.request.model_copy(update={"data_root": None})
    monkeypatch.setenv("AGIQA_DATA", str(own))
    monkeypatch.chdir(tmp_path)
    ready, result = told(plan, tmp_path / "out", data_root=theirs)
    assert ready == "ready"
    assert isinstance(result, node.TaskResult)
    assert (result.computed, result.failures) == (2, ())
    (error,) = told(plan, tmp_path / "other", data_root=own)
    assert "differs from this machine in images: give both the same data" in str(error)


def test_a_plugin_that_is_not_on_the_node_is_brought_along(plan: Plan, tmp_path: Path) -> None:
    (file,) = plan.request.plugins
    content = file.read_bytes()
    assert node._file_with(file, content, 0) == file
    file.write_text("another")
    copy = node._file_with(file, content, 0)
    assert copy != file
    assert (copy.name, copy.read_bytes()) == (file.name, content)


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^--executor ray: .*; install it with: pip install 'agiqa-bench\[ray\]'$"):
        Cluster(None, None)


def test_ray_s_own_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="run this command on a node of the cluster, with --ray-address auto"):
        Cluster("ray://head:10001", None)
