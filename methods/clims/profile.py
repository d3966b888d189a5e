"""What `profile` measures of methods that CLIP guides."""

from __future__ import annotations

from methods.base import ForwardPass, Inputs
from methods.cam.network import PlainCam
from methods.clims.config import GuidedTrainingConfig
from methods.layers.clip.model import load_clip
from methods.layers.forward_passes import alone


def guide(
    settings: GuidedTrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """CLIP's image encoder, which inference does not need, and the CAM network where no classifier comes first."""
    clip = load_clip(settings.clip)
    covers = "network alone; in training only, twice a present class"
    encoder = ForwardPass(
        "CLIP image encoder",
        covers,
        clip.image_size,
        clip.model.visual.eval(),  # type: ignore[union-attr,operator]
    )
    if settings.initialisation == "classifier":
        return [encoder]
    network = PlainCam.build(settings.network, classes).eval()
    return [alone(PlainCam.title, network, settings.train.recipe.crop), encoder]
