"""Every refiner and segmentation network runs on a simulated CUDA device: no tensor is left on the CPU. So does every
method at scale nano, in `MethodContract`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmark.config import compose
from benchmark.experiments.rows import find_experiments, make_tables
from benchmark.experiments.table import Options, all_jobs
from benchmark.planning.plan import Job, Plan, plan_jobs
from benchmark.profiling.complexity import stage_forward_passes
from benchmark.testing.placement import run_on_simulated_cuda
from benchmark.testing.simulated_cuda import DEVICE, CudaTensor, PlacementError, simulated_cuda
from datasets.base import DenseMap, TrainingView
from datasets.files import cores
from datasets.loading.loader import IMAGENET, Recipe, TrainLoader, image_batches
from datasets.voc.reader import CLASSES
from methods.base import Kind, MethodConfig, NotRunnable, Shared, Stage
from methods.refiners.config import REFINERS
from methods.registry import all_methods, find_method
from methods.segmenters.networks import NETWORKS
from tests.helpers.toys import Toy, registered

LARGE = [
    (name, preset)
    for name, method in all_methods().items()
    for preset in method.presets
    if not preset.startswith("nano")
]
CANNOT_RUN = {
    ("sam_fused", "small"): "a SAM of photographs is no part of the project",
}
"""Presets whose networks are not built here, and why; a test fails where one can be."""

RAN: set[str] = set()
"""Stages of several methods that are alike run once."""


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """CRFs run in this process: starting others takes longer than their work."""
    monkeypatch.setattr(cores, "_limit", 1)


def plan_of(generated: Path, folder: Path, name: str, **parts: str) -> Plan:
    places = [f"dataset.root={generated}", f"runtime.store={folder / 'store'}", "runtime.workers=1"]
    config = compose([name], overrides=["dataset.train=6", "dataset.val=2", *places], **parts)
    return plan_jobs([Job(config, [0])])


def run(plan: Plan, folder: Path) -> None:
    for number, run in enumerate(plan.runs):
        assert run.status == "planned", run.reason
        run_on_simulated_cuda(plan, run, folder / str(number))


@pytest.mark.parametrize("refiner", list(REFINERS))
def test_refiners(refiner: str, generated: Path, tmp_path: Path) -> None:
    config = plan_of(generated, tmp_path, "cam", refiner=refiner).config
    run(plan_jobs([Job(config, [0], until=Kind.PSEUDO_LABEL.value)]), tmp_path)


@pytest.mark.parametrize("segmenter", [*NETWORKS["nano"], "smp/segformer:mit_b0"])
def test_segmentation_networks(segmenter: str, generated: Path, tmp_path: Path) -> None:
    run(plan_of(generated, tmp_path, "supervised", segmenter=segmenter), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, method in all_methods().items() if method.experiments])
def test_settings_of_the_experiments(name: str, generated: Path, tmp_path: Path) -> None:
    """Other paths through the losses and networks than those of the presets."""
    names = ",".join(f"{name}/{experiment.name}" for experiment in find_method(name).experiments)
    places = (f"dataset.root={generated}", f"runtime.store={tmp_path / 'store'}", "runtime.workers=1")
    options = Options("shapes", "nano", "paper", [0], ("dataset.train=6", "dataset.val=2", *places))
    jobs = {
        repr((job.config.method, job.scores)): job
        for job in all_jobs(make_tables(find_experiments(names), options))
    }
    run(plan_jobs(list(jobs.values())), tmp_path)


# ---------------------------------------------------------------- networks of the larger scales, shapes alone


def large_stages(name: str, preset: str) -> Iterator[Stage]:
    dataset = preset.partition("/")[2]
    view = TrainingView(dataset or "voc2012", CLASSES, {"train": (), "val": ()}, generated=False)
    yield from find_method(name).stages(find_method(name).presets[preset], view, Shared())


def move_to_cuda(network: torch.nn.Module) -> None:
    """Parameters and buffers alone, as `Module.to` does, which fails on fake tensors."""
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset"), [case for case in LARGE if case not in CANNOT_RUN])
def test_networks_of_larger_scales(name: str, preset: str) -> None:
    """Built on the meta device and then moved, so that a tensor that is no buffer stays behind and is found."""
    size = (120, 160) if preset == "small" else (375, 500)
    for stage in large_stages(name, preset):
        key = f"{stage.profile} {stage.settings}"
        if stage.profile is None or key in RAN:
            continue
        with torch.device("meta"):
            forward_passes = stage_forward_passes(stage, len(CLASSES), size)
        for forward_pass in forward_passes:
            assert forward_pass.module is not None
            with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
                move_to_cuda(forward_pass.module)
                forward_pass.run(forward_pass.module, torch.empty(1, 3, *forward_pass.size, device="cuda"))
        RAN.add(key)


@pytest.mark.parametrize(("name", "preset"), list(CANNOT_RUN))
def test_what_is_said_not_to_run_does_not(name: str, preset: str) -> None:
    with pytest.raises(NotRunnable):
        list(large_stages(name, preset))


# ---------------------------------------------------------------- augmentation


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(32),
        Recipe(32, resize_long=(32, 64), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
        Recipe(32, scale=(0.5, 1.5), hue=0.1),
        Recipe(96, resize_crop=(0.2, 1.0), contrast=0.3),
    ],
    ids=["crop", "resize_long", "scale", "resize_crop"],
)
def test_augmentation(recipe: Recipe, generated: Path, tmp_path: Path) -> None:
    """It computes there what it computes on the CPU."""
    dataset = plan_of(generated, tmp_path, "cam").dataset
    samples = dataset.training_view().samples("train")
    of = {s.id: dataset.mask_path(s.id) for s in samples}
    dense_maps: dict[str, Any] = {
        kind: DenseMap(of.__getitem__, kind)  # type: ignore[arg-type]
        for kind in ("labels", "continuous")
    }

    def batches(device: torch.device | str) -> list[Any]:
        arguments = (samples, len(dataset.classes), recipe, IMAGENET, 4, 0, device, dense_maps, 1)
        return list(TrainLoader(*arguments).batches(0, 3))

    expected = batches("cpu")
    with simulated_cuda() as device:
        found = batches(device)
        whole = list(image_batches(samples, len(dataset.classes), IMAGENET, 2, device, 1))
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("images", "labels", "valid"):
            tensor = getattr(ours, name)
            assert isinstance(tensor, CudaTensor)
            torch.testing.assert_close(tensor.value, getattr(theirs, name))
        for name, tensor in ours.dense_maps.items():
            assert isinstance(tensor, CudaTensor)
            torch.testing.assert_close(tensor.value, theirs.dense_maps[name])
    assert all(isinstance(batch.images, CudaTensor) for batch in whole)


# ---------------------------------------------------------------- the simulation finds what a GPU would


def plant(context: Any, settings: MethodConfig) -> None:
    """Train a network one of whose tensors is left on the CPU: the one that `settings.note` names."""
    from torch import nn

    left = {"loss": torch.zeros(6), "scalar": torch.tensor(0.0), "inference": torch.zeros(3)}
    network = nn.Conv2d(3, 6, 1)
    note = settings.note  # type: ignore[attr-defined]

    def losses(network: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        scores = network(batch.images).mean((0, 2, 3))
        return {"loss": (scores + left[note]).sum() if note in ("loss", "scalar") else scores.sum()}

    samples = context.view.samples("train")
    batches = context.train_batches(samples, Recipe(16), IMAGENET, 2)
    context.train(network, torch.optim.AdamW(network.parameters()), losses, batches, 5, lambda iteration: 1.0)
    if note == "inference":
        for batch in context.images(samples, IMAGENET, 2):
            (batch.images + left[note][:, None, None]).cpu()


def plant_in(place: str, generated: Path, folder: Path) -> None:
    from tests.helpers.toys import ToyConfig

    toy = Toy("toy", run=f"{__name__}:plant")
    toy.presets = {"nano": ToyConfig(note=place)}  # type: ignore[misc]
    with registered(toy):
        run(plan_of(generated, folder, "toy"), folder)


@pytest.mark.parametrize("place", ["loss", "inference"])
def test_a_planted_fault_is_found(place: str, generated: Path, tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match=r"same device, but found .* on cuda:7.* on cpu"):
        plant_in(place, generated, tmp_path)


def test_a_tensor_without_dimensions_mixes_as_on_a_gpu(generated: Path, tmp_path: Path) -> None:
    plant_in("scalar", generated, tmp_path)


OPERATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {
    "add": lambda on_gpu, on_cpu: on_gpu + on_cpu,
    "add in place": lambda on_gpu, on_cpu: on_gpu.add_(on_cpu),
    "add to the CPU's": lambda on_gpu, on_cpu: on_cpu.clone().add_(on_gpu),
    "add one without dimensions": lambda on_gpu, on_cpu: on_gpu + on_cpu.sum(),
    "add the GPU's without dimensions": lambda on_gpu, on_cpu: on_gpu.sum() + on_cpu,
    "cat": lambda on_gpu, on_cpu: torch.cat([on_gpu, on_cpu]),
    "where": lambda on_gpu, on_cpu: torch.where(on_cpu > 0, on_gpu, 0),
    "matmul": lambda on_gpu, on_cpu: on_gpu @ on_cpu,
    "gather": lambda on_gpu, on_cpu: on_gpu.gather(0, on_cpu.long()),
    "index": lambda on_gpu, on_cpu: on_gpu[on_cpu.long()],
    "index with a list": lambda on_gpu, on_cpu: on_gpu[[0, 1]] + on_gpu[[2, 0]],
    "put at the CPU's indices": lambda on_gpu, on_cpu: on_gpu.index_put_((on_cpu.long(),), on_gpu + 1),
    "put the CPU's values": lambda on_gpu, on_cpu: on_gpu.index_put_((on_gpu.long(),), on_cpu),
    "copy": lambda on_gpu, on_cpu: on_gpu.copy_(on_cpu),
    "move": lambda on_gpu, on_cpu: on_gpu + on_cpu.to(on_gpu),
    "embedding": lambda on_gpu, on_cpu: torch.nn.functional.embedding(on_cpu.long(), on_gpu[:, None]),
    "new": lambda on_gpu, on_cpu: on_gpu.new_zeros(3) + on_gpu + torch.ones_like(on_gpu),
    "stack": lambda on_gpu, on_cpu: torch.stack([on_gpu.sum(), on_cpu.sum()]),
}


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_mixing_is_refused_where_torchs_fake_tensors_refuse_it(operation: str) -> None:
    act = OPERATIONS[operation]

    def refused(on_gpu: torch.Tensor, on_cpu: torch.Tensor) -> bool:
        try:
            act(on_gpu, on_cpu)
        except Exception:
            return True
        return False

    with FakeTensorMode():
        expected = refused(torch.zeros(3, device="cuda:0"), torch.zeros(3))
    with simulated_cuda() as device:
        found = refused(torch.zeros(3, device=device), torch.zeros(3))
    assert found == expected


def test_indices_on_the_gpu_of_what_is_on_the_cpu_are_refused() -> None:
    """As on a GPU; torch's fake tensors let them pass."""
    with simulated_cuda() as device, pytest.raises(PlacementError):
        torch.zeros(3)[torch.zeros(1, dtype=torch.int64, device=device)]


def test_values_and_gradients_are_the_cpus() -> None:
    torch.manual_seed(0)
    network, images = torch.nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8)
    expected = network(images)
    expected.square().mean().backward()
    gradient = network.weight.grad
    network.zero_grad()
    with simulated_cuda() as device:
        found = network.to(device)(images.to(device))
        found.square().mean().backward()
        assert found.device == network.weight.grad.device == DEVICE
        torch.testing.assert_close(found.detach().cpu(), expected.detach())
        torch.testing.assert_close(network.weight.grad.cpu(), gradient)
        assert found[found > 0].shape == expected[expected > 0].shape
        with pytest.raises(Exception, match="numpy"):
            found.detach().numpy()


def test_a_generator_of_the_cpu_is_refused() -> None:
    with simulated_cuda() as device, pytest.raises(PlacementError, match="generator"):
        torch.rand(3, generator=torch.Generator(), device=device)
