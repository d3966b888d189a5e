"""Named ablations: rows of settings run through the real command line, beside the paper's numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from benchmark import experiments
from benchmark.config import SCALES, ConfigError
from benchmark.diagnoses import diagnosis_of, read_diagnoses
from benchmark.experiments import Options, Table, all_jobs, find_experiments, make_tables
from benchmark.measured import Column, measure, printed_number, score_parts, scored
from benchmark.plan import Job
from methods.experiment import Claim, Experiment, ExperimentRow
from methods.registry import all_methods
from results.directions import POINT, Scored, directions, read_directions
from results.reported import find_reported, load_reported, reported_of
from results.schema import COLUMNS
from tests.toys import CommandLine, Toy, command_line, not_runnable, third_party

__all__ = ["command_line", "third_party"]  # fixtures


def toy() -> Toy:
    method = Toy("toy")
    method.experiments = (  # type: ignore[misc]
        Experiment(
            "fill",
            "What every pixel is given",
            ("pseudo-label",),
            (
                ExperimentRow("background", "sam_fused/Tab. 3/ViT + SAM", ("pseudo_label",), ("value=0",)),
                ExperimentRow("class 1", "", ("pseudo_label",), ("value=1",)),
                ExperimentRow("the other entry", "eps/Tab. 3/naive", ("pseudo_label",), method="other"),
                ExperimentRow(
                    "with maps", "eps/Tab. 3/adaptive", ("pseudo_label",), unavailable="needs maps of old"
                ),
                ExperimentRow("on GPUs", "", ("pseudo_label",), ("value=1",), scales=("paper",)),
            ),
        ),
    )
    return method


def arguments(command: CommandLine, name: str = "toy/fill") -> tuple[str, ...]:
    data = ("dataset.train=6", "dataset.val=2", f"dataset.root={command.folder / 'data'}")
    return ("run", "--experiment", name, "--device", "cpu", "--seeds", "0,1", "--output", str(command.output),
            f"runtime.store={command.store}", *data)  # fmt: skip


def table(command: CommandLine, key: str = "row") -> dict[str, dict[str, str]]:
    (path,) = (command.output / "experiments").glob("toy-fill*.csv")
    with path.open() as file:
        return {row[key]: row for row in csv.DictReader(file)}


def test_every_row_stands_beside_the_papers_number(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), "method.toy.note=kept")
    assert done.code == 0, done.err
    lines = {
        line.split("  ")[1].strip(): line.split()
        for line in done.out.splitlines()
        if line.startswith("  ") and ("–" in line or "±" in line)
    }
    assert lines["background"][1] == "84.29"
    assert lines["class 1"][2] == "–"
    rows = table(command_line)
    assert rows["background"]["seeds"] == "2"
    assert rows["background"]["mean"] == rows["the other entry"]["mean"] != rows["class 1"]["mean"]
    assert float(rows["background"]["deviation"]) == 0.0
    assert rows["background"]["paper"] == "84.29"


def test_rows_that_cannot_be_had_are_listed_with_their_reason(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    assert "with maps: not available: needs maps of old" in done.out
    assert "on GPUs: not available: needs scale paper" in done.out
    rows = table(command_line)
    assert (rows["with maps"]["seeds"], rows["with maps"]["reason"]) == ("0", "needs maps of old")
    assert rows["with maps"]["mean"] == ""


def test_the_summary_says_what_reproduces(command_line: CommandLine, third_party) -> None:
    """Background everywhere beats a class everywhere, as 84.29 against 66.5 has it; what did not run is said."""
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), "method.other.value=1")
    assert done.code == 0, done.err
    found = read_directions(command_line.output / "experiments").set_index("row")
    assert found.loc["the other entry", ["better", "verdict", "n"]].tolist() == [
        "background",
        "reproduced",
        2,
    ]
    assert found.loc["the other entry", "low"] > 0
    assert found.loc["with maps", ["verdict", "reason"]].tolist() == ["not run", "needs maps of old"]
    assert "What reproduces" in done.out
    for suffix in ("html", "md", "csv"):
        text = (command_line.output / "experiments" / f"summary.{suffix}").read_text()
        assert "needs maps of old" in text
        assert "reproduced" in text
    again = command_line(*arguments(command_line), "method.other.value=1")
    assert again.code == 0
    assert "labels: " not in again.out  # everything is stored


def test_plan_and_progress_name_the_rows(command_line: CommandLine, third_party) -> None:
    """Cells of one method and seed would be told apart by nothing else."""
    third_party(toy(), Toy("other"))
    planned = command_line(*arguments(command_line), "--dry-run")
    assert planned.code == 0, planned.err
    assert "shapes · toy · fill: background · seed 1" in planned.out
    assert "shapes · other · toy/fill: the other entry · seed 0" in planned.out
    assert "toy · fill: class 1 · seed 0 · labels" in command_line(*arguments(command_line)).out


def test_no_two_rows_of_all_experiments_are_named_alike() -> None:
    tables = make_tables(find_experiments("all"), Options("shapes", "nano", "paper", (0,)))
    names = [(tuple(job.config.method), job.label) for job in all_jobs(tables)]
    assert len(set(names)) == len(names) > 50


def test_a_diagnosis_is_printed_beside_a_row_that_does_not_reproduce(
    command_line: CommandLine, third_party, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party(toy(), Toy("other"))
    text = "the toy is too simple"
    known = {("fill", "the other entry", ""): text, ("fill", "with maps", ""): text}
    monkeypatch.setattr(experiments, "diagnoses_of", lambda method: known)
    assert command_line(*arguments(command_line)).code == 0
    found = read_directions(command_line.output / "experiments").set_index("row")
    assert found.loc["the other entry", "verdict"] == "not reproduced"  # both are the same
    assert found["diagnosis"].to_dict() == {"the other entry": text, "with maps": ""}
    assert text in (command_line.output / "experiments" / "summary.html").read_text()
    monkeypatch.setattr(experiments, "diagnoses_of", lambda method: {})
    done = command_line(*arguments(command_line))
    assert "1 not reproduced without a diagnosis: write them into diagnoses.yaml" in done.out
    assert "no diagnosis yet" in (command_line.output / "experiments" / "summary.md").read_text()


def test_what_is_run_with_other_settings_stands_beside_the_rest(
    command_line: CommandLine, third_party
) -> None:
    """Verdicts and tables of shortened runs do not take the place of those of the settings proper."""
    third_party(toy(), Toy("other"))
    for setting in ("method.other.value=0", "method.other.value=1", "method.toy.value=1"):
        assert command_line(*arguments(command_line), setting).code == 0
    folder = command_line.output / "experiments"
    found = read_directions(folder)
    data = "dataset.train=6; dataset.val=2"
    own = found[found["row"] == "the other entry"].set_index("conditions")["verdict"]
    assert own.to_dict() == {
        data: "not reproduced",
        "dataset.train=6; dataset.val=2; method.other.value=1": "reproduced",
    }  # a default is no change, and where rows set it themselves it is none either
    assert len(list(folder.glob("toy-fill*.csv"))) == 2
    text = (folder / "summary.md").read_text()
    assert "toy/fill (dataset.train=6; dataset.val=2; method.other.value=1)" in text
    conditions = {pd.read_csv(path)["conditions"][0] for path in folder.glob("toy-fill*.csv")}
    assert any(text.endswith("; changed: dataset.train=6; dataset.val=2") for text in conditions)


def test_claims_of_rows_and_columns_are_tested(command_line: CommandLine, third_party) -> None:
    method, scores = toy(), ("pseudo_label", "pseudo_label:pixel_accuracy")
    rows = (
        ExperimentRow("background", "", scores, ("value=0",)),
        ExperimentRow("class 1", "", scores, ("value=1",)),
        ExperimentRow("with maps", "", scores, unavailable="needs maps of old"),
    )
    said = (
        Claim("background", "class 1", "ACC", "Fig. 1"),
        Claim("background", "with maps", "ACC", "Fig. 1"),
        Claim("background", "background", "ACC", "Fig. 2", than_column="mIoU"),
    )
    method.experiments = (Experiment("fill", "Two", ("mIoU", "ACC"), rows, claims=said),)  # type: ignore[misc]
    third_party(method)
    assert [e.name for _, e in find_experiments("all") if e.title == "Two"] == ["fill"]
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    found = read_directions(command_line.output / "experiments").set_index("row")
    assert found["verdict"].to_dict() == {
        "class 1": "reproduced",
        "with maps": "not run",
        "background, mIoU": "reproduced",
    }
    assert found["reason"].to_dict() == {
        "class 1": "claimed in Fig. 1",
        "with maps": "claimed in Fig. 1; needs maps of old",
        "background, mIoU": "claimed in Fig. 2",
    }
    assert found["paper"].isna().all()
    assert found.loc["class 1", "low"] < found.loc["class 1", "high"]  # accuracy is bootstrapped


def test_what_is_of_other_images_is_shown_and_not_judged(command_line: CommandLine, third_party) -> None:
    method = toy()
    (whole,) = method.experiments
    method.experiments = (replace(whole, unjudged=("pseudo-label",)),)  # type: ignore[misc]
    third_party(method, Toy("other"))
    done = command_line(*arguments(command_line), "method.other.value=1")
    assert done.code == 0, done.err
    assert table(command_line)["background"]["paper"] == "84.29"
    assert read_directions(command_line.output / "experiments").empty


TWO = {"fill": Experiment("fill", "", ("CAM", "ACC"), (ExperimentRow("class 1"),))}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1", "not YAML"),
        ("- a", "should map experiments to rows"),
        ("fil: {a: b}", "no experiment 'fil'; there are fill"),
        ("fill: text", "fill: should map rows to text"),
        ("fill: {lcass 1: b}", "fill has no row 'lcass 1'; there are class 1"),
        ("fill: {class 1: ''}", "fill, row 'class 1': should be text"),
        ("fill: {class 1: [a]}", "fill, row 'class 1': should be text"),
        ("fill: {class 1: {CMA: a}}", "fill has no column 'CMA'; there are CAM, ACC"),
        ("fill: {class 1: {CAM: 1}}", "fill, row 'class 1', column 'CAM': should be text"),
    ],
)
def test_a_wrong_diagnosis_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "diagnoses.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_diagnoses(path, TWO)
    assert str(path) in str(caught.value)


def test_diagnoses_are_of_rows_or_of_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "diagnoses.yaml"
    path.write_text("fill:\n  class 1: |\n    two\n    lines\n")
    found = read_diagnoses(path, TWO)
    assert diagnosis_of(found, "fill", "class 1", "ACC") == "two lines"
    path.write_text("fill:\n  class 1:\n    ACC: of this alone\n")
    found = read_diagnoses(path, TWO)
    assert [diagnosis_of(found, "fill", "class 1", c) for c in ("CAM", "ACC")] == ["", "of this alone"]


def test_a_column_may_be_of_another_metric_or_of_a_class(command_line: CommandLine, third_party) -> None:
    method, scores = toy(), ("pseudo_label", "pseudo_label:pixel_accuracy", "pseudo_label:iou:backg*")
    rows = (ExperimentRow("background", "sam_fused/Tab. 3/ViT + SAM", scores, ("value=0",)),)
    method.experiments = (Experiment("fill", "Three", ("mIoU", "ACC", "IoU"), rows),)  # type: ignore[misc]
    third_party(method, Toy("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    assert "IoU, mIoU, pixel accuracy in %" in done.out
    found = table(command_line, "column")
    assert found["ACC"]["paper"] == "88.11"
    assert float(found["ACC"]["mean"]) == float(found["IoU"]["mean"]) > float(found["mIoU"]["mean"]) > 0


def test_all_records_of_the_rows_lie_beside_the_table(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    assert command_line(*arguments(command_line)).code == 0
    (path,) = (command_line.output / "experiments" / "records").glob("toy-fill*.csv")
    records = pd.read_csv(path)
    assert list(records.columns) == ["row", *COLUMNS]
    assert set(records["row"]) == {"background", "class 1", "the other entry"}
    own = records[(records["row"] == "class 1") & (records["seed"] == 1)]
    by_class = own[own["metric"] == "iou"].set_index("class_name")["value"]
    assert len(by_class) > 2
    (mean,) = own.loc[own["metric"] == "miou", "value"]
    assert by_class.mean() == pytest.approx(mean)
    assert set(own.loc[own["metric"] == "seconds", "stage"]) == {"labels", "score-labels"}


def cell(rows: Sequence[dict[str, Any]], stages: Sequence[dict[str, Any]] = ()) -> Any:
    """A cell that has run: what `measure` and `scored` read of it."""
    scores = [(SimpleNamespace(key="k"), list(rows))]
    return SimpleNamespace(cell=SimpleNamespace(seed=0), scores=scores, stages=list(stages))


def test_a_cams_confusion_is_of_its_fixed_threshold_and_its_miou_of_the_oracle(tmp_path: Path) -> None:
    """As the evaluation scores CAMs: confusion ratios at the fixed threshold alone, mIoU by every rule."""

    def found(metric: str, variant: str, value: float, name: str = "") -> dict[str, Any]:
        return {
            "stage": "cam", "metric": metric, "variant": variant, "class_name": name, "value": value
        }  # fmt: skip

    own = cell(
        [found("miou", "fixed", 0.4), found("miou", "tuned", 0.45), found("miou", "oracle", 0.5),
         found("confusion_ratio", "fixed", 0.75, "train|rails")]
    )  # fmt: skip
    row = ExperimentRow("a", "", ("cam", "cam:confusion_ratio:train|rail*"))
    for score, variant, value in zip(row.scores, ("oracle", "fixed"), (50, 75), strict=True):
        column = Column("it", (score,))
        (compared,) = (m for m in measure(row, column, score, [own]) if m.is_compared)
        assert (compared.variant, compared.values) == (variant, (value,))
        sampled = scored(row, score, [own], tmp_path, "").sampled
        assert sampled is not None
        assert sampled.values[0].tolist() == [value]


def test_hours_of_a_stage_stand_beside_the_papers_and_are_not_judged() -> None:
    row = ExperimentRow("m = 1", "ca_cl/Tab. 7/m = 1", ("cam", "guide:hours"))
    column = Column("training (h)", ("guide:hours",))
    times = [
        {"name": "guide", "key": "k", "seconds": 5400.0, "resumed": resumed} for resumed in (False, True)
    ]
    (whole,) = measure(row, column, "guide:hours", [cell([], times[:1])])
    assert (whole.reported, whole.values, whole.is_compared) == (1.7, (1.5,), True)
    (resumed,) = measure(row, column, "guide:hours", [cell([], times[1:])])
    assert resumed.values == ()
    assert not column.is_judged
    assert Column("CAM", ("cam",)).is_judged


def test_what_fails_is_named_and_the_others_are_there(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other", "tests.toys:explode"))
    done = command_line(*arguments(command_line))
    assert done.code == 1
    assert "failed: toy/fill: the other entry: seed 0 failed: ValueError: a wire has come loose" in done.out
    assert table(command_line)["background"]["seeds"] == "2"


def test_what_is_not_run_is_no_failure(command_line: CommandLine, third_party) -> None:
    third_party(toy(), not_runnable("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    assert "the other entry: seed 0 not run: needs text embeddings" in done.out


def test_unknown_experiments_name_what_there_is(third_party) -> None:
    third_party(toy())
    with pytest.raises(ConfigError, match=r"unknown experiment 'toy/fil'; did you mean 'toy/fill'\?"):
        find_experiments("toy/fil")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.toy.noet=x", "there is no setting 'method.toy.noet'; did you mean 'method.toy.note'?"),
        ("method.tyo.note=x", "method 'tyo' is not part of this run; did you mean 'toy'? it has toy, other"),
        ("method.cam.background_threshold=0.2", "method 'cam' is not part of this run; it has toy, other"),
    ],
)
def test_an_override_that_no_row_takes_is_refused_before_anything_runs(
    command_line: CommandLine, third_party, override: str, words: str
) -> None:
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), override)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not command_line.store.exists()


def test_what_every_row_sets_itself_cannot_be_given(third_party) -> None:
    method = toy()
    method.experiments = (  # type: ignore[misc]
        Experiment("fill", "One", ("a",), (ExperimentRow("a", "", ("pseudo_label",), ("value=0",)),)),
    )
    third_party(method)
    options = Options("shapes", "nano", "paper", [0], ["method.toy.value=2"])
    with pytest.raises(ConfigError, match=r"'method\.toy\.value': every row of toy/fill sets it itself"):
        make_tables(find_experiments("toy/fill"), options)


def test_an_override_for_another_entrys_row_reaches_it_alone(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    assert command_line(*arguments(command_line), "method.other.value=1").code == 0
    rows = {label: row["mean"] for label, row in table(command_line).items()}
    assert rows["the other entry"] == rows["class 1"] != rows["background"]


def of_papers() -> list[tuple[str, Experiment]]:
    return [(m.name, e) for m in all_methods().values() for e in m.experiments]


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
    "eps": ("Tab. 1", "Tab. 2", "Tab. 3", "Sec. 5.3"),
    "sam_fused": ("Tab. 2", "Tab. 3"),
}
"""The tables of the papers that ask what a method's parts do."""


@pytest.mark.parametrize(("paper", "number"), [(p, t) for p, tables in ABLATIONS.items() for t in tables])
def test_every_row_of_every_ablation_of_the_papers_is_a_row_here(paper: str, number: str) -> None:
    printed = {
        f"{n.paper}/{n.table}/{n.row}" for n in load_reported() if (n.paper, n.table) == (paper, number)
    }
    assert printed
    ours = {row.reported for _, experiment in of_papers() for row in experiment.rows}
    assert printed <= ours


def tables(names: str, scale: str) -> list[Table]:
    dataset = "shapes" if scale == "nano" else "voc2012"
    return make_tables(find_experiments(names), Options(dataset, scale, "paper", [0], ()))


@pytest.mark.parametrize("scale", SCALES)
def test_every_row_has_settings_at_every_scale_that_it_names(scale: str) -> None:
    names = ",".join(f"{method}/{experiment.name}" for method, experiment in of_papers())
    for found in tables(names, scale):
        for row, job in zip(found.experiment.rows, found.jobs, strict=True):
            available = not row.unavailable and scale in (row.scales or SCALES)
            assert isinstance(job, Job) == available


def test_all_are_those_with_numbers_to_compare() -> None:
    found = {f"{method.name}/{experiment.name}" for method, experiment in find_experiments("all")}
    assert {"eps/table3", "eps/saliency", "dskd_gc/table1", "sam_fused/table3", "ca_cl/table8"} <= found
    assert not any(name.endswith("/open") for name in found)
    assert "semantic_modulation/fig5" in found  # prints one value, and says that it is the best


def test_rows_stop_where_their_scores_are(tmp_path: Path) -> None:
    from benchmark.plan import plan_jobs

    where = Options(
        "shapes", "nano", "paper", [0], [f"dataset.root={tmp_path}", "dataset.train=2", "dataset.val=2"]
    )

    def stages(name: str) -> list[list[str]]:
        plan = plan_jobs(all_jobs(make_tables(find_experiments(name), where)), fetching=False)
        return [[planned.stage.name for planned in cell.stages] for cell in plan.cells]

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
