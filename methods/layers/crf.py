"""Dense CRF (Kraehenbuehl and Koltun, NIPS 2011) through pydensecrf, over a pool of processes.

pydensecrf holds the interpreter's lock, so threads do not help. Worker processes import this module only:
keep it free of torch. The cost grows with the number of labels: hand over an image's present classes and
background, not all classes of the data set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType

import numpy as np

from datasets.files.cores import usable_cores
from datasets.loading.workers import process_pool
from methods.layers.config import CrfConfig


def dense_crf(image: np.ndarray, probabilities: np.ndarray, config: CrfConfig) -> np.ndarray:
    """Posterior (L, H, W) float32 after mean-field inference.

    image:         (H, W, 3) uint8, RGB, as it is (no mean subtracted)
    probabilities: (L, H, W), summing to 1 over L
    """
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    # Clipped at 1e-5: a class of probability 0 could otherwise never come back.
    unary = unary_from_softmax(np.ascontiguousarray(probabilities, dtype=np.float32))
    height, width = image.shape[:2]
    crf = DenseCRF2D(width, height, unary.shape[0])
    crf.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.ascontiguousarray(image, dtype=np.uint8),
        compat=config.bilateral_compat,
    )
    posterior = crf.inference(config.iterations)
    return np.array(posterior, dtype=np.float32).reshape(-1, height, width)


class CrfPool:
    """Processes that run `dense_crf`; use as a context manager.

    workers: processes; None for one per usable core. With 1, the work is done in this process.
    """

    def __init__(self, config: CrfConfig, workers: int | None = None) -> None:
        self._config = config
        self._workers = workers or usable_cores()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> CrfPool:
        if self._workers > 1:
            self._executor = process_pool(self._workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor = None

    def map(self, jobs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
        """Posteriors of (image, probabilities) pairs, in order; takes only a few jobs ahead of time."""
        if self._executor is None:
            for image, probabilities in jobs:
                yield dense_crf(image, probabilities, self._config)
            return
        waiting: deque[Future[np.ndarray]] = deque()
        for image, probabilities in jobs:
            waiting.append(self._executor.submit(dense_crf, image, probabilities, self._config))
            if len(waiting) >= 2 * self._workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
