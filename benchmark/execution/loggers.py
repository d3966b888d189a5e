"""Where training losses and stage scores are shown as they come: TensorBoard, Weights & Biases or MLflow.

Off by default (`runtime.logger=none`). A run of the plan is one run of the logger, in a group of its data set, scale and
protocol. Losses are `<stage>/<term>` by iteration; scores `<stage>/<metric>` or `<stage>_<variant>/<metric>`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import NO_LOGGER, RuntimeConfig
from benchmark.console import console
from benchmark.failures import ConfigError

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger

PROJECT = "wsss-benchmark"


def require_logger(runtime: RuntimeConfig) -> None:
    """ConfigError with the remedy if the chosen logger's package is missing."""
    kind = runtime.logger
    if kind != NO_LOGGER and importlib.util.find_spec(kind) is None:
        raise ConfigError(f"runtime.logger={kind} needs the package {kind}; pip install {kind}")


class RunLog:
    """The log of one run, opened when there is something to say; call it with values by name and the iteration.

    One that fails (no server, a full disk) says so once and is silent from then on, while the run goes on.
    """

    def __init__(self, runtime: RuntimeConfig, group: str, name: str) -> None:
        self._open = partial(BACKENDS[runtime.logger], Path(runtime.log_dir), group, name)
        self._what = f"{runtime.logger}'s log of {name}"
        self._logger: Logger | None = None
        self._broken = False

    def __call__(self, values: Mapping[str, float], iteration: int | None) -> None:
        if self._broken:
            return
        try:
            if self._logger is None:
                self._logger = self._open()
            self._logger.log_metrics(dict(values), iteration)
        except Exception as error:
            self._give_up(error)

    def close(self, failed: bool) -> None:
        if self._logger is not None and not self._broken:
            try:
                self._logger.finalize("failed" if failed else "success")
            except Exception as error:
                self._give_up(error)
        self._logger = None

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        said = " ".join(str(error).split()) or type(error).__name__
        console.print(f"{self._what} failed, and the run goes on without it: {said}", markup=False)


def run_log(runtime: RuntimeConfig, group: str, name: str) -> RunLog | None:
    """The log of a run by `runtime.logger`; None without one."""
    return None if runtime.logger == NO_LOGGER else RunLog(runtime, group, name)


def overall_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Scores over all classes by name ("cam_fixed/miou"), without the threshold curve."""
    return {
        f"{row['stage']}{'_' if row['variant'] else ''}{row['variant']}/{row['metric']}": row["value"]
        for row in rows
        if not row["class_name"] and row["variant"] != "curve"
    }


def _tensorboard(folder: Path, group: str, name: str) -> Logger:
    from lightning_fabric.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name=group, version=name, default_hp_metric=False)


def _wandb(folder: Path, group: str, name: str) -> Logger:
    from lightning_fabric.loggers.logger import Logger

    class Wandb(Logger):
        """Each stage's curves have its own iteration as their axis: W&B's own step must never fall."""

        def __init__(self) -> None:
            self._stages: set[str] = set()

        @property
        def name(self) -> str:
            return PROJECT

        @property
        def version(self) -> str:
            return name

        @cached_property
        def _run(self) -> Any:
            import wandb

            folder.mkdir(parents=True, exist_ok=True)
            return wandb.init(project=PROJECT, group=group, name=name, dir=folder, reinit="create_new")

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            """Unused: settings are in the records."""

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if step is None:
                self._run.summary.update(metrics)
                return
            axes = {f"{metric.partition('/')[0]}/iteration" for metric in metrics}
            for axis in axes - self._stages:
                self._run.define_metric(axis, hidden=True)
                self._run.define_metric(f"{axis.partition('/')[0]}/*", step_metric=axis)
            self._stages |= axes
            self._run.log(metrics | dict.fromkeys(axes, step))

        def finalize(self, status: str) -> None:
            self._run.finish(exit_code=int(status != "success"))

    return Wandb()


def _mlflow(folder: Path, group: str, name: str) -> Logger:
    from lightning_fabric.loggers.logger import Logger

    class Mlflow(Logger):
        """To $MLFLOW_TRACKING_URI, or a database in the folder; the group is the experiment."""

        def __init__(self) -> None:
            from mlflow import MlflowClient

            folder.mkdir(parents=True, exist_ok=True)
            place = f"sqlite:///{folder.absolute() / 'mlflow.db'}"
            self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or place)
            known = self._client.get_experiment_by_name(group)
            experiment = known.experiment_id if known else self._client.create_experiment(group)
            self._run: str = self._client.create_run(experiment, run_name=name).info.run_id

        @property
        def name(self) -> str:
            return group

        @property
        def version(self) -> str:
            return name

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            """Unused: settings are in the records."""

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            for metric, value in metrics.items():
                self._client.log_metric(self._run, metric, value, step=step or 0)

        def finalize(self, status: str) -> None:
            self._client.set_terminated(self._run, "FINISHED" if status == "success" else "FAILED")

    return Mlflow()


BACKENDS: Mapping[str, Callable[[Path, str, str], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
