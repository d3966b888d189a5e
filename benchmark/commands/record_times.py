"""`record-times`: keep what the stages of a finished run took as the times of reference.

To be run on the machine that has run `run --methods all` at that scale, idle, with the same code.
"""

from __future__ import annotations

from statistics import median
from typing import Annotated, Any

import typer

from benchmark.commands.arguments import DatasetName, Overrides, Scale, method_names
from benchmark.config import compose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.planning.plan import make_plan
from benchmark.provenance import cpu_name, hardware_name
from benchmark.store import StoredArtifact
from benchmark.timing.estimate import Estimates
from benchmark.timing.machine_speed import machine_speed
from benchmark.timing.reference_times import FILE, write_times


def record_times(
    overrides: Overrides = None,
    methods: Annotated[str, typer.Option(help="The methods that were run.")] = "all",
    dataset: DatasetName = None,
    scale: Scale = "nano",
    seed: Annotated[int, typer.Option(help="The seed whose times are kept.")] = 0,
) -> None:
    """Keep the times of a finished and stored run, of one seed, as the reference for its scale."""
    plan = make_plan(compose(method_names(methods, scale), dataset, scale, "paper", overrides or []), [seed])
    estimates = Estimates(plan)
    seconds: dict[tuple[str, float, tuple[str, ...]], list[float]] = {}
    hardware: list[dict[str, Any]] = []
    for planned, artifact in plan.artifacts():
        function, work, settings = estimates.described(planned)
        made = whole(artifact, f"stage {planned.stage.name}")
        hardware.append(made["provenance"]["hardware"])
        seconds.setdefault((function, work, tuple(sorted(settings))), []).append(made["seconds"])
        if planned.score_key is not None and (
            scores := plan.store.find(planned.score_name, planned.score_key)
        ):
            function, work = estimates.described_scoring(planned)
            seconds.setdefault((function, work, ()), []).append(scores.manifest["seconds"])
    if not hardware:
        raise ConfigError(f"--methods {methods}: nothing of it runs on these data; see run --dry-run")
    if any(each != hardware[0] for each in hardware):
        raise ConfigError(
            "stages were made on several machines, or with several numbers of threads; run them anew"
        )
    if hardware[0]["cpu"] != cpu_name():
        raise ConfigError(f"the stages were made on {hardware_name(hardware[0])}; record their times there")
    stages = [
        {
            "function": function,
            "work": round(work, 4),
            "seconds": round(median(took), 3),
            "settings": settings,
        }
        for (function, work, settings), took in sorted(seconds.items())
    ]
    speed = machine_speed(hardware[0]["threads"])
    write_times(scale, {"machine": hardware_name(hardware[0]), "speed": round(speed, 2), "stages": stages})
    console.print(f"{len(stages)} times of {scale} in {FILE}", markup=False)


def whole(artifact: StoredArtifact | None, what: str) -> dict[str, Any]:
    """The manifest of what was made in one go; ConfigError for what was not."""
    if artifact is None:
        raise ConfigError(f"{what} is not stored; first run: wsss run --methods all")
    if artifact.manifest["resumed"]:
        raise ConfigError(
            f"{what} was resumed, so its seconds are those of a part; run it anew in another store"
        )
    return dict(artifact.manifest)
