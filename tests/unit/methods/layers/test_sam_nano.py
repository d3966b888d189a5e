"""The miniature SAM: its clicked world, its prompts, loss and score, what of it is shipped."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything.modeling import Sam
from torch.testing import assert_close

from datasets.pretraining import clicks as pretraining_clicks
from datasets.pretraining.clicks import MIN_PIXELS, ClickedPictures, clicked_pictures, innermost
from methods.base import MethodError
from methods.layers.sam.model import NEGATIVE, NO_POINT, POSITIVE, Masks, decode, encode
from methods.layers.sam.nano import FRAME, build_sam_nano, restore_sam_nano, shipped_state, start_from_vit
from methods.layers.weights.files import SHIPPED
from methods.miniatures import training as miniatures
from methods.miniatures.sam import (
    POINTS,
    draw_prompts,
    mask_iou,
    mask_loss,
    one_click_score,
    pretraining_loss,
    random_view,
)
from methods.miniatures.training import MINIATURES, shipped_card
from methods.miniatures.views import normalised


@pytest.fixture(scope="module")
def pictures() -> ClickedPictures:
    return clicked_pictures(seed=0, start=0, count=24)


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam_nano().eval()


def test_pictures_depend_on_seed_and_position_only(pictures: ClickedPictures) -> None:
    assert pictures.images.shape == (24, 3, FRAME, FRAME)
    assert pictures.images.dtype == pictures.things.dtype == np.uint8
    part = clicked_pictures(seed=0, start=5, count=3)
    np.testing.assert_array_equal(part.images, pictures.images[5:8])
    np.testing.assert_array_equal(part.things, pictures.things[5:8])
    np.testing.assert_array_equal(part.clicked, pictures.clicked[5:8])
    assert not np.array_equal(clicked_pictures(1, 5, 3).images, part.images)


def test_the_clicked_thing_can_be_seen(pictures: ClickedPictures) -> None:
    seen = (pictures.things == pictures.clicked[:, None, None]).sum((1, 2))
    assert seen.min() >= MIN_PIXELS
    assert len(np.unique(pictures.clicked)) > 1


def test_nothing_of_the_benchmark_is_in_it() -> None:
    tree = ast.parse(Path(str(pretraining_clicks.__file__)).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(
        name.startswith(("datasets.shapes.dataset", "datasets.bluefilm.dataset")) for name in imported
    )


def test_the_innermost_pixel_is_farthest_from_the_edge_also_at_the_border() -> None:
    mask = np.zeros((20, 30), bool)
    mask[0:7, 20:30] = True
    x, y = innermost(mask)
    assert y == 3
    assert 23 <= x <= 26


def test_prompts_lie_where_their_labels_say(pictures: ClickedPictures) -> None:
    torch.manual_seed(0)
    things = torch.from_numpy(pictures.things).long()
    prompts = draw_prompts(things, 5)
    x, y = prompts.points.long().unbind(-1)
    inside = prompts.masks.flatten(2).gather(2, y * FRAME + x)
    assert inside[prompts.labels == POSITIVE].all()
    assert not inside[prompts.labels == NEGATIVE].any()
    assert (prompts.labels[..., 0] == POSITIVE).all()
    assert {POSITIVE, NEGATIVE, NO_POINT} == set(prompts.labels.unique().tolist())
    assert prompts.labels.shape == (24, 5, sum(POINTS))


def test_views_keep_things_and_pictures_together(pictures: ClickedPictures) -> None:
    """A picture that shows its own things' numbers still does after any view."""
    torch.manual_seed(0)
    things = torch.from_numpy(pictures.things)
    blocks = torch.zeros_like(things)
    blocks[:, 30:80, 20:90] = 1
    for _ in range(12):
        images, seen = random_view(100 * blocks[:, None].float().expand(-1, 3, -1, -1), blocks)
        assert mask_iou(images[:, 0] > 25, seen == 1).min() > 0.8
        assert random_view(torch.zeros(24, 3, FRAME, FRAME), things)[1].flatten(1).amax(1).min() > 0


def test_decoding_many_pictures_is_what_sam_does_one_by_one(sam: Sam) -> None:
    torch.manual_seed(1)
    images = torch.rand(2, 3, FRAME, FRAME) * 255
    points = torch.rand(2, 3, 4, 2) * FRAME
    labels = torch.tensor([1, 1, 0, -1]).expand(2, 3, 4)
    with torch.inference_mode():
        found = decode(sam, encode(sam, sam.preprocess(images)), points, labels)
    record = [
        {"image": i, "original_size": (FRAME, FRAME), "point_coords": p, "point_labels": n}
        for i, p, n in zip(images, points, labels)
    ]
    for each, logits, quality in zip(sam(record, multimask_output=False), found.logits, found.quality):
        assert_close(each["low_res_logits"][:, 0], logits, atol=1e-4, rtol=1e-4)
        assert_close(each["iou_predictions"][:, 0], quality, atol=1e-4, rtol=1e-4)


def test_the_encoder_starts_as_the_pretrained_transformer() -> None:
    model = build_sam_nano()
    start_from_vit(model, SHIPPED / "vit_nano.safetensors")
    from safetensors.torch import load_file

    state = load_file(SHIPPED / "vit_nano.safetensors")
    own = model.image_encoder.state_dict()
    assert_close(own["blocks.5.mlp.lin2.weight"], state["blocks.5.mlp.fc2.weight"])
    assert_close(own["patch_embed.proj.6.weight"], state["patch_embed.proj.6.weight"])
    assert own["pos_embed"].std() > 0
    with pytest.raises(MethodError, match="position embedding"):
        start_from_vit(model, SHIPPED / "resnet38d_nano.safetensors")


def test_loss_is_least_for_the_masks_themselves() -> None:
    masks = torch.zeros(1, 2, 32, 32, dtype=torch.bool)
    masks[0, 0, 4:20, 8:30] = masks[0, 1, 20:, :9] = True
    right = Masks(torch.where(masks, 40.0, -40.0), torch.ones(1, 2))
    assert mask_loss(right, masks).item() < 1e-3
    wrong = Masks(-right.logits, torch.zeros(1, 2))
    assert 0.9 < mask_loss(wrong, masks).item() <= 1.0
    overconfident = Masks(right.logits, torch.full((1, 2), 0.5))
    assert mask_loss(overconfident, masks).item() == pytest.approx(0.25, abs=1e-3)


def test_mask_iou() -> None:
    one = torch.tensor([[True, True, False]])
    assert mask_iou(one, torch.tensor([[True, False, True]])).item() == pytest.approx(1 / 3)
    assert mask_iou(~one & one, ~one & one).item() == 0


def test_a_few_steps_learn(pictures: ClickedPictures) -> None:
    """Thirty steps on three pictures at one view: the loss falls."""
    torch.manual_seed(0)
    model = build_sam_nano()
    start_from_vit(model, SHIPPED / "vit_nano.safetensors")
    images = normalised(torch.from_numpy(pictures.images[:3]))
    things = torch.from_numpy(pictures.things[:3]).long()
    prompts = draw_prompts(things)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = mask_loss(decode(model, encode(model, images), prompts.points, prompts.labels), prompts.masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.03


def test_pretraining_writes_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(MINIATURES["sam"].settings, images=4, iterations=2, batch_size=2, held_out=3)
    monkeypatch.setitem(MINIATURES, "sam", replace(MINIATURES["sam"], settings=small))
    card = miniatures.pretrain("sam", tmp_path, lambda text: None)
    assert card["metric"] == "mask IoU from one click"
    assert 0 <= card["score"] <= 1
    model = restore_sam_nano(tmp_path / "sam.safetensors")
    images, clicked, things = MINIATURES["sam"].draw(4, 3)
    with torch.inference_mode():
        score = one_click_score(model.eval(), normalised(images), clicked, things)
    assert score / 3 == pytest.approx(card["score"], abs=0.05)


def test_the_loss_reaches_every_parameter_that_points_need(pictures: ClickedPictures, sam: Sam) -> None:
    torch.manual_seed(0)
    images = normalised(torch.from_numpy(pictures.images[:2]))
    loss = pretraining_loss(sam, images, torch.from_numpy(pictures.things[:2]))
    loss.backward()
    silent = {name for name, p in sam.named_parameters() if p.grad is None}
    sam.zero_grad()
    unused = (
        "prompt_encoder.mask_downscaling",
        "prompt_encoder.point_embeddings.2",
        "prompt_encoder.point_embeddings.3",
    )
    assert all(name.startswith(unused) for name in silent)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(MethodError, match="do not fit Sam"):
        restore_sam_nano(tmp_path / "other.safetensors")
    state = shipped_state(build_sam_nano())
    assert state["mask_decoder.mask_tokens.weight"].dtype == torch.float16


def test_shipped_weights_are_those_of_the_card_and_find_things_of_one_click() -> None:
    card = shipped_card("sam")
    assert card is not None
    path = SHIPPED / "sam.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    settings = MINIATURES["sam"].settings
    images, clicked, things = MINIATURES["sam"].draw(settings.images, 48)
    model = restore_sam_nano(path).eval()
    with torch.inference_mode():
        score = one_click_score(model, normalised(images), clicked, things) / 48
    assert score == pytest.approx(card["score"], abs=0.1)
    assert score > 0.4
