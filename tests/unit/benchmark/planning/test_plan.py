"""Keys: what changes a result changes the key, and nothing else does."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmark.config import compose, plain
from benchmark.failures import ConfigError
from benchmark.planning import code_version, plan
from benchmark.planning.plan import Plan, make_plan
from datasets.drawing.generated import load_pixels, save_pixels
from methods.registry import all_methods
from tests.helpers.toys import Toy
from tests.helpers.trees import write_folder

DATA = ("dataset.train=4", "dataset.val=2")


@pytest.fixture
def root(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return tmp_path_factory.getbasetemp() / "plan-data"


def keys(plan: Plan, method: str = "eps", seed: int = 0) -> dict[str, str]:
    (run,) = (c for c in plan.runs if c.method.name == method and c.seed == seed)
    assert run.status == "planned", run.reason
    own = {s.stage.name: s.key for s in run.stages}
    return own | {s.score_name: s.score_key for s in run.stages if s.score_key is not None}


def planned(root: Path, *overrides: str, methods=("eps",), seeds=(0,), until: str | None = None) -> Plan:
    config = compose(methods, overrides=[*DATA, f"dataset.root={root}", *overrides])
    return make_plan(config, seeds, until)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("override", ["dataset.subset=0", "dataset.subset=3"])
def test_a_plan_can_be_sent_to_another_process(root, override):
    plan = planned(root, override, methods=tuple(all_methods()))
    sent = pickle.loads(pickle.dumps(plan))
    assert [[stage.key for stage in run.stages] for run in sent.runs] == [
        [stage.key for stage in run.stages] for run in plan.runs
    ]
    assert sent.dataset.samples("train") == plan.dataset.samples("train")
    assert sent.dataset.fingerprint("masks", "val") == plan.dataset.fingerprint("masks", "val")


ONLY_ROUNDING = re.compile(
    r"(.*\.)?(inference|saliency|psa|irn|gc|test)\.batch_size|(.*\.)?(test|mask)_batch_size"
)
"""Keys of the batch sizes of inference; others are of trainings."""


def leaves(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


def test_batch_sizes_are_in_the_keys_of_trainings_alone(root):
    names = [name for name, method in all_methods().items() if "nano" in method.presets]
    sizes = {
        f"method.{name}.{key}"
        for name in names
        for key in leaves(plain(all_methods()[name].presets["nano"]))
        if key.endswith("batch_size")
    }
    inference = {key for key in sizes if ONLY_ROUNDING.fullmatch(key)}
    fewer = ["runtime.accumulate=2", "runtime.checkpoint_activations=true"]
    fewer += [f"{key}=1" for key in inference]
    before, same, other = (
        planned(root, *overrides, methods=names)
        for overrides in ((), fewer, [f"{key}=2" for key in sizes - inference])
    )
    for name in names:
        assert keys(same, name) == keys(before, name)
        assert changed(keys(before, name), keys(other, name)), name


TRAINED = {"classify", "cam", "image_scores", "pseudo_label", "segment", "predict"}
"""Stages of EPS that follow from its training; saliency does not."""
MASK_SCORES = {"score-cam", "score-pseudo_label", "score-predict"}
SCORES = MASK_SCORES | {"score-image_scores"}


def test_paths_and_order_are_not_in_the_keys(root, tmp_path):
    one = planned(root, seeds=(0, 1), methods=("eps", "cam"))
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy)
    other = planned(copy, f"runtime.store={tmp_path / 's'}", seeds=(1, 0), methods=("cam", "eps"))
    for method in ("eps", "cam"):
        for seed in (0, 1):
            assert keys(one, method, seed) == keys(other, method, seed)


@pytest.mark.parametrize(
    "override",
    [
        "runtime.checkpoint_every=7",
        "runtime.shard=3",
        "runtime.workers=1",
        "runtime.cache_mb=9",
        "runtime.device=cpu",
        "evaluation.panels=1",
    ],
)
def test_how_it_is_computed_is_not_in_the_keys(root, override):
    assert keys(planned(root)) == keys(planned(root, override))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("method.eps.foreground_weight=0.4", TRAINED | SCORES),
        (
            "method.eps.inference.flip=false",
            TRAINED - {"classify", "image_scores"} | SCORES - {"score-image_scores"},
        ),
        ("method.eps.segmenter.train.iterations=3", {"segment", "predict", "score-predict"}),
        ("method.eps.backbone.weights=none", TRAINED | SCORES),
        ("runtime.precision=bf16-mixed", TRAINED | {"saliency"} | SCORES),
        ("runtime.max_iterations=3", TRAINED | {"saliency"} | SCORES),
        ("evaluation.held_out=0.3", MASK_SCORES),
        ("evaluation.boundary_tolerance=0.01", MASK_SCORES),
        ("evaluation.inspection=always", MASK_SCORES | {"predict"}),
        ("evaluation.inspection=never", set()),
    ],
)
def test_a_setting_changes_what_depends_on_it(root, override, expected):
    assert changed(keys(planned(root)), keys(planned(root, override))) == expected


def test_the_seed_changes_what_draws_from_it(root):
    both = planned(root, seeds=(0, 1))
    assert changed(keys(both, seed=0), keys(both, seed=1)) == TRAINED | SCORES


def test_the_world_size_is_in_the_keys(root, monkeypatch):
    alone = keys(planned(root))
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun sets it
    assert changed(alone, keys(planned(root))) == TRAINED | {"saliency"} | SCORES


def test_other_pictures_change_everything(root):
    assert changed(keys(planned(root)), keys(planned(root, "dataset.seed=1"))) == (
        TRAINED | {"saliency"} | SCORES
    )


def test_a_masks_change_counts_for_scores_and_mask_supervision_only(tmp_path, root):
    rows = ["a,cat,train", "b,dog,train", "c,cat,val", "d,dog,val"]
    folder = write_folder(tmp_path / "data", rows)

    def plan_it() -> Plan:
        config = compose(["cam", "supervised"], "folder", overrides=[f"dataset.root={folder}"])
        return make_plan(config, [0])

    before = plan_it()
    mask = folder / "masks" / "a.png"
    save_pixels(mask, 255 * (load_pixels(mask) == 1).astype("uint8"))
    after = plan_it()
    assert changed(keys(before, "cam"), keys(after, "cam")) == {"score-cam", "score-pseudo_label"}
    assert {"segment", "predict"} <= changed(keys(before, "supervised"), keys(after, "supervised"))


def test_an_images_change_counts(tmp_path, root):
    folder = write_folder(tmp_path / "data", ["a,cat,train", "b,dog,train", "c,cat,val"])

    def plan_it() -> Plan:
        return make_plan(compose(["cam"], "folder", overrides=[f"dataset.root={folder}"]), [0])

    before = keys(plan_it(), "cam")
    image = folder / "images" / "a.png"
    save_pixels(image, 255 - load_pixels(image))
    assert {"classify", "cam"} <= changed(before, keys(plan_it(), "cam"))


def test_the_code_is_in_the_keys(root, monkeypatch):
    before = keys(planned(root))

    def version(module: str) -> str:
        edited = module == "methods.layers.saliency.stage"
        return "edited" if edited else code_version.code_version(module)

    monkeypatch.setattr(plan, "code_version", version)
    assert changed(before, keys(planned(root))) == {"saliency"} | TRAINED | SCORES


def test_pretrained_weights_are_in_the_keys_by_content(root, tmp_path):
    one, same, other = (tmp_path / f"{name}.safetensors" for name in ("one", "same", "other"))
    for path, value in ((one, 1.0), (same, 1.0), (other, 2.0)):
        save_file({"weight": torch.full((1,), value)}, path)

    def weights(path: Path) -> str:
        return planned(root, f"method.eps.saliency.weights={path}").runs[0].stages[0].stage.pretrained[0]

    first, second = (keys(planned(root, f"method.eps.saliency.weights={p}")) for p in (one, other))
    assert weights(one) == str(one)
    assert changed(first, second) == {"saliency"} | TRAINED | SCORES


def test_seeds_share_what_no_seed_changes(root):
    seeds = planned(root, seeds=(0, 1))
    saliency = {keys(seeds, seed=seed)["saliency"] for seed in (0, 1)}
    assert len(saliency) == 1
    assert len(list(seeds.artifacts())) == 2 * len(TRAINED) + 1


def test_until_keeps_what_is_upstream(root):
    plan_ = planned(root, methods=("eps", "supervised"), until="cam")
    assert [s.stage.name for s in plan_.runs[0].stages] == ["saliency", "classify", "cam"]
    assert plan_.runs[1].status == "not run"
    assert "supervised has no such stage" in plan_.runs[1].reason


def test_until_something_unknown_names_what_there_is(root):
    with pytest.raises(ConfigError, match=r"unknown --until 'cams'; did you mean 'cam'\? there are weights"):
        planned(root, until="cams")


def test_missing_weights_are_a_failed_run_while_the_others_are_planned(root):
    plan_ = planned(root, "method.eps.backbone.weights=/nowhere/w.pth", methods=("eps", "cam"))
    assert [c.status for c in plan_.runs] == ["failed", "planned"]
    assert "/nowhere/w.pth does not exist" in plan_.runs[0].reason


def test_mask_supervision_without_masks_is_not_run(tmp_path, root):
    folder = write_folder(tmp_path / "data", ["a,cat,train", "b,dog,train", "c,cat,val"])
    (folder / "masks" / "b.png").unlink()
    config = compose(["supervised"], "folder", overrides=[f"dataset.root={folder}"])
    (run,) = make_plan(config, [0]).runs
    assert (run.status, run.reason) == (
        "not run",
        "needs true masks of the training images; 1 of 2 have none",
    )


class Misdeclared(Toy):
    """A method whose own code fails while it declares its stages."""

    def stages(self, *arguments):
        return [{}["no such stage"]]


class Forgetful(Toy):
    """A method whose author forgot `return`."""

    def stages(self, *arguments):
        super().stages(*arguments)


def test_a_misspelt_stage_function_or_a_faulty_declaration_fails_while_planning(root, third_party):
    toys = "tests.helpers.toys"
    third_party(
        Toy("misspelt", f"{toys}:fil"),
        Misdeclared("misdeclared"),
        Forgetful("forgetful"),
        Toy("sound", f"{toys}:fill"),
    )
    runs = planned(root, methods=("misspelt", "misdeclared", "forgetful", "sound")).runs
    misspelt, misdeclared, forgetful, sound = runs
    assert [run.status for run in runs] == ["failed", "failed", "failed", "planned"]
    assert forgetful.reason == "method forgetful: stages() returns None; return the list of stages"
    assert misspelt.reason.startswith(
        f"method misspelt, stage labels: module {toys} has no 'fil'; did you mean 'fill'? it has "
    )
    assert misdeclared.reason.startswith(
        "method misdeclared, stages: KeyError: 'no such stage' (test_plan.py:"
    )
    assert sound.stages


@pytest.mark.parametrize(
    ("names", "inputs", "words"),
    [
        (
            ("before", "after"),
            {"labels": "befor"},
            "its input 'befor' is no stage before it; there are before",
        ),
        (("first", "second"), {"labels": "second"}, "stage second: its input 'second' is no stage before it"),
        (("labels", "labels"), {}, "two stages are called 'labels'; rename one"),
    ],
)
def test_stages_that_do_not_follow_each_other_fail_while_planning(root, third_party, names, inputs, words):
    class Disordered(Toy):
        def stages(self, *arguments):
            (stage,) = super().stages(*arguments)
            return [replace(stage, name=names[0]), replace(stage, name=names[1], inputs=inputs)]

    third_party(Disordered("toy"))
    (run,) = planned(root, methods=("toy",), until="pseudo_label").runs
    assert run.status == "failed"
    assert words in run.reason
