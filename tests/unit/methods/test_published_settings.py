"""Settings of paper scale that differ from what a family of methods shares, as the authors' code and logs print them."""

from __future__ import annotations

import pytest

from methods.registry import all_methods


@pytest.mark.parametrize(
    ("preset", "crop", "resize_long"), [("paper", 448, (256, 512)), ("paper/coco2014", 321, (256, 448))]
)
def test_eps_and_its_baseline_resize_as_their_logs_print(preset, crop, resize_long) -> None:  # type: ignore[no-untyped-def]
    """`resize_size` and `crop_size` of log_voc12_eps.log and log_voc12_cls.log; on COCO of the scripts and logs."""
    for name in ("eps", "cam"):
        recipe = all_methods()[name].presets[preset].train.recipe
        assert (recipe.crop, recipe.resize_long) == (crop, resize_long)
