"""What a cluster is given, without one: order, places, priority, retries; and who is left out. The engine itself:
`tests/integration/test_dask_cluster.py`."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from distributed import KilledWorker

from benchmark.config import compose
from benchmark.execution import cluster, cluster_worker
from benchmark.execution.cluster import Cluster, connect
from benchmark.execution.cluster_places import Place, Places
from benchmark.execution.cluster_worker import Order, ProcessDied, make, take_ordered, threads_of_stage
from benchmark.execution.making import Maker
from benchmark.execution.tasks import Outcome, Task, run_tasks
from benchmark.failures import ConfigError
from benchmark.planning.plan import Plan, make_plan
from datasets.base import DataError
from datasets.files.cores import usable_cores
from results.io import read_run
from tests.helpers.toys import CommandLine, Toy
from tests.integration.test_signals import Trained

ADDRESS = "tcp://10.0.0.1:8786"


class Future:
    """Its task is done, or its failure told, when somebody asks to be called."""

    def __init__(self, do: Callable[[], Outcome | Exception | None]) -> None:
        self._do, self.status = do, "pending"

    def add_done_callback(self, done: Callable[[Future], None]) -> None:
        self._found = self._do()
        if self._found is not None:
            self.status = "error" if isinstance(self._found, Exception) else "finished"
            done(self)

    def exception(self) -> Any:
        return self._found

    def result(self, timeout: float) -> Any:
        return self._found

    def cancel(self) -> None:
        self.status = "cancelled"


class Scheduler:
    """In the place of Dask's client: does what is submitted in this process, at once.

    outcome: in place of doing a task; None leaves it running
    """

    def __init__(self, outcome: Callable[[Task], Outcome | Exception | None] | None = None) -> None:
        self.status = "running"
        self.workers = {"one": {"nthreads": 1, "resources": {}}, "two": {"nthreads": 1, "resources": {}}}
        self.unfit: dict[str, Any] = {}
        self.submitted: list[tuple[Task, dict[str, Any]]] = []
        self.cancelled: list[Future] = []
        self._outcome = outcome

    def subscribe_topic(self, topic: str, hear: Callable[[tuple[float, Any]], None]) -> None:
        self.hear = hear

    @property
    def scheduler(self) -> Scheduler:
        return self

    def identity(self, n_workers: int) -> dict[str, Any]:
        return {"workers": dict(self.workers)}

    def sync(self, function: Callable[..., Any], **arguments: Any) -> Any:
        return function(**arguments)

    def run(self, function: Any, order: Order, workers: list[str], on_error: str) -> dict[str, Any]:
        assert order.plan.exists()
        return {name: self.unfit.get(name, "") for name in workers}

    def wait_for_workers(self, count: int, timeout: float) -> None:
        self.workers["late"] = {"nthreads": 1, "resources": {}}

    def submit(self, function: Any, order: Order, task: Task, **options: Any) -> Future:
        assert function is make
        self.submitted.append((task, options))
        if self._outcome is not None:
            outcome = self._outcome
            return Future(lambda: outcome(task))
        plan = cluster_worker.pickle.loads(order.plan.read_bytes())
        self.hear((0.0, (task.name, ("print", f"working on {task.name}"))))
        return Future(lambda: Maker(plan).do(task))

    def cancel(self, futures: list[Future]) -> None:
        self.cancelled += futures

    def close(self, timeout: float) -> None:
        self.status = "closed"


@pytest.fixture
def planned(tmp_path: Path, generated: Path, third_party: Any) -> Callable[..., Plan]:
    """Plans two toys, the first of which trains before it yields labels."""
    third_party(Trained("trains"), Toy("fills"))

    def plan(*settings: str) -> Plan:
        data = ["dataset.train=6", "dataset.val=2", f"dataset.root={generated}"]
        store = f"runtime.store={tmp_path / 'store'}"
        return make_plan(compose(["trains", "fills"], "shapes", overrides=[*data, store, *settings]), [0])

    return plan


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scheduler]:
    def put(outcome: Any = None) -> Scheduler:
        found = Scheduler(outcome)
        monkeypatch.setattr(cluster, "connect", lambda address: found)
        monkeypatch.setattr(cluster, "POLL", 0.0)
        monkeypatch.setattr(cluster, "REFRESH", 0.0)
        return found

    return put


def tasks_of(plan: Plan) -> dict[str, Task]:
    """By what is said of them."""
    return {task.title.removeprefix("stage "): task for n in range(2) for task in run_tasks(plan, n)}


def begun(plan: Plan) -> Iterator[tuple[Cluster, dict[str, Task]]]:
    with Cluster(plan, ADDRESS, lambda *losses: None, lambda task: 7.0 + task.stage) as found:
        yield found, tasks_of(plan)


def test_a_run_on_workers_is_that_of_one_process(command_line, third_party, scheduler, tmp_path):
    third_party(Trained("trains"), Toy("fills"), Toy("same"), Toy("fails", "tests.helpers.toys:explode"))
    here = CommandLine(tmp_path / "here", command_line.data)
    arguments = ("trains,fills,same,fails", "method.fails.value=1")
    assert here.run(*arguments).code == 1
    given = scheduler()
    done = command_line.run(*arguments, "--scheduler", ADDRESS)
    assert done.code == 1, done.err
    assert f"2 workers of {ADDRESS}: 2 stages at once" in done.out
    records = [read_run(each.output).records for each in (here, command_line)]
    alike = [frame[frame.metric == "miou"].reset_index(drop=True) for frame in records]
    assert len(alike[0])
    assert alike[0].equals(alike[1])
    reasons = [{run["reason"] for run in read_run(each.output).runs} for each in (here, command_line)]
    assert reasons[0] == reasons[1]
    names = [task.name for task, _ in given.submitted]
    assert len(names) == len(set(names))  # what two share is made once
    for number, (task, _) in enumerate(given.submitted):
        assert set(task.needs) <= set(names[:number])  # after what it needs
        assert f"working on {task.name}" in done.out
    assert given.status == "closed"
    assert not list((command_line.store / "plans").iterdir())
    given.status = "running"
    again = command_line.run(*arguments, "--scheduler", ADDRESS)
    assert again.code == 1
    assert {task.title for task, _ in given.submitted[len(names) :]} == {"stage labels"}  # what had failed


def test_tasks_go_to_fit_workers_with_priority_and_retries(planned, scheduler):
    given = scheduler(lambda task: None)
    given.unfit["two"] = "it has torch 1.0; install the same"
    for running, tasks in begun(planned()):
        assert running.takes(tasks["weights"])
        running.begin(tasks["weights"])
        assert not running.takes(tasks["labels"])  # it has one stage at a time
    ((task, options),) = given.submitted
    assert task is tasks["weights"]
    assert options["workers"] == ["one"]
    assert (options["priority"], options["retries"], options["resources"]) == (7.0, cluster.RETRIES, None)
    assert options["key"].startswith(task.name)


def test_workers_that_are_left_out_are_named_once(planned, scheduler, capsys):
    given = scheduler(lambda task: None)
    given.unfit = {
        "one": "it has torch 1.0; install the same",
        "two": ImportError("No module named 'benchmark'"),
    }
    with pytest.raises(ConfigError, match=r"no worker of tcp://10.0.0.1:8786 can be used"):
        next(begun(planned()))
    said = capsys.readouterr().out
    assert said.count("worker one is left out: it has torch 1.0; install the same\n") == 1
    assert "worker two is left out: ImportError: No module named 'benchmark'; install there" in said
    assert given.status == "closed"


def test_the_first_worker_is_waited_for(planned, scheduler, capsys):
    given = scheduler(lambda task: None)
    given.workers.clear()
    for running, tasks in begun(planned()):
        running.begin(tasks["weights"])
    assert given.submitted[0][1]["workers"] == ["late"]
    assert f"waiting for workers of {ADDRESS}" in capsys.readouterr().out


def test_without_a_worker_it_ends_after_a_while(planned, scheduler, monkeypatch):
    given = scheduler()
    given.workers.clear()
    monkeypatch.setattr(given, "wait_for_workers", lambda count, timeout: None)
    monkeypatch.setattr(cluster, "PATIENCE", -1.0)
    with pytest.raises(
        ConfigError,
        match=r"start some: dask worker --preload wsss_benchmark --no-nanny --nthreads 1 tcp://10.0.0.1:8786",
    ):
        next(begun(planned()))


def test_what_all_workers_took_along_is_given_to_one_that_comes(planned, scheduler, capsys):
    given = scheduler(lambda task: None)
    for running, tasks in begun(planned()):
        running.begin(tasks["weights"])
        given.workers.clear()
        assert list(running.ended()) == []
        assert len(given.submitted) == 1
        given.workers["new"] = {"nthreads": 1, "resources": {}}
        assert list(running.ended()) == []
        assert [options["workers"] for _, options in given.submitted] == [["one", "two"], ["new"]]
        assert not running.takes(tasks["labels"])  # the one that is lost takes no room
    said = capsys.readouterr().out
    assert "worker one is gone" in said
    assert "no worker is left; waiting for one: dask worker" in said
    assert "worker new takes part" in said


@pytest.mark.parametrize("error", [ProcessDied(), KilledWorker("task", None, 4)])
def test_what_kills_every_process_is_a_failure_with_a_remedy(planned, scheduler, error):
    scheduler(lambda task: error)
    for running, tasks in begun(planned()):
        running.begin(tasks["weights"])
        ((task, outcome),) = running.ended()
        assert task is tasks["weights"]
        assert "run the same command again" in outcome.failure
        assert running.takes(task)


def test_a_scheduler_that_goes_away_is_one_line(planned, scheduler):
    given = scheduler(lambda task: None)
    for running, tasks in begun(planned()):
        running.begin(tasks["weights"])
        given.status = "connecting"
        with pytest.raises(
            ConfigError, match=r"is gone; everything finished is stored: .* the same command again"
        ):
            list(running.ended())
    assert given.cancelled == []  # there is nobody to tell


def test_an_interrupt_cancels_what_runs(planned, scheduler):
    given = scheduler(lambda task: None)
    plan = planned()
    running = Cluster(plan, ADDRESS, lambda *losses: None).__enter__()
    running.begin(tasks_of(plan)["weights"])
    running.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert len(given.cancelled) == 1
    assert given.status == "closed"
    assert not list((plan.store.root / "plans").iterdir())


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", set()),
        ("auto", {"0 weights", "0 labels"}),  # the second is handed the first's network
        ("cuda", {"0 weights", "0 labels", "1 labels"}),
    ],
)
def test_networks_are_for_workers_with_a_gpu(planned, scheduler, device, expected):
    plan = planned(f"runtime.device={device}")
    given = scheduler(lambda task: None)
    given.workers["two"]["resources"] = {"GPU": 1.0}
    tasks = [task for number in range(2) for task in run_tasks(plan, number)]
    with Cluster(plan, ADDRESS, lambda *losses: None) as running:
        for task in tasks:
            running.begin(task)
    asked = [(task, options) for task, options in given.submitted if options["resources"] == {"GPU": 1}]
    assert {f"{task.run} {task.title.removeprefix('stage ')}" for task, _ in asked} == expected
    assert all(options["workers"] == ["two"] for _, options in asked)
    assert len(given.submitted) == len(tasks) == 5


def test_what_needs_a_gpu_waits_for_one_that_comes_again(planned, scheduler, capsys):
    given = scheduler(lambda task: None)
    given.workers["two"]["resources"] = {"GPU": 1}
    for running, tasks in begun(planned()):
        running.begin(tasks["weights"])
        del given.workers["two"]
        list(running.ended())
        assert len(given.submitted) == 1
        assert running.takes(tasks["labels"])  # which needs none
        given.workers["new"] = {"nthreads": 1, "resources": {"GPU": 1}}
        list(running.ended())
    assert given.submitted[-1][1]["workers"] == ["new"]
    assert "no worker with a GPU is left; waiting for one" in capsys.readouterr().out


def test_what_needs_no_gpu_leaves_those_alone_while_others_are_free():
    places = Places({"gpu": Place(1, 1), "cpu": Place(2)})
    assert places.candidates(True) == ["gpu"]
    assert places.candidates(False) == ["cpu"]
    places.others = 2
    assert places.has_room(True)
    assert places.has_room(False)
    assert places.candidates(False) == ["gpu", "cpu"]
    places.others = 3  # one of them is on the GPU's
    assert not places.has_room(True)
    assert not places.has_room(False)


def test_a_worker_with_more_threads_than_gpus_keeps_the_others_busy():
    places = Places({"both": Place(4, 1)}, with_device=1)
    assert not places.has_room(True)
    assert places.has_room(False)
    assert places.candidates(False) == ["both"]


def test_no_scheduler_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"none.json: No such file .*`dask scheduler --scheduler-file "):
        connect(str(tmp_path / "none.json"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="no file of a Dask scheduler"):
        connect(str(other))
    with socket.socket() as held:  # nobody listens there
        held.bind(("127.0.0.1", 0))
        monkeypatch.setattr(cluster, "CONNECT", 0.2)
        with pytest.raises(ConfigError, match="no Dask scheduler answers at"):
            connect(f"127.0.0.1:{held.getsockname()[1]}")


def test_dask_is_asked_for_by_name(command_line, third_party, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "distributed" else found(name)
    )
    third_party(Toy("toy"))
    done = command_line.run("toy", "--scheduler", ADDRESS)
    assert (done.code, done.err) == (
        2,
        "error: --scheduler needs the package distributed; pip install distributed\n",
    )


def test_torchrun_and_a_cluster_exclude_each_other(command_line, third_party, monkeypatch):
    third_party(Toy("toy"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = command_line.run("toy", "--scheduler", ADDRESS)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--scheduler and torchrun exclude each other" in done.err


@pytest.fixture
def order(planned: Callable[..., Plan], scheduler: Any) -> Iterator[Order]:
    """What workers are told of a plan."""
    scheduler(lambda task: None)
    for running, _ in begun(planned()):
        yield running._order


def test_a_worker_with_the_same_store_code_and_packages_is_fit(order):
    assert cluster_worker._unfit(order) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o: {"folder": o.plan / "gone"}, "it does not see .*gone; put it on a file system that all"),
        (lambda o: {"data": o.plan / "gone"}, "it does not see .*gone; put it on a file system that all"),
        (lambda o: {"digest": "other"}, "is not this command's, or cannot be written; set runtime.store"),
        (lambda o: {"plan": o.plan.with_name("none")}, "is not this command's, or cannot be written"),
        (lambda o: {"code": o.code | {"tests.helpers.toys": "0"}}, "its code is not this command's; install"),
        (lambda o: {"packages": o.packages | {"torch": "0"}}, "it has torch .*, this command 0; install"),
    ],
)
def test_why_a_worker_is_left_out(order, change, said):
    assert re.search(said, cluster_worker._unfit(replace(order, **change(order))))


def test_a_worker_that_may_start_no_process_is_left_out(order, monkeypatch):
    monkeypatch.setitem(cluster_worker.current_process()._config, "daemon", True)
    assert cluster_worker._unfit(order) == "it may start no processes; start it with `dask worker --no-nanny`"


def test_a_plan_that_others_have_written_is_not_opened(order, monkeypatch):
    here, before = Path.cwd(), dict(os.environ)
    monkeypatch.setattr(cluster_worker.pickle, "loads", lambda data: pytest.fail("opened"))
    with pytest.raises(DataError, match="is not what the command has written"):
        take_ordered(replace(order, digest="other"))
    assert (Path.cwd(), dict(os.environ)) == (here, before)


def test_a_stage_has_the_threads_that_it_has_in_a_pool(order):
    assert threads_of_stage(order, 1) == usable_cores()
    assert threads_of_stage(order, 2) == max(1, usable_cores() // 2)
    assert threads_of_stage(replace(order, processes=2), 1) == max(1, usable_cores() // 2)
