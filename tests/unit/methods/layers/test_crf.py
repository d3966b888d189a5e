"""Dense CRF: the reference's values, and the pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.profiling.speed import pictures
from datasets.files.images import read_labels
from methods.artifacts import label_map_path
from methods.layers.config import CrfConfig
from methods.layers.crf import CrfPool, dense_crf
from methods.layers.forward_passes import CrfFinish
from methods.refiners.config import RefinerConfig
from methods.refiners.irn.stages import label_probabilities
from tests.conftest import ROOT, golden
from tests.helpers.refining import check_label_maps, run_refiner

TOCO = CrfConfig(
    10, gaussian_sxy=1, gaussian_compat=1, bilateral_sxy=121, bilateral_srgb=5, bilateral_compat=4
)
IRN = CrfConfig(
    10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
)


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, methods.layers.crf; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_golden_from_probabilities() -> None:
    g = golden("crf")
    posterior = dense_crf(g["image"], g["probabilities"], TOCO)
    np.testing.assert_allclose(posterior, g["toco_t10_g1_1_b121_5_4"], rtol=1e-3, atol=1e-6)


def test_golden_from_labels() -> None:
    """IRNet starts its CRF from probabilities of labels."""
    g = golden("crf")
    scores = F.one_hot(torch.from_numpy(g["labels"]).long(), 3).movedim(-1, 0)
    refined = dense_crf(g["image"], label_probabilities(scores, 0.7).numpy(), IRN).argmax(0)
    np.testing.assert_array_equal(refined, g["irn_label_t10_gt07_g3_3_b50_5_10"])


def test_inputs_need_not_be_contiguous_and_stay_as_they_are() -> None:
    g = golden("crf")
    image, probabilities = g["image"], g["probabilities"]
    before = image.copy(), probabilities.copy()
    turned = dense_crf(
        np.asfortranarray(image), probabilities.transpose(1, 2, 0).copy().transpose(2, 0, 1), TOCO
    )
    np.testing.assert_array_equal(turned, dense_crf(image, probabilities, TOCO))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(probabilities, before[1])


def test_snaps_to_the_edges_of_the_image() -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, 16:] = 255
    probabilities = np.full((2, 24, 32), 0.5, np.float32)
    probabilities[1, :, 12:20] = 0.6  # undecided around the edge
    probabilities[1, :, 20:] = 0.9
    probabilities[1, :, :12] = 0.1
    probabilities[0] = 1 - probabilities[1]
    labels = dense_crf(image, probabilities, IRN).argmax(0)
    np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(32) >= 16, (24, 32)))


@pytest.mark.parametrize("workers", [1, 2])
def test_pool_gives_the_same_in_order(workers: int) -> None:
    g = golden("crf")
    jobs = [(np.roll(g["image"], i, axis=0), np.roll(g["probabilities"], i, axis=1)) for i in range(6)]
    with CrfPool(TOCO, workers) as pool:
        results = list(pool.map(iter(jobs)))
    assert len(results) == 6
    for (image, probabilities), result in zip(jobs, results):
        np.testing.assert_array_equal(result, dense_crf(image, probabilities, TOCO))


def test_pool_takes_few_jobs_ahead() -> None:
    g = golden("crf")
    taken = []

    def jobs():  # type: ignore[no-untyped-def]
        for i in range(50):
            taken.append(i)
            yield g["image"], g["probabilities"]

    with CrfPool(TOCO, 2) as pool:
        next(pool.map(jobs()))
        assert len(taken) <= 4


def test_a_profile_has_processes_for_batches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.layers.crf.usable_cores", lambda: 2)
    finish = CrfFinish(TOCO)
    with finish:
        finish(None, pictures(1, (24, 32), torch.device("cpu")))
        assert multiprocessing.active_children() == []
        finish(None, pictures(3, (24, 32), torch.device("cpu")))
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


def test_errors_of_workers_reach_the_caller() -> None:
    with CrfPool(TOCO, 2) as pool, pytest.raises(Exception, match=r"(?i)shape|dimension|size|unary|bad"):
        list(pool.map([(np.zeros((4, 5, 3), np.uint8), np.full((2, 3, 3), 0.5, np.float32))]))


INTERRUPTED = """
import sys, time
import numpy as np
from methods.layers.config import CrfConfig
from methods.layers.crf import CrfPool

def jobs():
    for n in range(1000):
        yield np.zeros((120, 160, 3), np.uint8), np.full((2, 120, 160), 0.5, np.float32)
        if sys.argv[1] == "starting" or n == 50:
            print("now", flush=True)
            time.sleep(60 if sys.argv[1] == "idle" else 0)

if __name__ == "__main__":
    try:
        with CrfPool(CrfConfig(), workers=2) as pool:
            for _ in pool.map(jobs()):
                pass
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize(("processes", "seconds"), [("starting", 0.08), ("idle", 2.0), ("busy", 0.0)])
def test_an_interrupt_of_the_whole_group_leaves_no_traceback_and_no_process(
    tmp_path: Path, processes: str, seconds: float
) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    running = subprocess.Popen(
        [sys.executable, str(script), processes],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "now\n"
    time.sleep(seconds)  # until they import, or have nothing left to do
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, "")
    deadline = time.monotonic() + 10
    while _exists(running.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_refiner_writes_background_for_an_image_without_classes(tmp_path: Path) -> None:
    """`methods.refiners.crf.pseudo_label`; the CRF is then of the background alone."""
    labels = run_refiner(RefinerConfig("crf"), tmp_path)["pseudo_label"]
    check_label_maps(labels)
    assert not read_labels(label_map_path(labels, "3")).any()
    assert all(read_labels(label_map_path(labels, i)).any() for i in "012")  # these have classes


def test_the_refiners_background_may_be_a_power_of_what_the_maps_leave(tmp_path: Path) -> None:
    """Without smoothing a pixel is background where (1 - s)^2 > s, that is where its score s is below .38."""
    still = CrfConfig(0)
    made = run_refiner(RefinerConfig("crf", crf=still, crf_background_power=2.0), tmp_path / "power")
    constant = RefinerConfig("crf", crf=still, background_threshold=(3 - 5**0.5) / 2)
    expected = run_refiner(constant, tmp_path / "constant")["pseudo_label"]
    other = replace(constant, background_threshold=0.7)
    differs = run_refiner(other, tmp_path / "other")["pseudo_label"]
    for i in "0123":
        ours, same = (read_labels(label_map_path(d, i)) for d in (made["pseudo_label"], expected))
        assert (ours == same).float().mean() > 0.999
    assert any(
        (read_labels(label_map_path(differs, i)) != read_labels(label_map_path(expected, i))).any()
        for i in "012"
    )
