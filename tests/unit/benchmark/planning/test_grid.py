"""A grid: any CAM, any refiner, any segmentation network, as entries of one leaderboard that share what they can."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.commands.run import grid
from benchmark.config import compose
from benchmark.planning.changes import run_identity
from benchmark.planning.method_info import method_info, value_sources
from benchmark.planning.plan import Job, Plan, plan_jobs
from methods import refiners as refiners_package
from methods.declared import deviations_of_parts
from methods.registry import find_method
from methods.segmenters import segmentation_stages
from results.io import read_run
from tests.helpers.toys import CommandLine, Toy

REFINERS, NETWORKS = ("none", "psa", "irn"), ("largefov", "aspp")


@pytest.fixture(scope="module")
def plan(generated: Path) -> Plan:
    data = [f"dataset.root={generated}", "dataset.train=4", "dataset.val=2"]
    configs = grid("cam,dskd_gc,supervised", None, "nano", "paper", data, ",".join(REFINERS), "largefov,aspp")
    return plan_jobs([Job(config, [0]) for config in configs])


def keys(plan: Plan, method: str, refiner: str, network: str) -> dict[str, str]:
    for run in plan.runs:
        identity = run_identity(run.config, run.method.name, run.seed)
        if (identity["method"], identity["refiner"], identity["segmenter"]) == (method, refiner, network):
            return {planned.stage.name: planned.key for planned in run.stages}
    raise AssertionError(f"no run {method} {refiner} {network}")


def test_the_board_lists_the_deviations_of_the_parts_a_run_was_given(plan: Plan) -> None:
    topics = {}
    for run in plan.runs:
        identity = run_identity(run.config, run.method.name, run.seed)
        info = method_info(run.method, run)
        topics[identity["method"], identity["refiner"]] = [d["topic"] for d in info["deviations"]]
    own = [d.topic for d in find_method("dskd_gc").deviations]
    refiners = {
        k: [d.topic for d in v]
        for k, v in deviations_of_parts(Path(refiners_package.__file__).parent).items()
    }
    assert topics["dskd_gc", "none"] == own
    assert topics["dskd_gc", "psa"] == own + refiners["psa"]
    assert topics["cam", "irn"][-len(refiners["irn"]) :] == refiners["irn"]


def test_the_board_lists_the_sources_of_the_values_that_a_run_was_given() -> None:
    """Of the refiner that makes the labels, not of others; of the network that takes the place of the method's own."""
    found = {}
    for changed in ([], ["method.eps.foreground_weight=0.7"]):
        for protocol in ("paper", "unified"):
            config = compose(["eps"], "voc2012", "paper", protocol, changed)
            sources = value_sources(find_method("eps"), config)
            assert {source["chosen_by"] for source in sources} == {"paper", "code", "ours"}
            found[protocol, bool(changed)] = {value: s["source"] for s in sources for value in s["values"]}
    own = found["paper", False]
    assert own["foreground_weight=0.5"] == "Sec. 3.2, λ"
    assert own["segmenter.head=largefov_single"].startswith("DeepLab V1")
    assert not [value for value in own if value.startswith(("refiner.crf.", "refiner.psa."))]
    assert "foreground_weight" not in {value.partition("=")[0] for value in found["paper", True]}
    assert found["unified", False]["segmenter.head=aspp"].startswith("kazuto1011/deeplab-pytorch")
    assert found["unified", False]["refiner.crf.bilateral_sxy=80"].startswith("jiwoon-ahn/psa")
    assert "refiner.crf.bilateral_sxy=67" not in found["unified", False]


def test_networks_that_are_tested_at_several_scales_carry_their_deviations() -> None:
    config = compose(["eps"], "voc2012", "paper").method["eps"]
    segment, predict = segmentation_stages(config.segmenter)
    assert [d.topic.partition(": ")[2] for d in segment.deviations] == [
        "factor on the size in training",
        "steps of the learning rate",
        "images smaller than the crop",
    ]
    assert [d.topic.partition(": ")[2] for d in predict.deviations] == [
        "scales of the test",
        "CRF of the test",
    ]
    assert all(s.deviations == () for s in segmentation_stages(compose(["eps"]).method["eps"].segmenter))


def test_runs_share_what_they_have_in_common(plan: Plan) -> None:
    assert len(plan.runs) == 3 * len(REFINERS) * len(NETWORKS)
    for method, trained in (("cam", "classify"), ("dskd_gc", "train")):
        found = {(r, n): keys(plan, method, r, n) for r in REFINERS for n in NETWORKS}
        assert len({run["cam"] for run in found.values()}) == 1
        assert len({run[trained] for run in found.values()}) == 1
        assert len({run["pseudo_label"] for run in found.values()}) == len(REFINERS)
        assert len({run["segment"] for run in found.values()}) == len(found)
        for refiner in REFINERS:
            assert found[refiner, "aspp"]["pseudo_label"] == found[refiner, "largefov"]["pseudo_label"]


def test_the_choices_of_a_grid_are_columns_and_no_changed_settings(plan: Plan) -> None:
    identities = [run_identity(run.config, run.method.name, run.seed) for run in plan.runs]
    assert {identity["changes"] for identity in identities} == {"dataset.train=4; dataset.val=2"}
    assert {(i["refiner"], i["segmenter"]) for i in identities} == {
        (r, n) for r in REFINERS for n in NETWORKS
    }
    references = [run_identity(run.config, "reference/all-background", -1) for run in plan.runs]
    assert all(r == references[0] for r in references)
    assert references[0]["refiner"] == "own"


def test_a_refiner_without_a_cam_is_not_run_and_says_why(plan: Plan) -> None:
    supervised = [run for run in plan.runs if run.method.name == "supervised"]
    assert {run.status for run in supervised} == {"not run"}
    assert supervised[2].reason == "refiner psa: supervised has no CAM that it could refine"
    assert supervised[2].title == "supervised · psa · largefov · seed 0"


def test_own_is_the_protocols() -> None:
    assert len(grid("cam", None, "nano", "unified", [], "own,crf", "own,largefov")) == 1
    assert len(grid("cam", None, "nano", "paper", [], "own,crf", "own")) == 2
    assert compose(["cam"], protocol="unified", refiner="psa").protocol.refiner.name == "psa"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--refiners", "pas"],
            "unknown refiner 'pas'; did you mean 'psa'? there are own, none, crf, psa, irn",
        ),
        (
            ["--segmenters", "aspp-vgg16"],
            "unknown segmentation network of scale nano 'aspp-vgg16'; there are own, largefov, aspp",
        ),
        (["--refiners", ","], "--refiners names nothing; separate names by commas"),
        (["--experiment", "eps/table3", "--methods", "eps"], "--methods and --experiment exclude each other"),
        (["--experiment", "eps/table3", "--until", "cam"], "--until and --experiment exclude each other"),
        (["--experiment", "eps/tabel3"], "unknown experiment 'eps/tabel3'; did you mean 'eps/table3'?"),
        (["--experiment", ","], "unknown experiment ','"),
    ],
)
def test_nonsense_is_one_line(command_line: CommandLine, arguments: list[str], words: str) -> None:
    done = command_line("run", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_entries_stand_on_one_board(command_line: CommandLine, third_party) -> None:
    third_party(Toy("toy"))
    assert command_line.run("toy", "--segmenters", "own,aspp").code == 0
    assert command_line.run("toy", "--refiners", "psa").code == 0
    stored = read_run(command_line.output)
    runs = {(run["refiner"], run["segmenter"]): run for run in stored.runs}
    assert set(runs) == {("own", "own"), ("own", "aspp"), ("psa", "own")}
    assert runs["psa", "own"]["status"] == "not run"
    assert runs["own", "own"]["stages"][0]["key"] == runs["own", "aspp"]["stages"][0]["key"]
    references = stored.records[stored.records["method"].str.startswith("reference/")]
    assert set(references["refiner"]) == {"own"}
    one = references[(references["metric"] == "miou") & (references["split"] == "train")]
    assert not one.duplicated(["method", "stage"]).any()
