"""The model of the mIoU: what it may use, what it says of data it has not seen, and how its choices are measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from benchmark.selection.evaluate import evaluate, with_truth
from benchmark.selection.features import FEATURES
from benchmark.selection.model import (
    SHIPPED,
    calibrate,
    choose,
    conformal_quantile,
    fit,
    read_calibration,
    selected,
    width_and_level,
)
from datasets.base import DataError
from results.io import write_records
from results.schema import Record

GRID = (0.1, 0.3, 0.5)


def artifacts(
    data: str, methods: int = 6, seeds: int = 3, noise: float = 0.05, seed: int = 0, sign: float = 1.0
) -> pd.DataFrame:
    """CAMs whose mIoU follows the agreement (by `sign`), highest at .3 in truth and in evidence; the rest is noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for method in range(methods):
        for each in range(seeds):
            level = rng.normal(method / 3 - 1, 0.1)
            for threshold in GRID:
                agreement = level - 20 * (threshold - 0.3) ** 2
                rows.append(
                    {
                        **{name: rng.normal() for name in FEATURES},
                        "data": data,
                        "run": f"{data}-nano",
                        "split": "train",
                        "kind": "cam",
                        "entry": f"method_{method}",
                        "method": f"method_{method}",
                        "seed": each,
                        "key": f"{data}-{method}-{each}",
                        "threshold": threshold,
                        "agreement": agreement,
                        "product": rng.random(),
                        "truth": float(expit(sign * agreement + rng.normal(0, noise))),
                    }
                )
    table = pd.DataFrame(rows)
    best = table.groupby("key")["truth"].transform("max")
    fixed = table["key"].map(table[table["threshold"] == 0.5].set_index("key")["truth"])
    return table.assign(oracle=best, fixed=fixed)


@pytest.fixture(scope="module")
def three() -> pd.DataFrame:
    return pd.concat([artifacts(name, seed=n) for n, name in enumerate("abc")], ignore_index=True)


def test_evidence_can_only_raise_the_prediction() -> None:
    right, wrong = fit(artifacts("a")), fit(artifacts("a", sign=-1))
    assert right.terms["agreement"].coefficient > 0.3
    assert wrong.terms["agreement"].coefficient == 0
    assert all(term.coefficient >= 0 for model in (right, wrong) for term in model.terms.values())


def test_data_sets_and_artifacts_count_alike() -> None:
    """Rows of one data set given five times, under further thresholds, move nothing."""
    first, second = artifacts("a"), artifacts("b", seed=1, sign=-1)
    often = pd.concat([second] * 5, ignore_index=True)
    once, many = (fit(pd.concat([first, each], ignore_index=True)) for each in (second, often))
    # means and scales, and so the penalty, are of rows; the data sets' pull on the fit stays equal
    assert many.terms["agreement"].coefficient == pytest.approx(once.terms["agreement"].coefficient, abs=0.1)


def test_missing_evidence_counts_as_usual() -> None:
    table = artifacts("a")
    table["kept"] = np.nan
    model = fit(table)
    assert "kept" not in model.terms
    usual = table.head(1).assign(agreement=model.terms["agreement"].mean)
    missing = usual.assign(agreement=np.nan)
    np.testing.assert_allclose(model.predict(missing), model.predict(usual))


@pytest.mark.parametrize(("count", "expected"), [(19, 19), (39, 38), (5, 5)])
def test_the_quantile_is_conformal(count: int, expected: float) -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal_quantile(errors, 0.95) == expected


def test_a_choice_is_the_highest_row_and_the_lowest_threshold_of_equals() -> None:
    table = pd.DataFrame(
        {"key": list("aaabb"), "threshold": [0.5, 0.1, 0.3, np.nan, np.nan], "p": [2, 1, 2, np.nan, np.nan]}
    )
    chosen = choose(table, "p", ["key"])
    assert chosen["threshold"].iloc[0] == 0.3
    assert len(chosen) == 2


def test_choices_on_left_out_data_lose_little_and_intervals_cover(three: pd.DataFrame) -> None:
    measured = evaluate(three)
    assert list(measured["data"]) == ["a", "b", "c"]
    assert set(measured["left out"]) == {"data"}
    assert (measured["threshold: model"] < 0.5).all()
    for rule in ("product", "fixed", "common", "random"):
        assert (measured[f"threshold: {rule}"] > measured["threshold: model"] + 1).all()
    assert (measured["threshold: fixed"] == measured["threshold: common"]).all()  # both are .5 here
    assert (measured["tau"] > 0.8).all()
    assert (measured["method: model"] < measured["method: random"]).all()
    assert (measured["coverage"] >= 0.9).all()


def test_a_data_set_that_breaks_the_rule_widens_the_intervals(three: pd.DataFrame) -> None:
    odd = pd.concat([three, artifacts("odd", seed=9, sign=-1)], ignore_index=True)
    assert calibrate(odd).half_width > 3 * calibrate(three).half_width


def test_of_two_data_sets_each_has_intervals_of_the_others_errors() -> None:
    """Methods that agree within each data set promise nothing of the other, where all is otherwise."""
    two = pd.concat([artifacts("a"), artifacts("b", seed=1, sign=-1)], ignore_index=True)
    measured = evaluate(two).set_index("data")
    within = calibrate(two[two["data"] == "a"])
    assert within.left_out == "method"
    assert calibrate(two).half_width > 3 * within.half_width
    assert (measured["coverage"] >= 0.9).all()
    assert (measured["width"] > 30).all()


def test_few_errors_promise_less() -> None:
    """Of n errors the largest is passed by a further one with probability 1 / (n + 1)."""
    many, few = np.arange(30.0), np.arange(4.0)
    assert width_and_level([many]) == (29, 0.95)
    assert width_and_level([many, few]) == (29, 4 / 5)
    assert width_and_level([np.arange(18.0)])[1] == pytest.approx(18 / 19)
    assert calibrate(artifacts("a", methods=3, seeds=3)).level == pytest.approx(9 / 10)
    assert set(evaluate(pd.concat([artifacts("a", seeds=2), artifacts("b")]))["level"]) == {12 / 13, 18 / 19}


def test_one_data_set_leaves_methods_out() -> None:
    table = artifacts("a")
    assert set(evaluate(table)["left out"]) == {"method"}
    assert calibrate(table).left_out == "method"
    for few in (table[table["method"] == "method_0"], table[table["method"].isin(["method_0", "method_1"])]):
        with pytest.raises(DataError, match="give run folders of several"):
            evaluate(few)


def test_a_calibration_is_read_as_it_was_written(three: pd.DataFrame, tmp_path: Path) -> None:
    fitted = calibrate(three)
    fitted.write(tmp_path / "c.json")
    again = read_calibration(tmp_path / "c.json")
    np.testing.assert_allclose(again.model.predict(three), fitted.model.predict(three), atol=1e-3)
    assert again.half_width == pytest.approx(fitted.half_width, rel=1e-5)
    for text in ("", "[]", '{"version": 0}', json.dumps({"version": 1, "model": {"terms": {}}})):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match="no calibration of this version"):
            read_calibration(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("half_width", None), ("half_width", -1), ("half_width", "x"), ("level", "high"), ("level", 3), ("sources", [{}]),
        ("sources", 5), ("evaluation", [{"tau": "x"}]), ("evaluation", [5]), ("model", []), ("other", 1),
    ],
)  # fmt: skip
def test_a_calibration_of_odd_values_is_refused(
    three: pd.DataFrame, tmp_path: Path, name: str, value: object
) -> None:
    path = tmp_path / "a calibration.json"
    calibrate(three).write(path)
    document = json.loads(path.read_text())
    del document["sha256"]
    path.write_text(json.dumps({**document, name: value}))
    with pytest.raises(
        DataError, match=r"write one with `calibrate RUN_FOLDER... --output '.*a calibration.json'`"
    ):
        read_calibration(path)


@pytest.mark.parametrize("value", [None, "x", float("inf"), 0])
def test_a_calibration_with_an_odd_scale_is_refused(
    three: pd.DataFrame, tmp_path: Path, value: object
) -> None:
    calibrate(three).write(tmp_path / "c.json")
    document = json.loads((tmp_path / "c.json").read_text())
    del document["sha256"]
    next(iter(document["model"]["terms"].values()))["scale"] = value
    (tmp_path / "c.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="no calibration of this version"):
        read_calibration(tmp_path / "c.json")


def test_a_digit_of_a_calibration_that_was_changed_by_a_fault_is_noticed(
    three: pd.DataFrame, tmp_path: Path
) -> None:
    calibrate(three).write(tmp_path / "c.json")
    text = (tmp_path / "c.json").read_text()
    (tmp_path / "c.json").write_text(text.replace('"half_width": 0.', '"half_width": 1.'))
    with pytest.raises(DataError, match="damaged"):
        read_calibration(tmp_path / "c.json")


def test_what_is_unlike_the_calibration_is_named(three: pd.DataFrame) -> None:
    fitted = calibrate(three)
    usual = {name: (term.low + term.high) / 2 for name, term in fitted.model.terms.items()}
    assert fitted.unlike(usual) == []
    (said,) = fitted.unlike({**usual, "edge": 1e3})
    assert said.startswith(FEATURES["edge"])
    assert fitted.unlike({**usual, "edge": np.nan}) == []


def test_an_entry_has_one_threshold_for_its_seeds_and_a_rank(three: pd.DataFrame) -> None:
    table = three[three["data"] == "a"]
    chosen = selected(table, calibrate(three[three["data"] != "a"]))
    assert list(chosen["rank"]) == [1, 2, 3, 4, 5, 6]
    assert (chosen["seeds"] == 3).all()
    assert (chosen["threshold"] == 0.3).all()
    assert chosen["entry"].iloc[0] == "method_5"
    assert ((chosen["low"] < chosen["predicted"]) & (chosen["predicted"] < chosen["high"])).all()
    plain = selected(table, None)
    assert "predicted" not in plain
    assert plain["product"].is_monotonic_decreasing


def test_truth_comes_from_the_runs_records(tmp_path: Path) -> None:
    run = {
        "dataset": "a",
        "method": "m",
        "scale": "nano",
        "protocol": "paper",
        "refiner": "own",
        "segmenter": "own",
    }

    def record(stage: str, variant: str, value: float, threshold: float, key: str) -> Record:
        return Record(
            **run, seed=0, stage=stage, variant=variant, split="train", metric="miou", value=value,
            threshold=threshold, key=key,
        )  # fmt: skip

    records = [record("cam", "curve", 0.3 + t, t, "cam") for t in (0.1, 0.2, 0.3)]
    records += [record("cam", "fixed", 0.4, 0.1, "cam"), record("cam", "oracle", 0.6, 0.3, "cam")]
    records += [record("pseudo_label", "", 0.7, float("nan"), "label")]
    write_records(tmp_path, records, [])

    class Found:
        folder = tmp_path

    rows = pd.DataFrame(
        {"key": ["cam", "cam", "label", "other"], "threshold": [0.1, 0.3, np.nan, np.nan], "kind": "any"}
    )
    known = with_truth(rows, Found())  # type: ignore[arg-type]
    np.testing.assert_allclose(known["truth"], [0.4, 0.6, 0.7])
    np.testing.assert_allclose(known["fixed"], [0.4, 0.4, np.nan])
    np.testing.assert_allclose(known["oracle"], [0.6, 0.6, 0.7])
    with pytest.raises(DataError, match="were not scored"):
        with_truth(rows[rows["key"] == "other"], Found())  # type: ignore[arg-type]


def test_the_shipped_calibration_can_be_read() -> None:
    if not SHIPPED.is_file():
        pytest.skip("none is shipped")
    shipped = read_calibration(SHIPPED)
    assert shipped.sources
    assert all({"data", "methods", "seeds", "commits"} <= source.keys() for source in shipped.sources)
