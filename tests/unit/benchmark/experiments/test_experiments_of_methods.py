"""The experiments that the methods declare: each row has its paper's number, its settings and its stages."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from benchmark.config import SCALES
from benchmark.experiments.diagnoses import diagnoses_of
from benchmark.experiments.measured import printed_number, score_parts
from benchmark.experiments.rows import find_experiments, make_tables
from benchmark.experiments.table import Options, Table, all_jobs
from benchmark.failures import ConfigError
from benchmark.planning.plan import Job
from methods.experiment import Experiment
from methods.registry import all_methods
from results.directions import POINT, Scored, directions
from results.reported import find_reported, load_reported, reported_of


def of_papers() -> list[tuple[str, Experiment]]:
    return [(m.name, e) for m in all_methods().values() for e in m.experiments]


@cache
def tables_at(scale: str) -> list[Table]:
    """All experiments' tables at a scale: composing their settings is what takes time."""
    names = ",".join(f"{method}/{experiment.name}" for method, experiment in of_papers())
    dataset = "shapes" if scale == "nano" else "voc2012"
    return make_tables(find_experiments(names), Options(dataset, scale, "paper", [0], ()))


def test_no_two_rows_of_all_experiments_are_named_alike() -> None:
    compared = {(method.name, experiment.name) for method, experiment in find_experiments("all")}
    tables = [t for t in tables_at("nano") if (t.method.name, t.experiment.name) in compared]
    assert len(tables) == len(compared)
    names = [(tuple(job.config.method), job.label) for job in all_jobs(tables)]
    assert len(set(names)) == len(names) > 50


def test_experiments_of_all_methods_are_consistent() -> None:
    for method in all_methods().values():
        names = [e.name for e in method.experiments]
        assert len(set(names)) == len(names)
        for experiment in method.experiments:
            labels = [row.label for row in experiment.rows]
            assert len(set(labels)) == len(labels)
            for row in experiment.rows:
                assert len(row.scores) == len(experiment.columns)
                assert set(row.scales) <= set(SCALES)
                if row.reported:  # the row is there, and one of its numbers is of this table
                    assert any(find_reported(row.reported, *score_parts(score)) for score in row.scores)
                if row.method is not None:
                    assert row.method in all_methods()
            assert set(experiment.unjudged) <= set(experiment.columns)


def test_claims_are_of_cells_and_are_not_printed_in_one_column() -> None:
    claimed = [(experiment, claim) for _, experiment in of_papers() for claim in experiment.claims]
    assert claimed
    for experiment, claim in claimed:
        cells = [(claim.row, claim.column), (claim.than, claim.than_column or claim.column)]
        assert len(set(cells)) == 2
        rows = {row.label: row for row in experiment.rows}
        printed = []
        for label, title in cells:
            number = experiment.columns.index(title)
            printed.append(printed_number(rows[label], rows[label].scores[number]))
        if None in printed:
            continue
        assert claim.than_column  # else the table's own comparison has it
        assert printed[0] - printed[1] >= POINT


def test_rows_are_compared_within_one_table_of_one_paper() -> None:
    """Two tables of a paper may be of other settings: a row of the one says nothing of a row of the other."""
    compared = 0
    for name, experiment in of_papers():
        printed = [row.reported for row in experiment.rows if row.reported]
        origins = {tuple(reported.split("/")[:2]) for reported in printed}
        assert len(origins) <= 1, (name, experiment.name, origins)
        compared += len(printed) > 1
    assert compared > 10


def test_correction_is_held_against_both_rows_before_it() -> None:
    """Tab. 1 of DSKD-GC: GC's 69.67 against 68.53 of distillation alone and 68.57 of neither."""
    (experiment,) = (e for method, e in of_papers() if (method, e.name) == ("dskd_gc", "table1"))
    (column, *_) = experiment.columns
    rows = [Scored(row.label, printed_number(row, row.scores[0])) for row in experiment.rows]
    found = {(d.better, d.row): d.paper for d in directions("dskd_gc/table1", column, rows)}
    assert found == {
        ("+ DSKD + GC", "baseline"): pytest.approx(1.1),
        ("+ DSKD + GC", "+ DSKD"): pytest.approx(1.14),
    }


ABLATIONS = {
    "semantic_modulation": ("Tab. 2", "Tab. 3", "Tab. 4", "Tab. 5", "Fig. 5"),
    "dskd_gc": ("Tab. 1", "Tab. 2", "Tab. 3"),
    "ca_cl": ("Tab. 4", "Tab. 5", "Tab. 6", "Tab. 7", "Tab. 8"),
    "eps": ("Tab. 1", "Tab. 2", "Tab. 3", "Tab. 7", "Sec. 5.3"),
    "sam_fused": ("Tab. 1", "Tab. 2", "Tab. 3"),
}
"""The tables of the papers that ask what a method's parts do, and those of which every row is one here."""


@pytest.mark.parametrize(("paper", "number"), [(p, t) for p, tables in ABLATIONS.items() for t in tables])
def test_every_row_of_every_ablation_of_the_papers_is_a_row_here(paper: str, number: str) -> None:
    printed = {
        f"{n.paper}/{n.table}/{n.row}" for n in load_reported() if (n.paper, n.table) == (paper, number)
    }
    assert printed
    ours = {row.reported for _, experiment in of_papers() for row in experiment.rows}
    assert printed <= ours


@pytest.mark.parametrize("scale", SCALES)
def test_every_row_has_settings_at_every_scale_that_it_names(scale: str) -> None:
    for found in tables_at(scale):
        for row, job in zip(found.experiment.rows, found.jobs, strict=True):
            available = not row.unavailable and scale in (row.scales or SCALES)
            assert isinstance(job, Job) == available


def test_diagnoses_of_all_methods_are_of_their_rows() -> None:
    known = [diagnoses_of(method) for method in all_methods().values()]
    assert all(text for of_method in known for text in of_method.values())
    assert any(known)


def test_all_are_those_with_numbers_to_compare() -> None:
    found = {f"{method.name}/{experiment.name}" for method, experiment in find_experiments("all")}
    more = [f"{method.name}/{e.name}" for method, e in find_experiments("eps/table1,all,dskd_gc/bounds")]
    assert set(more) == found | {"dskd_gc/bounds"}
    assert len(more) == len(found) + 1
    assert {"eps/table3", "eps/saliency", "dskd_gc/table1", "sam_fused/table3", "ca_cl/table8"} <= found
    assert not any(name.endswith("/open") for name in found)
    assert "semantic_modulation/fig5" in found  # prints one value, and says that it is the best


def test_rows_stop_where_their_scores_are(tmp_path: Path) -> None:
    from benchmark.planning.plan import plan_jobs

    where = Options(
        "shapes", "nano", "paper", [0], [f"dataset.root={tmp_path}", "dataset.train=2", "dataset.val=2"]
    )

    def stages(name: str) -> list[list[str]]:
        plan = plan_jobs(all_jobs(make_tables(find_experiments(name), where)), fetching=False)
        return [[planned.stage.name for planned in run.stages] for run in plan.runs]

    assert stages("semantic_modulation/table5") == [
        ["classify", "cam", "cam_original"],
        ["classify", "cam", "cam_modulated"],
        ["classify", "cam"],
    ]
    assert stages("dskd_gc/table1")[-1][-2:] == ["pseudo_label", "predict"]  # both columns
    assert all(
        names[-1] == "cam" and "guide" in names for names in stages("ca_cl/table7")
    )  # CAM, and its time
    assert stages("eps/table4")[0] == ["classify", "cam"]
    assert "segment" not in {name for row in stages("eps/table4") for name in row}


def test_what_methods_are_called_in_the_papers_is_in_the_tables() -> None:
    for method in all_methods().values():
        assert not method.reported_as or reported_of(method.reported_as), method.name


def test_patterns_name_one_class_of_each_paper() -> None:
    def matching(pattern: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if fnmatchcase(name, pattern)]

    ratios = {n.class_name for n in load_reported() if n.metric == "confusion_ratio"}
    patterns = {
        score_parts(score)[2]
        for _, experiment in of_papers()
        for row in experiment.rows
        for score in row.scores
        if score_parts(score)[1] == "confusion_ratio"
    }
    assert patterns
    assert all(len(matching(pattern, ratios)) == 1 for pattern in patterns)


def test_the_tables_are_of_the_papers_protocol():
    options = Options("shapes", "nano", "unified", [0])
    with pytest.raises(ConfigError, match="--protocol unified: the papers' tables are of protocol paper"):
        make_tables(find_experiments("eps/table3"), options)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        *(
            (m, {"test.scales=[1.0]", "test.flip=false", "test.crf=null"})
            for m in ("dskd_gc", "toco", "dupl")
        ),
        ("dskd_gc", {"contrast.scales=[1.0,0.5,1.5]"}),
        ("dskd_gc", {"labels.scales=[1.0,0.5,1.5]"}),
        ("dskd_gc", {"labels.refinement=par_gc"}),
        ("dskd_gc", {"labels.refinement=par", "refiner.name=par"}),
        *(("eps", {f"overlap_threshold={threshold}"}) for threshold in (0.3, 0.4, 0.5)),
        *(("eps", {f"foreground_weight={weight}"}) for weight in (0.3, 0.7)),
        *(("semantic_modulation", {f"modulation.ranking_axis={axis}"}) for axis in ("columns", "symmetric")),
        ("toco", {"refiner.name=par"}),
    ],
)
def test_what_papers_leave_open_is_a_row(method: str, settings: set[str]) -> None:
    experiments = all_methods()[method].experiments
    assert any(set(row.settings) == settings for experiment in experiments for row in experiment.rows)
