"""Bad input: one clear line (what, where, what to do), no traceback, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from results.io import read_run
from tests.helpers.tiny import data, sizes
from tests.helpers.toys import CommandLine, Outcome, Toy
from tests.helpers.trees import annotation, write_folder, write_image, write_mask, write_voc

LISTS = {
    "train": {f"2007_00000{i}": ["cat" if i % 2 else "dog"] for i in range(1, 5)},
    "val": {"2007_000011": ["cat"], "2007_000012": ["dog"]},
}
ROWS = [f"{name},{label},{split}" for name, label, split in (
    ("a", "cat", "train"), ("b", "dog", "train"), ("c", "cat", "val"), ("d", "dog", "val"))]  # fmt: skip


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """`VOC2012` with four training and two validation images."""
    return write_voc(tmp_path / "VOCdevkit", LISTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A `folder` data set of two classes with masks."""
    root = write_folder(tmp_path / "mine", ROWS)
    (root / "classes.txt").write_text("cat\ndog\n")
    return root


def run_cam(command_line: CommandLine, methods: str, dataset: str, root: Path, *overrides: str) -> Outcome:
    chosen = ["cam"] if "cam" in methods.split(",") else []
    place = ("--dataset", dataset, f"dataset.root={root}")
    return command_line.run_on(methods, *place, *sizes(chosen, iterations=2), *overrides)


def reasons(command_line: CommandLine) -> dict[str, str]:
    """Method -> why it failed; "" where it is done."""
    runs = read_run(command_line.output).runs
    assert all(run["status"] == ("failed" if run["reason"] else "done") for run in runs)
    return {run["method"]: run["reason"] for run in runs}


def check_one_line(done: Outcome, *words: str) -> None:
    """Refused before anything was computed."""
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.out + done.err
    assert all(word in done.err for word in words), done.err


def check_failed_row(done: Outcome, reason: str, *words: str) -> None:
    """Failed while the others ran; the reason is one line that is also printed at the end."""
    assert done.code == 1
    assert "\n" not in reason
    assert reason in done.out
    assert "Traceback" not in done.out + done.err
    assert all(word in reason for word in words), reason


# ---------------------------------------------------------------- refused before anything is computed


@pytest.mark.parametrize(
    ("dataset", "remedy"),
    [
        ("voc2012", "set dataset.root=PATH of VOCdevkit"),
        ("coco2014", "set dataset.root=PATH of train2014/, val2014/, annotations/"),
        ("folder", "set dataset.root=PATH of a folder with images/ and labels.csv"),
    ],
)
def test_a_missing_data_root(command_line, tmp_path, dataset, remedy):
    check_one_line(run_cam(command_line, "cam", dataset, tmp_path / "gone"), str(tmp_path / "gone"), remedy)


def test_a_data_root_without_the_data(command_line, tmp_path):
    check_one_line(run_cam(command_line, "cam", "voc2012", tmp_path), "VOC2012/JPEGImages", str(tmp_path))


def test_an_image_off_the_disk(command_line, voc):
    (voc / "JPEGImages" / "2007_000002.jpg").unlink()
    done = run_cam(command_line, "cam", "voc2012", voc)
    check_one_line(done, "1 of 4 ids of the train list have no image", "2007_000002", "unpack the data set")


def test_an_image_without_labels_in_voc(command_line, voc):
    path = voc / "Annotations" / "2007_000002.xml"
    path.write_text(annotation(["unicorn"]))
    done = run_cam(command_line, "cam", "voc2012", voc)
    check_one_line(
        done, str(path), "no object of the 20 classes (objects: unicorn)", "take the id off the list"
    )


def test_an_image_without_labels_in_a_folder(command_line, folder):
    (folder / "labels.csv").write_text("id,labels,split\n" + "\n".join([*ROWS[:-1], "d,,val"]))
    done = run_cam(command_line, "cam", "folder", folder)
    check_one_line(done, "labels.csv row 5", "image 'd' has no labels", "dataset.allow_empty=true")


def test_an_unknown_class_name_in_the_csv(command_line, folder):
    (folder / "labels.csv").write_text("id,labels,split\n" + "\n".join([*ROWS[:-1], "d,dgo,val"]))
    done = run_cam(command_line, "cam", "folder", folder)
    check_one_line(done, "labels.csv row 5", "unknown class 'dgo' (classes: cat, dog)", "did you mean 'dog'?")


def test_an_unknown_method(command_line, folder):
    check_one_line(
        run_cam(command_line, "kam", "folder", folder), "unknown method 'kam'; did you mean 'cam'?"
    )


@pytest.mark.parametrize(
    ("values", "size", "words"),
    [
        ([0, 1, 7], (24, 16), ["holds id 7, but ids are 0..2 and 255", "check the class list"]),
        (
            [0, 1, 2],
            (16, 16),
            ["is 16x16", "is 24x16 (width x height)", "export the mask at its image's size"],
        ),
    ],
)
@pytest.mark.parametrize("name", ["a", "d"], ids=["train", "val"])
def test_a_mask_that_does_not_fit(command_line, folder, name, values, size, words):
    """Whether it is scored on or trained on, it is found before anything is trained."""
    mask = folder / "masks" / f"{name}.png"
    write_mask(mask, values, size)
    for method in ("cam", "supervised"):
        done = run_cam(
            command_line, method, "folder", folder, f"method.{method}.segmenter.backbone.weights=none"
        )
        check_one_line(done, str(mask), *words)
        assert {p.name for p in command_line.store.glob("artifacts/*")} <= {"check-masks"}


def test_a_mask_that_went_bad_costs_nothing_that_was_made(command_line, third_party, folder):
    third_party(Toy("sound"))
    mask = folder / "masks" / "a.png"
    assert run_cam(command_line, "sound", "folder", folder).code == 0
    (artifact,) = command_line.store.glob("artifacts/labels/*")
    made = (artifact / "manifest.json").stat().st_mtime_ns
    write_mask(mask, [0, 1, 7])
    check_one_line(run_cam(command_line, "sound", "folder", folder), str(mask), "holds id 7")
    write_mask(mask, [0, 0, 1])
    assert run_cam(command_line, "sound", "folder", folder).code == 0
    assert (artifact / "manifest.json").stat().st_mtime_ns == made


def test_masks_that_say_255_for_the_object(command_line, third_party, folder):
    third_party(Toy("sound"))
    for mask in (folder / "masks").iterdir():
        write_mask(mask, [0, 255])
    check_one_line(
        run_cam(command_line, "sound", "folder", folder),
        "folder: train: none of the 2 masks whose images have labels",
        "only 0 (background) and 255 (ignored)",
        "save each object as the id of its class (1 cat, 2 dog)",
    )


def test_masks_that_nobody_opens_are_not_looked_at(command_line, third_party, folder):
    """A method that stops before what is scored on val needs no masks of val."""
    third_party(Toy("sound"))
    write_mask(folder / "masks" / "d.png", [0, 1, 7])
    done = run_cam(command_line, "sound", "folder", folder)
    assert reasons(command_line) == {"sound": ""}
    assert "references · val" in done.out  # these score val, and say what is wrong there


# ---------------------------------------------------------------- a row of the leaderboard


def test_a_truncated_image(command_line, third_party, voc):
    """Only those who read it fail; the leaderboard appears; a whole image makes the rest good."""
    third_party(Toy("blind"))
    image = voc / "JPEGImages" / "2007_000001.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:-40])  # its header is whole: the size can be read
    overrides = ("method.cam.backbone.weights=none",)
    done = run_cam(command_line, "cam,blind", "voc2012", voc, *overrides)
    why = reasons(command_line)
    check_failed_row(done, why["cam"], str(image), "the JPEG is truncated", "copy it again")
    assert why["blind"] == ""
    assert (command_line.output / "report.html").is_file()
    assert f"no panel of 2007_000001: {image}: cannot be decoded" in done.out
    image.write_bytes(whole)
    assert run_cam(command_line, "cam,blind", "voc2012", voc, *overrides).code == 0
    assert reasons(command_line) == {"cam": "", "blind": ""}


def test_weights_of_another_network(command_line, third_party, tmp_path):
    third_party(Toy("sound"))
    path = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(4, 3)}, path)
    run_data = (*data(tmp_path / "data"), "dataset.train=4", "dataset.val=2")
    done = command_line.run_on("cam,sound", *run_data, *sizes(["cam"]), f"method.cam.backbone.weights={path}")
    why = reasons(command_line)
    check_failed_row(
        done, why["cam"], str(path), "do not fit", "stem.weight", "choose the file of this network"
    )
    assert why["sound"] == ""


@pytest.mark.parametrize("name", ["photograph.pth", "photograph.safetensors"])
def test_a_file_that_holds_no_weights(command_line, tmp_path, name):
    path = tmp_path / name
    write_image(tmp_path / "photograph.png")
    path.write_bytes((tmp_path / "photograph.png").read_bytes())
    run_data = (*data(tmp_path / "data"), "dataset.train=4", "dataset.val=2")
    done = command_line.run_on("cam", *run_data, *sizes(["cam"]), f"method.cam.backbone.weights={path}")
    check_failed_row(done, reasons(command_line)["cam"], f"cannot read weights {path}: ", "fetch or export")


def test_a_weight_file_that_is_not_there(command_line, tmp_path):
    path = tmp_path / "gone.pth"
    run_data = (*data(tmp_path / "data"), "dataset.train=4", "dataset.val=2")
    done = command_line.run_on("cam", *run_data, f"method.cam.backbone.weights={path}")
    check_failed_row(
        done, reasons(command_line)["cam"], f"weight file {path} does not exist", "correct the path"
    )


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs a device that is always full")
def test_a_disk_that_fills_during_training(command_line, tmp_path, monkeypatch):
    """The checkpoint goes to a full device; once there is room, the same command goes on and completes."""
    run_data = (*data(tmp_path / "data"), "dataset.train=4", "dataset.val=2")
    settings = (*sizes(["cam"]), "method.cam.backbone.weights=none", "runtime.checkpoint_every=2")
    save, calls = torch.save, 0

    def full(state: object, file: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            with Path("/dev/full").open("wb") as device:
                save(state, device)
        save(state, file)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        done = command_line.run_on("cam", *run_data, *settings, "--until", "cam")
    why = reasons(command_line)["cam"]
    check_failed_row(
        done, why, f"the disk with {command_line.store} is full", "free some space", "it resumes"
    )
    done = command_line.run_on("cam", *run_data, *settings, "--until", "cam")
    assert done.code == 0
    assert "classify: resuming at 2/6 it" in done.out
    (history,) = command_line.store.glob("artifacts/classify/*/losses-1.json")
    assert [entry["iteration"] for entry in json.loads(history.read_text())] == [1, 2, 3, 4, 5, 6]


def test_masks_for_some_images_only(command_line, third_party, folder):
    """Not bad input: what there is, is said, and nothing fails."""
    third_party(Toy("sound"))
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    done = run_cam(command_line, "sound,supervised", "folder", folder)
    assert done.code == 0
    runs = {c["method"]: (c["status"], c["reason"]) for c in read_run(command_line.output).runs}
    assert runs == {
        "sound": ("done", ""),
        "supervised": ("not run", "needs true masks of the training images; 2 of 2 have none"),
    }


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("classes: {boat: {words: [water, pier, sail, harbour, beach]}}", "no background words for class"),
        ("classes: {aeroplane: {words: [sky]}}", "class 'aeroplane' has 1 background words"),
    ],
)
def test_a_class_without_background_words(command_line, third_party, tmp_path, words, what):
    third_party(Toy("sound"))
    path = tmp_path / "words.yaml"
    path.write_text(words + "\n")
    done = command_line.run("ca_cl,sound", f"method.ca_cl.text.words={path}")
    why = reasons(command_line)
    check_failed_row(done, why["ca_cl"], str(path), what, "add ")
    assert why["sound"] == ""


@pytest.mark.parametrize("method", ["ca_cl", "clims"])
def test_a_prompt_without_a_place_for_the_class(command_line, tmp_path, method):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a photo of {}.\na photo\n")
    for setting, source in (
        ('prompts=["a photo"]', "text.prompts"),
        (f"prompts_file={prompts}", str(prompts)),
    ):
        done = command_line.run(method, f"method.{method}.text.{setting}")
        found = [run["reason"] for run in read_run(command_line.output).runs]
        (why,) = (reason for reason in found if reason.startswith(f"{source}: "))
        check_failed_row(done, why, "prompt 'a photo' must have {} once", "e.g. 'a photo of {}.'")
