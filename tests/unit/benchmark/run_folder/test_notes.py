"""What scores were made without or with reaches the reader: records of the run, terminal, HTML, Markdown, LaTeX."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.provenance import mixed, packages
from reports.text import footnotes
from results.aggregate import leaderboard
from results.io import read_run
from tests.helpers.toys import CommandLine, Toy
from tests.helpers.trees import write_folder

ROWS = ("a,rust,train", "b,dent,train", "c,rust;scratch,val")


def shown(command_line: CommandLine, printed: str) -> dict[str, str]:
    """The leaderboard by where it is read; line breaks as spaces."""
    files = {name: command_line.output / name for name in ("report.html", "report.md", "tables.tex")}
    texts = {"terminal": printed} | {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    return {name: " ".join(text.replace("{-}", "-").split()) for name, text in texts.items()}


def on_folder(command_line: CommandLine, tmp_path: Path, masks: bool, *settings: str) -> str:
    root = write_folder(tmp_path / "mine", ROWS, masks=masks)
    done = command_line.run_on("sound", "--dataset", "folder", f"dataset.root={root}", *settings)
    assert done.code == 0, done.err
    return done.out


def test_a_board_without_masks_says_so(command_line, third_party, tmp_path):
    third_party(Toy("sound"))
    printed = on_folder(command_line, tmp_path, masks=False)
    stored = read_run(command_line.output)
    (stage,) = stored.runs[0]["stages"]
    assert stage["notes"] == ["no masks, nothing is scored"]
    assert stored.records[stored.records["metric"] == "miou"].empty
    for name, text in shown(command_line, printed).items():
        assert "Pseudo-label (train): no masks, nothing is scored" in text, name


def test_absent_classes_and_predicted_255_are_on_the_board(command_line, third_party, tmp_path):
    third_party(Toy("sound"))
    printed = on_folder(command_line, tmp_path, True, "method.sound.value=255")
    (stage,) = read_run(command_line.output).runs[0]["stages"]
    # stripes of 0 and one class in all pixels of two images of 24 x 16
    assert stage["notes"] == [
        "768 scored pixels were predicted 255 and count as background",
        "not in the ground truth, left out of the mean: scratch",
    ]
    for name, text in shown(command_line, printed).items():
        for note in stage["notes"]:
            assert f"Pseudo-label (train): {note}" in text, name


def run(method: str, seed: int, *stages: tuple[str, str, list[str]]) -> dict:
    identity = {"dataset": "shapes", "scale": "nano", "protocol": "paper", "method": method}
    identity |= {"refiner": "own", "segmenter": "own", "changes": "", "seed": seed, "status": "done"}
    kept = [{"score": {"stage": s, "split": split}, "notes": notes} for s, split, notes in stages]
    return identity | {"reason": "", "method_info": {"title": method}, "stages": kept, "provenance": {}}


@pytest.fixture
def no_records(tmp_path):
    from results.io import write_records

    write_records(tmp_path, [], [])
    return read_run(tmp_path).records


def test_equal_notes_stand_once_and_name_entries_only_where_others_differ(no_records):
    no_masks = "no masks, nothing is scored"
    runs = [
        run("cam", seed, ("cam", "train", [no_masks]), ("segmentation", "val", [no_masks, "odd"]))
        for seed in (0, 1)
    ]
    runs.append(run("eps", 0, ("cam", "train", [no_masks]), ("segmentation", "val", [no_masks])))
    assert footnotes(leaderboard(no_records, runs)) == [
        f"CAM (train), Segmentation (val): {no_masks}",
        "Segmentation (val): odd [cam]",
    ]


def test_a_run_of_a_former_version_has_no_notes(no_records):
    old = run("cam", 0, ("cam", "train", []))
    del old["stages"][0]["notes"]
    assert footnotes(leaderboard(no_records, [old])) == []


def test_stages_of_another_commit_torch_or_machine_are_said(no_records):
    def made(commit: str, torch: str, cpu: str) -> dict:
        hardware = {"cpu": cpu, "machine": "x86_64", "cores": 2, "threads": 2}
        git = {"commit": commit, "dirty": False}
        return {"git": git, "packages": {"torch": torch, "numpy": "2.3"}, "hardware": hardware}

    old, new = made("a" * 40, "2.11", "Xeon"), made("b" * 40, "2.12", "EPYC")
    assert mixed({"classify": old, "cam": old}) == {}
    found = mixed({"classify": old, "cam": new, "segment": new})
    assert found == {
        "commit": {"a" * 10: ["classify"], "b" * 10: ["cam", "segment"]},
        "torch": {"2.11": ["classify"], "2.12": ["cam", "segment"]},
        "hardware": {"Xeon, 2 threads": ["classify"], "EPYC, 2 threads": ["cam", "segment"]},
    }
    runs = [run("cam", 0) | {"provenance": {"mixed": {"torch": found["torch"]}}}, run("eps", 0)]
    said = "Provenance: mixed torch: 2.11 (classify); 2.12 (cam, segment)"
    assert footnotes(leaderboard(no_records, runs)) == [f"{said} [cam]"]
    assert footnotes(leaderboard(no_records, runs[:1])) == [said]


def test_the_packages_that_decide_numbers_are_recorded():
    assert {"torch", "rembg", "onnxruntime", "Pillow"} <= packages().keys()
