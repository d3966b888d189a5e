"""`prepare`, `doctor` and `run` on data sets of the layouts of VOC with SBD, and of COCO with COCO-Stuff."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.coco.reader import Coco2014, CocoConfig
from datasets.voc.reader import Voc2012, VocConfig
from results.io import read_run
from tests.helpers.archives import (
    boundaries_archive,
    box,
    coco_archives,
    coco_name,
    random_objects,
    tar_of,
    voc_archives,
    zip_of,
)
from tests.helpers.tiny import sizes
from tests.helpers.toys import CommandLine, Outcome
from tests.helpers.trees import SIZE

VOC = {
    "train": {f"2007_00000{i}": ["cat" if i % 2 else "dog"] for i in range(1, 5)},
    "val": {"2007_000011": ["cat"], "2007_000012": ["dog"]},
}
MORE = {"2008_000001": ["cow"], "2008_000002": ["cat"]}
TEST = ("2008_000101", "2008_000102")


def stripe(value: int, width: int = SIZE[0]) -> np.ndarray:
    mask = np.zeros((SIZE[1], width), np.uint8)
    mask[:, 3:9] = value
    return mask


@pytest.fixture
def voc(tmp_path: Path) -> list[Path]:
    """VOCtrainval, VOC2012test, SBD: its train has one of VOC's training images, its val one of VOC's val."""
    masks = {
        "train": {"2007_000001": stripe(8), "2008_000001": stripe(10)},
        "val": {"2007_000011": stripe(8), "2008_000002": stripe(8)},
    }
    source = tmp_path / "downloads"
    return [*voc_archives(source, VOC, TEST, MORE), boundaries_archive(source, masks)]


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Path]:
    """140 training and 60 validation images of 12 classes, some of which hold no object."""
    rng = np.random.default_rng(0)
    numbers = iter(range(1, 10_000, 3))
    objects = {
        split: {next(numbers): random_objects(rng, range(16, 26)) if k % 20 else [] for k in range(count)}
        for split, count in (("train", 140), ("val", 60))
    }
    return coco_archives(tmp_path / "downloads", objects)


def prepare(command_line: CommandLine, name: str, archives: list[Path], to: Path, *options: str) -> Outcome:
    return command_line("prepare", name, "--from", *archives, "--to", to, *options)


def check_one_line(done: Outcome, *words: str) -> None:
    assert done.code == 2, done.out
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in words), done.err


# ---------------------------------------------------------------- from downloads to scores


def test_voc_with_train_aug_goes_from_archives_to_scores(command_line, voc, tmp_path):
    done = prepare(command_line, "voc2012", voc[::-1], tmp_path / "data", "--partial")
    assert done.code == 0, done.err
    for line in ("train.txt: 4 found, 1464 expected", "train_aug: 6 images", "test: 2 images"):
        assert line in done.out
    found = Voc2012(VocConfig(root=str(tmp_path / "data")))
    found.prepare()
    assert found.train_list == "train_aug"
    assert found.ids("train") == (*VOC["train"], *MORE)  # no image of val
    assert [s.id for s in found.test_samples()] == list(TEST)
    assert found.mask_path("2007_000001").parent.name == "SegmentationClass"  # VOC's own comes first
    with Image.open(found.mask_path("2008_000001")) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.array(mask), stripe(10))
    data = f"dataset.root={tmp_path / 'data'}"
    checked = command_line("doctor", "--dataset", "voc2012", data)
    assert "train: 6 images (list train_aug), 6 with masks" in checked.out
    assert "BAD" not in checked.out.partition("Data set voc2012")[2].partition("Nothing is broken")[0]
    ran = command_line.run_on("cam", "--dataset", "voc2012", data, *sizes(["cam"], iterations=2))
    assert ran.code == 0, ran.err
    records = read_run(command_line.output).records
    of_val = records[(records["metric"] == "miou") & (records["stage"] == "segmentation")]
    (found,) = of_val[of_val["method"] == "cam"]["value"]
    assert 0 < found < 1
    assert set(of_val["split"]) == {"val"}
    assert set(of_val["images"]) == {len(VOC["val"])}


def test_coco_goes_from_archives_to_scores_with_both_ground_truths(command_line, coco, tmp_path):
    to = tmp_path / "data"
    done = prepare(command_line, "coco2014", list(coco.values()), to, "--partial")
    assert done.code == 0, done.err
    assert "subset: " in done.out
    assert "train: 133 images with an object" in done.out
    assert "val: 57 images with an object" in done.out
    truths = {}
    for truth in ("instances", "coco_stuff"):
        settings = (f"dataset.root={to}", f"dataset.ground_truth={truth}")
        checked = command_line("doctor", "--dataset", "coco2014", *settings)
        assert checked.code == 0, checked.out
        expected = f"train: 133 images with an object, of 140; 133 with masks (ground truth {truth})"
        assert expected in checked.out
        chosen = ("--dataset", "coco2014", *settings, *sizes(["cam"], iterations=2))
        ran = command_line.run_on("cam", *chosen)
        assert ran.code == 0, ran.err
        truths[truth] = Coco2014(CocoConfig(root=str(to), ground_truth=truth)).fingerprint("masks", "val")
    assert len(set(truths.values())) == 2
    records = read_run(command_line.output).records
    scores = records[(records["metric"] == "miou") & (records["method"] == "cam")]
    assert scores["changes"].str.contains("dataset.ground_truth=coco_stuff").any()
    assert not scores["changes"].str.contains("dataset.ground_truth=coco_stuff").all()
    of_val = scores[scores["stage"] == "segmentation"]
    assert set(of_val["split"]) == {"val"}
    assert of_val["images"].tolist() == [57, 57]
    assert of_val["value"].between(0, 1, inclusive="neither").all()


# ---------------------------------------------------------------- resuming


def test_what_is_in_place_stays_and_what_is_lost_is_made_again(command_line, coco, tmp_path):
    to, archives = tmp_path / "data", list(coco.values())
    prepare(command_line, "coco2014", archives, to, "--partial")
    files = sorted(p for p in to.rglob("*") if p.is_file())
    times = {p: p.stat().st_mtime_ns for p in files}
    lost = [next(p for p in files if p.match(what)) for what in ("train2014/*.jpg", "instances/*/*.png")]
    torn = next(p for p in files if p.match("coco_stuff/*/*.png"))
    contents = {p: p.read_bytes() for p in (*lost, torn)}
    lost[0].write_bytes(b"half")  # as if the disk had been full
    lost[1].unlink()
    torn.rename(torn.with_name(f"{torn.name}.tmp"))
    assert prepare(command_line, "coco2014", archives, to, "--partial").code == 0
    assert {p: p.read_bytes() for p in contents} == contents
    untouched = [p for p in files if p not in contents]
    assert {p: times[p] for p in untouched} == {p: p.stat().st_mtime_ns for p in untouched}


def test_files_damaged_at_the_same_size_are_repaired(command_line, voc, tmp_path):
    to = tmp_path / "data"
    assert prepare(command_line, "voc2012", voc, to, "--partial").code == 0
    path = next((to / "VOCdevkit/VOC2012/JPEGImages").glob("*.jpg"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"damaged!!")
    done = prepare(command_line, "voc2012", voc, to, "--partial")
    assert done.code == 0, done.err
    assert f"1 files are damaged ({path.relative_to(to).as_posix()})" in done.out.replace("\n", "")
    assert path.read_bytes() == whole


def test_archives_may_come_one_after_the_other(command_line, voc, coco, tmp_path):
    trainval, test, boundaries = voc
    to = tmp_path / "voc"
    assert prepare(command_line, "voc2012", [trainval], to, "--partial").code == 0
    assert Voc2012(VocConfig(root=str(to))).train_list == "train"
    assert prepare(command_line, "voc2012", [boundaries], to, "--partial").code == 0
    assert prepare(command_line, "voc2012", [test], to, "--partial").code == 0
    assert Voc2012(VocConfig(root=str(to))).train_list == "train_aug"
    *first, stuff = coco.values()
    assert prepare(command_line, "coco2014", first, tmp_path / "coco", "--partial").code == 0
    assert prepare(command_line, "coco2014", [stuff], tmp_path / "coco", "--partial").code == 0
    without = command_line("prepare", "coco2014", "--to", tmp_path / "coco", "--partial")
    assert without.code == 0
    assert len(list((tmp_path / "coco" / "masks" / "coco_stuff" / "val2014").iterdir())) == 57


def test_one_archive_may_hold_all(command_line, voc, coco, tmp_path):
    """Images and annotations packed together: both are taken; so with VOC and SBD."""
    files: dict[str, bytes] = {}
    for archive in coco.values():
        with zipfile.ZipFile(archive) as zipped:
            files |= {i.filename: zipped.read(i) for i in zipped.infolist()}
    everything = zip_of(tmp_path / "coco.zip", files)
    done = prepare(command_line, "coco2014", [everything], tmp_path / "coco", "--partial")
    assert done.code == 0, done.err
    for truth in ("instances", "coco_stuff"):
        assert len(list((tmp_path / "coco" / "masks" / truth / "val2014").iterdir())) == 57
    for archive in voc:
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
    everything = tar_of(tmp_path / "voc.tar", tmp_path / "unpacked")
    done = prepare(command_line, "voc2012", [everything], tmp_path / "voc", "--partial")
    assert done.code == 0, done.err
    assert Voc2012(VocConfig(root=str(tmp_path / "voc"))).train_list == "train_aug"


# ---------------------------------------------------------------- what is refused


def test_counts_that_are_not_the_official_ones(command_line, voc, coco, tmp_path):
    done = prepare(command_line, "voc2012", voc, tmp_path / "voc")
    check_one_line(done, "train.txt: 4 found, 1464 expected", "--partial")
    done = prepare(command_line, "coco2014", list(coco.values()), tmp_path / "coco")
    check_one_line(done, "instances_train2014.json: images: 140 found, 82783 expected", "--partial")


@pytest.mark.parametrize("name", ["voc2012", "coco2014"])
def test_files_that_are_no_download_of_the_data_set(command_line, tmp_path, name):
    (tmp_path / "page.zip").write_text("<html>Not found</html>")
    done = prepare(command_line, name, [tmp_path / "page.zip"], tmp_path / "data")
    check_one_line(done, "page.zip: neither a tar nor a zip archive")
    done = prepare(command_line, name, [tmp_path / "gone.zip"], tmp_path / "data")
    check_one_line(done, "gone.zip: no such file")
    other = zip_of(tmp_path / "other.zip", {"holiday/beach.jpg": b"x"})
    done = prepare(command_line, name, [other], tmp_path / "data")
    check_one_line(done, "other.zip: none of ", "it begins with holiday/beach.jpg")
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_an_unknown_data_set(command_line, tmp_path):
    check_one_line(prepare(command_line, "coco", [tmp_path], tmp_path), "there are voc2012, coco2014")


def test_nothing_to_begin_with(command_line, tmp_path):
    check_one_line(command_line("prepare", "voc2012", "--to", tmp_path), "give VOCtrainval_11-May-2012.tar")
    done = command_line("prepare", "coco2014", "--to", tmp_path)
    check_one_line(done, "instances_train2014.json; give annotations_trainval2014.zip")


@pytest.mark.parametrize("cut", [0.2, 0.5])
@pytest.mark.parametrize("more", [0, 7, 300])
def test_a_download_that_broke_off(command_line, voc, tmp_path, cut, more):
    """Also between two files of a tar, whose blocks are of 512 bytes, or within a header."""
    for archive in (voc[0], voc[2]):
        content = archive.read_bytes()
        archive.write_bytes(content[: int(len(content) * cut) // 512 * 512 + more])
        done = prepare(command_line, "voc2012", [archive], tmp_path / "data", "--partial")
        check_one_line(done, archive.name, "download it again")


def test_members_that_lead_out_of_the_folder(command_line, tmp_path):
    evil = zip_of(tmp_path / "evil.zip", {"train2014/../../COCO_train2014_000000000001.jpg": b"x"})
    check_one_line(prepare(command_line, "coco2014", [evil], tmp_path / "d"), "leads out of the folder")
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("VOCdevkit/VOC2012/readme.txt"), io.BytesIO())
    check_one_line(prepare(command_line, "voc2012", [path], tmp_path / "d"), "evil.tar: none of ")
    assert not list((tmp_path / "d").rglob("*.jpg"))


def test_too_little_space(command_line, voc, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("datasets.files.preparing.shutil.disk_usage", lambda place: usage)
    done = prepare(command_line, "voc2012", voc, tmp_path / "data", "--partial")
    check_one_line(done, "GB are needed and 0.0 GB are free")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (stripe(21), "not class ids 0..20"),
        (stripe(10, 9), "is 9x16, its image 24x16"),
        (None, "no mask of SBD"),
    ],
)
def test_faulty_masks_of_sbd(command_line, voc, tmp_path, mask, words):
    faulty = stripe(1) if mask is None else mask
    masks = {"train": {"2008_000001": faulty}, "val": {"2008_000002": stripe(8)}}
    archive = boundaries_archive(tmp_path / "faulty", masks)
    if mask is None:
        (
            tmp_path / "faulty" / "sbd" / "benchmark_RELEASE" / "dataset" / "cls" / "2008_000001.mat"
        ).write_text("x")
        tar_of(archive, tmp_path / "faulty" / "sbd", "w:gz")
    done = prepare(command_line, "voc2012", [voc[0], archive], tmp_path / "data", "--partial")
    check_one_line(done, "2008_000001.mat", words)
    assert Voc2012(VocConfig(root=str(tmp_path / "data"))).train_list == "train"  # the list comes last


def test_images_that_are_missing_are_counted_and_named(command_line, coco, tmp_path):
    with zipfile.ZipFile(coco["val2014"]) as zipped:
        files = {i.filename: zipped.read(i) for i in zipped.infolist()}
    (name,) = (n for n in files if n.endswith(f"{424:012d}.jpg"))
    del files[name]
    zip_of(coco["val2014"], files)
    done = prepare(command_line, "coco2014", list(coco.values()), tmp_path / "data", "--partial")
    check_one_line(done, "1 of 57 val images", coco_name("val", 424))


def test_maps_that_are_not_coco_stuffs(command_line, coco, tmp_path):
    with zipfile.ZipFile(coco["stuff"]) as zipped:
        files = {i.filename: zipped.read(i) for i in zipped.infolist()}
    name = next(n for n in files if n.startswith("train2017/") and not n.endswith("01.png"))
    buffer = io.BytesIO()
    Image.new("L", (32, 24), 200).save(buffer, "PNG")
    zip_of(coco["stuff"], {**files, name: buffer.getvalue()})
    done = prepare(command_line, "coco2014", list(coco.values()), tmp_path / "data", "--partial")
    check_one_line(done, name, "value 200, but COCO-Stuff has 0..181 and 255")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("categories"), "not as COCO's instances files are (no 'categories')"),
        (lambda c: c["categories"].pop(), "its 79 categories are not the 80"),
        (lambda c: c["images"][0].update(file_name="../a.jpg"), "file name '../a.jpg'"),
        (lambda c: c["annotations"][0].update(image_id=5), "is of image 5, which is not listed"),
        (lambda c: c["annotations"][0].update(segmentation="x"), "no outline that can be drawn"),
        (lambda c: c["annotations"][0].update(segmentation={"counts": [1]}), "run lengths of 1 pixels"),
    ],
)
def test_faulty_annotations(command_line, tmp_path, change, words):
    objects = {"train": {1: [box(1, 2, 3, 9, 9)]}, "val": {2: [box(90, 2, 3, 9, 9)]}}
    archives = coco_archives(tmp_path / "downloads", objects)
    with zipfile.ZipFile(archives["annotations"]) as zipped:
        files = {i.filename: zipped.read(i) for i in zipped.infolist()}
    name = "annotations/instances_train2014.json"
    content = json.loads(files[name])
    change(content)
    zip_of(archives["annotations"], {**files, name: json.dumps(content).encode()})
    done = prepare(command_line, "coco2014", list(archives.values()), tmp_path / "data", "--partial")
    check_one_line(done, words)


def test_drawn_pictures_are_written_where_they_can_be_looked_at(command_line, tmp_path):
    done = command_line("prepare", "shapes", "--to", str(tmp_path / "out"))
    assert done.code == 0, done.err
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert f"Images and masks: {folder}" in done.out.replace("\n", "")
    assert len(list((folder / "images").iterdir())) == len(list((folder / "masks").iterdir())) > 100
