"""What differs between two methods, and the runs in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.config import compose
from benchmark.explanation.cells import METHOD, Side, cell, differences, read_side, sets
from benchmark.explanation.ledger import Changed
from benchmark.failures import ConfigError
from tests.helpers.tiny import data, sizes
from tests.helpers.toys import CommandLine


def side(text: str, *overrides: str) -> Side:
    return read_side(text, "shapes", "nano", "paper", overrides)


def changed(*things: str) -> Changed:
    return frozenset(things)


def test_a_method_differs_from_itself_in_what_is_named() -> None:
    assert differences(side("cam"), side("cam"), "segmentation") == []
    assert differences(side("cam:none"), side("cam:crf"), "segmentation") == ["refiner"]
    assert differences(side("cam:none"), side("cam:crf"), "cam") == []
    found = differences(side("cam:none:largefov"), side("cam:crf:aspp"), "segmentation")
    assert [thing for thing in found if thing != "test"] == ["refiner", "segmenter"]


def test_the_tests_settings_are_a_thing_of_their_own() -> None:
    a, b = (
        side("cam"),
        side("eps", "method.eps.segmenter.test_flip=true", "method.eps.segmenter.test_scales=[1,1.5]"),
    )
    found = differences(a, b, "segmentation")
    assert {METHOD, "test"} <= set(found)
    middle = cell(a, b, changed("test"), found).protocol.segmenter
    assert middle is not None
    assert (middle.test_flip, middle.test_scales) == (True, (1.0, 1.5))
    assert middle.train == a.parts["segmenter"].train


def test_the_ends_are_the_methods_usual_runs() -> None:
    a, b = side("cam"), side("eps")
    things = differences(a, b, "segmentation")
    for end, name in ((changed(), "cam"), (changed(*things), "eps")):
        config = cell(a, b, end, things)
        usual = compose([name], "shapes", "nano", "paper")
        assert (config.method, config.protocol) == (usual.method, usual.protocol)


def test_a_part_moves_to_the_other_method() -> None:
    a, b = side("cam:none"), side("eps:crf")
    things = differences(a, b, "pseudo_label")
    config = cell(a, b, changed("refiner"), things)
    assert list(config.method) == ["cam"]
    assert config.protocol.refiner == b.parts["refiner"]
    config = cell(a, b, changed(METHOD), things)
    assert list(config.method) == ["eps"]
    assert config.protocol.refiner == a.parts["refiner"]


def test_what_only_one_method_has_goes_with_it() -> None:
    a, b = side("cam"), side("sam_fused")  # whose fusion with SAM no other method can take
    assert b.parts["refiner"] is None
    things = differences(a, b, "pseudo_label")
    assert {METHOD, "refiner"} <= set(things)
    found = sets(a, b, things)
    assert all(METHOD in each for each in found if "refiner" in each)
    assert changed(METHOD) in found


@pytest.mark.parametrize("text", ["cam:", ":crf", "cam:crf:aspp:more", "nothing", "cam:nothing"])
def test_what_names_no_side_is_refused(text: str) -> None:
    with pytest.raises(Exception, match=r"write METHOD|unknown|there are") as error:
        side(text)
    assert "\n" not in str(error.value)


def test_overrides_of_other_methods_are_refused(command_line: CommandLine) -> None:
    done = command_line("explain", "cam:none", "cam:crf", "method.eps.train.iterations=3")
    assert done.code == 2
    assert "is of a method that is not compared" in done.err
    with pytest.raises(ConfigError):
        side("cam:crf:nothing")


def test_the_command_attributes_a_planted_change(command_line: CommandLine, tmp_path: Path) -> None:
    """Two runs that differ in the refiner alone: all of the difference is the refiner's."""
    settings = [*sizes(["cam"]), *data(tmp_path / "shapes"), f"runtime.store={command_line.store}"]
    common = (
        "cam:none",
        "cam:crf",
        *settings,
        "--score",
        "pseudo_label",
        "--device",
        "cpu",
        "--seeds",
        "0,1",
    )
    planned = command_line("explain", *common, "--dry-run")
    assert planned.code == 0, planned.err
    assert "differs in: refiner; 2 combinations, 4 runs" in planned.out
    assert "to do" in planned.out
    done = command_line("explain", *common, "--output", str(tmp_path / "ledger.json"))
    assert done.code == 0, done.err
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert [share["name"] for share in ledger["shares"]] == ["refiner"]
    assert ledger["shares"][0]["gain"] == pytest.approx(ledger["whole"]["gain"])
    assert ledger["whole"]["low"] <= ledger["whole"]["gain"] <= ledger["whole"]["high"]
    assert ledger["whole"]["gain"] != 0
    assert "refiner of the pseudo-labels" in done.out


def test_settings_that_both_methods_have_are_exchanged() -> None:
    a, b = side("cam"), side("eps", "method.eps.background_threshold=0.11", "method.eps.train.iterations=7")
    things = differences(a, b, "cam")
    assert {METHOD, "train", "background_threshold"} <= set(things)
    assert cell(a, b, changed("background_threshold"), things).method["cam"].background_threshold == 0.11
    config = cell(a, b, changed(METHOD, "background_threshold"), things).method["eps"]
    assert (config.background_threshold, config.train) == (0.11, a.parts["train"])


def test_settings_of_other_types_are_the_methods() -> None:
    assert not {"vit", "backbone"} & set(differences(side("cam"), side("toco"), "segmentation"))
