"""The disk that COCO takes at paper scale, planned and written on a thousandth of its images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.commands.dry_run import disk_estimate, print_plan
from benchmark.config import compose
from benchmark.planning.plan import Plan, make_plan
from datasets.coco.annotations import CATEGORY_IDS
from datasets.coco.annotations import CLASSES as COCO_CLASSES
from datasets.files.images import write_labels
from methods.artifacts import Cam, label_map_path, write_cams
from tests.conftest import ROOT

IMAGES = {"train": 82_081, "val": 40_137}
"""Images of COCO 2014 with an object."""
CLASSES = 2.9
"""Classes of an image."""
SIZE = (480, 640)
"""(H, W) of an image."""
SHARE = 1000
SCALED = {"cam": 9.17e9, "pseudo_label": 1.59e9, "predict": 0.78e9}
"""Bytes by stage at full size."""


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousandth of COCO's images, in its layout: pictures of its size in one colour, without masks."""
    root = tmp_path_factory.mktemp("coco")
    for split, count in IMAGES.items():
        ids = range(count, count + count // SHARE)
        names = [f"COCO_{split}2014_{n:012d}.jpg" for n in ids]
        entries = [
            {"id": n, "file_name": name, "width": SIZE[1], "height": SIZE[0]} for n, name in zip(ids, names)
        ]
        owners = np.arange(round(CLASSES * len(ids))) % len(ids)
        objects = [
            {
                "id": k,
                "image_id": ids[owner],
                "category_id": CATEGORY_IDS[k // len(ids)],
                "segmentation": [[0, 0, 4, 0, 4, 4]],
            }
            for k, owner in enumerate(owners)
        ]
        categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, COCO_CLASSES)]
        file = root / "annotations" / f"instances_{split}2014.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": entries, "annotations": objects, "categories": categories}))
        (root / f"{split}2014").mkdir()
        for n, name in zip(ids, names):
            Image.new("RGB", SIZE[::-1], (n % 256, 0, 0)).save(root / f"{split}2014" / name)
    return root


@pytest.fixture
def plan(coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = [f"dataset.root={coco}", f"runtime.store={tmp_path / 'store'}"]
    settings += [f"method.cam.{part}backbone.weights=none" for part in ("", "segmenter.")]
    return make_plan(compose(["cam"], "coco2014", "paper", overrides=settings), [0], fetching=False)


def test_bytes_by_stage_are_those_of_the_documentation(plan):
    (run,) = plan.runs
    assert run.status == "planned", run.reason
    planned = {p.stage.name: SHARE * disk_estimate(plan, p) for p in run.stages}
    assert {name: planned[name] for name in SCALED} == pytest.approx(SCALED, rel=0.05)
    text = " ".join((ROOT / "docs/guide/usage.md").read_text().split())
    said = "CAMs take {cam:.1f} GB, pseudo-labels {pseudo_label:.1f} GB, predictions of val {predict:.1f} GB"
    assert said.format_map({name: bytes_ / 1e9 for name, bytes_ in planned.items()}) in text


def test_artifacts_of_that_shape_take_no_more_and_not_much_less(plan, tmp_path):
    """Noise, which does not compress, in the CAMs' shapes; label maps of ragged regions."""
    noise = np.random.default_rng(0)
    samples = plan.dataset.samples("train")
    cells = tuple(2 * side // 8 for side in SIZE)  # the largest scale is 2, the stride 8
    cams = {
        s.id: Cam(noise.random((len(s.labels), *cells)).astype(np.float16), s.labels, SIZE) for s in samples
    }
    write_cams(tmp_path / "shard.safetensors", cams)
    waves = np.cumsum(noise.normal(size=SIZE), 1)  # each line's regions end where they like
    labels = torch.from_numpy((np.digitize(waves, [-25, 0, 25]) * (np.abs(waves) > 5)).astype(np.uint8))
    write_labels(label_map_path(tmp_path, "x"), labels)
    written = {
        "cam": (tmp_path / "shard.safetensors").stat().st_size,
        "pseudo_label": len(samples) * label_map_path(tmp_path, "x").stat().st_size,
    }
    for stage in plan.runs[0].stages:
        if stage.stage.name in written:
            share = written[stage.stage.name] / disk_estimate(plan, stage)
            assert 0.25 <= share <= 1, (stage.stage.name, share)


def test_the_plan_says_what_is_intermediate(plan, capsys):
    assert print_plan(plan)
    out = capsys.readouterr().out
    assert "intermediate: about 10.8 MB, which --discard-intermediate deletes on the way" in out
