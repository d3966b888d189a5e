"""`check` from recording to finding: what is planted in the code is found in the numbers, and nothing else is."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import benchmark.check.sections
import benchmark.execution.context
import methods.layers.cam_inference
import methods.refiners.par
from benchmark.check.reference import Reference
from benchmark.check.sections import record_section
from benchmark.cli import main
from benchmark.config import compose
from datasets.files.sealed import read_sealed, sealed
from datasets.recipe import Normalisation
from methods.cam.network import PlainCam
from methods.refiners import threshold
from tests.helpers.tiny import sizes
from tests.helpers.toys import Toy

METHOD = ["cam"]


def record(folder: Path, device: str) -> tuple[str, ...]:
    """Options of a check whose reference is recorded by this call, in both tiers."""
    options = (
        *("--methods", ",".join(METHOD), "--device", device, "--reference", str(folder / "reference.json")),
        *(f"dataset.root={folder / 'data'}", "dataset.train=24", "dataset.val=12", "dataset.subset=12"),
        *(f"runtime.store={folder / 'store'}", "method.cam.refiner.name=par", *sizes(METHOD)),
    )
    arguments = ["benchmark", "check", "--update", "--train", "--seeds", "0", *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as exit_:
            main()
    assert exit_.value.code == 0
    return options


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return record(tmp_path_factory.mktemp("check"), "cpu")


@pytest.mark.parametrize(("cores", "most"), [(1, 2), (3, 3)])
def test_a_spread_is_measured_on_one_thread_and_on_several(monkeypatch, tmp_path, cores, most):
    """In one process: threads of several follow from their number."""
    seen, before = [], torch.get_num_threads()

    def measured(config, reference, device, tier, seed):
        seen.append((device, tier, seed, torch.get_num_threads(), config.runtime.processes))
        return {}

    monkeypatch.setattr(benchmark.check.sections, "usable_cores", lambda: cores)
    monkeypatch.setattr(benchmark.check.sections, "measure", measured)
    for tier in (1, 2):
        reference = Reference(tmp_path / "reference.json")
        record_section(compose(METHOD), reference, "cpu", tier, [4, 5], adding=False)
    assert seen == [
        ("cpu", 1, 0, before, 0),
        *(("cpu", 2, seed, threads, 1) for seed in (4, 5) for threads in (1, most)),
    ]
    assert torch.get_num_threads() == before


def test_a_spread_on_a_gpu_is_that_of_its_algorithms(monkeypatch, tmp_path):
    seen = []

    def measured(config, reference, device, tier, seed):
        seen.append((seed, config.runtime.deterministic, torch.are_deterministic_algorithms_enabled()))
        return {}

    monkeypatch.setattr(benchmark.check.sections, "measure", measured)
    before = torch.are_deterministic_algorithms_enabled()
    record_section(compose(METHOD), Reference(tmp_path / "r.json"), "cuda", 2, [0, 1], adding=False)
    assert seen == [(0, True, True), (0, False, False), (1, True, True), (1, False, False)]
    assert torch.are_deterministic_algorithms_enabled() == before


def reference_of(recorded: tuple[str, ...]) -> Path:
    return Path(recorded[recorded.index("--reference") + 1])


def test_nothing_differs_where_nothing_changed(recorded, command_line, tmp_path):
    before = reference_of(recorded).read_text()
    done = command_line("check", *recorded, "--junit", tmp_path / "check.xml")
    assert done.code == 0, done.out + done.err
    for tier in (1, 2):
        assert f"cpu · tier {tier}: " in done.out
    assert done.out.count("numbers of 1 method compared, 0 differ") == 2
    suites = ElementTree.parse(tmp_path / "check.xml").getroot()
    names = {case.get("name") for case in suites.iter("testcase")}
    scores, trainings = ("classifier", "cam", "pseudo_label", "segmentation"), ("classify", "segment")
    assert {f"cam/{stage}" for stage in (*scores, *trainings)} == names
    assert [suite.get("failures") for suite in suites] == ["0", "0"]
    assert reference_of(recorded).read_text() == before


@pytest.mark.gpu
def test_a_gpu_has_numbers_of_its_own(command_line, monkeypatch, tmp_path):
    options = record(tmp_path, "cuda")
    assert set(json.loads(reference_of(options).read_text())["baselines"]) == {"cuda/tier 1", "cuda/tier 2"}
    done = command_line("check", *options)
    assert done.code == 0, done.out + done.err
    for tier in (1, 2):
        assert f"cuda · tier {tier}: " in done.out
    assert done.out.count("numbers of 1 method compared, 0 differ") == 2
    flipped_cam(monkeypatch)
    assert command_line("check", *options, "--tier", "1").code == 1


def test_threads_change_nothing_that_counts(recorded, command_line):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        done = command_line("check", *recorded, "--tier", "1")
    finally:
        torch.set_num_threads(before)
    assert done.code == 0, done.out + done.err


def flipped_cam(patch: pytest.MonkeyPatch) -> None:
    right = methods.layers.cam_inference.multi_scale_cam
    patch.setattr(methods.layers.cam_inference, "multi_scale_cam", lambda *a: right(*a).flip(-1))


def class_id_off_by_one(patch: pytest.MonkeyPatch) -> None:
    right = methods.refiners.par.class_ids
    patch.setattr(
        methods.refiners.par, "class_ids", lambda classes: (right(classes).int() - 1).clamp_min(0).byte()
    )


def cam_normalised_by_the_image(patch: pytest.MonkeyPatch) -> None:
    def joint(maps: torch.Tensor) -> torch.Tensor:
        return maps / (maps.amax(dim=(-3, -2, -1), keepdim=True) + 1e-5)

    patch.setattr(PlainCam, "to_unit", staticmethod(joint))


def image_not_normalised(patch: pytest.MonkeyPatch) -> None:
    right: Callable = benchmark.execution.context.image_batches
    plain = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    patch.setattr(
        benchmark.execution.context,
        "image_batches",
        lambda samples, classes, normalisation, *rest, **named: right(
            samples, classes, plain, *rest, **named
        ),
    )


def skipped_refinement(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(methods.refiners.par, "pseudo_label", threshold.pseudo_label)


@pytest.mark.parametrize(
    ("plant", "where"),
    [
        (flipped_cam, "cam/cam"),
        (class_id_off_by_one, "cam/pseudo_label"),
        (cam_normalised_by_the_image, "cam/cam"),
        (image_not_normalised, "cam/cam"),
        (skipped_refinement, "cam/pseudo_label"),
    ],
)
def test_a_planted_fault_is_found(recorded, command_line, monkeypatch, tmp_path, plant, where):
    plant(monkeypatch)
    done = command_line("check", *recorded, "--tier", "1", "--junit", tmp_path / "check.xml")
    assert done.code == 1
    assert ", 0 differ" not in done.out
    cases = ElementTree.parse(tmp_path / "check.xml").getroot().iter("testcase")
    assert where in {case.get("name") for case in cases if case.find("failure") is not None}


def test_a_fault_of_training_is_found_by_tier_2_alone(recorded, command_line, monkeypatch):
    right = PlainCam.losses

    def summed(network, forward, batch, settings):
        """Over the batch, where it should be averaged."""
        terms = right(network, forward, batch, settings)
        return {name: value * len(batch.labels) for name, value in terms.items()}

    monkeypatch.setattr(PlainCam, "losses", summed)
    done = command_line("check", *recorded)
    assert done.code == 1
    assert "tier 1: " in done.out
    assert done.out.count(" 0 differ") == 1
    assert "classify/loss 1/classification" in done.out


def test_a_failure_is_no_pass(recorded, command_line, monkeypatch):
    def fault(context, settings):
        raise ValueError("a wire has come loose")

    monkeypatch.setattr(methods.refiners.par, "pseudo_label", fault)
    done = command_line("check", *recorded, "--tier", "1")
    assert done.code == 1
    assert "cam: failed: stage pseudo_label: ValueError: a wire has come loose" in done.out


def test_what_is_not_recorded_is_said(recorded, command_line, third_party):
    third_party(Toy("new"))
    done = command_line("check", *recorded, "--methods", "cam,new", "--tier", "1")
    assert done.code == 0
    assert "new: no reference: nothing is recorded" in done.out


def test_numbers_without_their_weights_are_no_pass(recorded, command_line, tmp_path):
    copy = copied(recorded, tmp_path)
    content = read_sealed(copy)
    del content["weights"]["cam/classify"]
    copy.write_text(json.dumps(sealed(content)))
    done = command_line("check", *recorded, "--reference", copy, "--junit", tmp_path / "check.xml")
    assert done.code == 1
    assert "cam: failed: no recorded weights of classify" in done.out
    assert done.out.count(" 0 differ") == 2  # the short trainings need no weights
    suites = ElementTree.parse(tmp_path / "check.xml").getroot()
    assert [suite.get("errors") for suite in suites] == ["1", "0"]


def test_damaged_weights_are_no_pass(recorded, command_line, tmp_path):
    copy = copied(recorded, tmp_path)
    weights = copy.with_suffix("") / read_sealed(copy)["weights"]["cam/classify"]
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    done = command_line("check", *recorded, "--reference", copy, "--tier", "1")
    assert done.code != 0
    assert (
        f"{weights.name}: recorded weights are damaged; restore them with git checkout" in done.out + done.err
    )


def test_a_new_setting_is_refreshed_and_keeps_the_spread(recorded, command_line, tmp_path):
    copy = copied(recorded, tmp_path)
    content = read_sealed(copy)
    for tier in (1, 2):
        del content["baselines"][f"cpu/tier {tier}"]["cam"]["settings"]["background_threshold"]
    copy.write_text(json.dumps(sealed(content)))
    done = command_line("check", *recorded, "--reference", copy, "--refresh")
    assert done.code == 0, done.out + done.err
    assert done.out.count("method.cam.background_threshold=0.25 added") == 1
    assert read_sealed(copy) == read_sealed(reference_of(recorded))
    changed = command_line(
        "check", *recorded, "--reference", copy, "--refresh", "method.cam.train.iterations=3"
    )
    assert changed.code == 2
    assert "method.cam.train.iterations=" in changed.err
    assert read_sealed(copy) == read_sealed(reference_of(recorded))


def test_nothing_compared_is_no_pass(recorded, command_line, tmp_path):
    content = read_sealed(reference_of(recorded)) | {"baselines": {}}
    (tmp_path / "empty.json").write_text(json.dumps(sealed(content)))
    done = command_line("check", *recorded, "--reference", tmp_path / "empty.json")
    assert done.code == 1
    assert "cpu · tier 1: no reference in" in done.out
    assert "check: nothing was compared" in done.out


def test_other_data_is_one_line(recorded, command_line):
    done = command_line("check", *recorded, "dataset.seed=1")
    assert done.code == 2
    assert "recorded with dataset.seed=0; here dataset.seed=1" in done.err


def copied(recorded: tuple[str, ...], folder: Path) -> Path:
    """The reference with its weights, to be written to."""
    original, copy = reference_of(recorded), folder / "reference.json"
    copy.write_text(original.read_text())
    shutil.copytree(original.with_suffix(""), copy.with_suffix(""))
    return copy


def test_new_weights_leave_no_numbers_of_the_old_ones(recorded, command_line, tmp_path):
    """Tier 2 alone is recorded here, which has no use for the weights."""
    copy = copied(recorded, tmp_path)
    options = [*recorded, "--reference", str(copy), "method.cam.train.iterations=2"]
    done = command_line("check", *options, "--update", "--train", "--tier", "2", "--seeds", "0")
    assert done.code == 0, done.out + done.err
    assert "cpu · tier 1: dropped, made with the former weights: cam; record them with check" in done.out
    old, new = (json.loads(file.read_text()) for file in (reference_of(recorded), copy))
    assert set(old["baselines"]["cpu/tier 1"]) == {"cam"}
    assert new["baselines"]["cpu/tier 1"] == {}
    assert new["weights"]["cam/classify"] != old["weights"]["cam/classify"]
    left = {file.name for file in copy.with_suffix("").iterdir()}
    assert left == set(new["weights"].values())


def test_an_interrupted_recording_leaves_no_weights(recorded, command_line, monkeypatch, tmp_path):
    copy = copied(recorded, tmp_path)

    def weights() -> set[str]:
        return {file.name for file in copy.with_suffix("").iterdir()}

    before = weights()

    def interrupted(*_: object) -> None:
        assert weights() > before  # the new ones are there by now
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark.check.sections, "measure", interrupted)
    options = [*recorded, "--reference", str(copy), "method.cam.train.iterations=2"]
    done = command_line("check", *options, "--update", "--train", "--tier", "2", "--seeds", "0")
    assert done.code == 130
    assert weights() == before
    assert copy.read_text() == reference_of(recorded).read_text()


@pytest.mark.parametrize(
    ("options", "lost"),
    [(["--tier", "1"], "cpu/tier 2 of cam"), (["--methods", "eps"], "cpu/tier 1 of cam; cpu/tier 2 of cam")],
)
def test_other_data_and_part_of_the_numbers_is_one_line(recorded, command_line, options, lost):
    before = reference_of(recorded).read_text()
    fitting = [o for o in recorded if not (options[0] == "--methods" and o.startswith("method.cam."))]
    done = command_line("check", *fitting, *options, "--update", "dataset.seed=1")
    assert done.code == 2
    assert f"here dataset.seed=1; this would drop {lost}: record them too" in done.err
    assert done.err.count("\n") == 1
    assert reference_of(recorded).read_text() == before


def test_update_says_what_changed(recorded, command_line, monkeypatch, tmp_path):
    original, copy = reference_of(recorded), copied(recorded, tmp_path)
    skipped_refinement(monkeypatch)
    content = read_sealed(copy)
    content["baselines"]["cpu/tier 1"]["cam"]["runs"][0]["torch"] = "2.0.0"
    copy.write_text(json.dumps(sealed(content)))
    there = [*recorded, "--reference", str(copy), "--tier", "1"]
    done = command_line("check", *there, "--update")
    assert done.code == 0
    assert "cam: 1 of the runs dropped were of torch 2.0.0 on " in done.out
    assert "numbers changed" in done.out
    assert "pseudo_label/train/miou" in done.out
    assert command_line("check", *there).code == 0
    old, new = (json.loads(file.read_text()) for file in (original, copy))
    assert old["baselines"]["cpu/tier 2"] == new["baselines"]["cpu/tier 2"]
    assert old["weights"] == new["weights"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--train"], "--train records new weights"),
        (["--update", "--measure-spread"], "give one of them"),
        (["--update", "--refresh"], "give one of them"),
        (["--refresh", "--junit", "x.xml"], "--junit reports a comparison"),
        (["--update", "--junit", "x.xml"], "--junit reports a comparison"),
        (["--update", "--seeds", "3"], "--seeds 3: seed 0 is what check compares"),
        (["--tier", "3"], "unknown tier '3'"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--reference", "nowhere.json"], "--reference nowhere.json: no such file"),
        (["--reference", "voc"], "--reference voc: the name must end in .json"),
        (["--reference", "voc", "--update", "--train"], "--reference voc: the name must end in .json"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(command_line, options, said):
    place = (f"dataset.root={command_line.folder}", "dataset.train=2", "dataset.val=2")
    done = command_line("check", *options, *place)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
