"""What a certificate concludes from the records of stages."""

from __future__ import annotations

from typing import Any

from results.certificate import CLOSED, OPEN, OPENED, UNKNOWN, certificate


def stage(name: str, *inputs: str, seen_masks: str = "", **record: Any) -> dict[str, Any]:
    access = {
        "inputs": list(inputs),
        "pretrained": {},
        "seen_masks": seen_masks,
        "sha256": name,
        "record": record or None,
    }
    return {"name": name, "kind": "weights", "key": name, "resumed": False, "access": access}


def closed(**opened: int) -> dict[str, Any]:
    files = {kind: {"files": count, "sha256": ""} for kind, count in opened.items()}
    return {"masks_closed": True, "refused": 0, "images": {"train": 2, "val": 0}, "opened": files}


def run(*stages: dict[str, Any], method: str = "m") -> dict[str, Any]:
    names = ("scale", "protocol", "refiner", "segmenter", "changes", "status")
    return {
        **dict.fromkeys(names, "x"),
        "dataset": "voc2012",
        "method": method,
        "seed": 0,
        "method_info": {"supervision": "I"},
        "stages": list(stages),
    }


def test_what_has_seen_masks_is_followed_through_the_stages() -> None:
    found = certificate([
        run(
            stage("classify", **closed(images=2)),
            stage("segment", "classify", seen_masks="coco2014", **closed(images=2)),
            stage("upper", **(closed(masks=3) | {"masks_closed": False})),
            stage("predict", "segment", "upper", **closed()),
        )
    ])  # fmt: skip
    assert [each["seen"] for each in found["runs"][0]["stages"]] == [
        [],
        ["coco2014 (pretrained weights)"],
        ["voc2012"],
        ["coco2014 (pretrained weights)", "voc2012"],
    ]


def test_stages_are_counted_by_what_happened_to_masks() -> None:
    older = stage("old")
    del older["access"]  # of a run folder that is older than certificates
    found = certificate([
        run(
            older,
            stage("stored before"),
            stage("a", **closed()),
            stage("b", **(closed() | {"masks_closed": False})),
            stage("c", **(closed(masks=1) | {"masks_closed": False})),
            stage("d", **(closed(undeclared=1) | {"images": {"train": 2, "val": 1}, "refused": 2})),
        ),
        run(),
    ])  # fmt: skip
    assert found["summary"] == {
        "stages": 6, UNKNOWN: 2, CLOSED: 2, OPEN: 1, OPENED: 1, "refused": 2, "trained_on_val": 1, "undeclared": 1
    }  # fmt: skip
    assert len(found["runs"]) == 1


def test_paths_of_this_machine_are_not_kept() -> None:
    own = stage("classify", **closed())
    own["access"]["pretrained"] = {"/home/me/eps.pth": "ab", "timm/net": "cd"}
    assert certificate([run(own)])["runs"][0]["stages"][0]["pretrained"] == {
        "…/eps.pth": "ab",
        "timm/net": "cd",
    }
