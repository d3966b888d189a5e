"""How long a run still takes, while it runs: from what its stages are expected to take, and what they took so far."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping

PRIOR = 0.02
"""What the expectations weigh against what is observed: as much as this share of the run would."""


class Remaining:
    """Stages of a dependency graph that `workers` processes run side by side; told what happens, it says what is left.

    Times are seconds; `now` is of any clock that only goes forward.
    """

    def __init__(
        self,
        seconds: Mapping[str, float | None],
        needs: Mapping[str, Collection[str]],
        workers: int = 1,
    ) -> None:
        """seconds: what each stage that is to be done is expected to take, None where nothing is known; in the order
                 in which those that could start are started
        needs:   what each one waits for; what is not among `seconds` is there already
        workers: processes, at least 1

        Raises ValueError where stages wait for each other, or without a worker.
        """
        if workers < 1:
            raise ValueError(f"workers={workers}; at least 1")
        self._expected = dict(seconds)
        self._workers = workers
        self._needs = {key: {up for up in needs.get(key, ()) if up in seconds} for key in seconds}
        self._left = dict.fromkeys(seconds)  # a set in order
        self._running: dict[str, float] = {}
        self._took = self._foretold = 0.0
        self._prior = PRIOR * sum(known for known in self._expected.values() if known is not None)
        _, done = self._simulate(1.0, 0.0)
        if stuck := self._left.keys() - done:
            raise ValueError(f"stages wait for each other: {', '.join(sorted(stuck))}")

    @property
    def unknown(self) -> int:
        """Stages left of which nothing is known; `left` counts none of their time."""
        return sum(self._expected[key] is None for key in self._left)

    def started(self, key: str, now: float) -> None:
        """A worker is at a stage."""
        self._running[key] = now

    def finished(self, key: str, seconds: float, cached: bool = False) -> None:
        """A stage is done. cached: it was stored meanwhile, or resumed: its seconds tell nothing of the others'."""
        self._running.pop(key, None)
        self._left.pop(key, None)
        expected = self._expected.get(key)
        if expected is not None and not cached:
            self._took += seconds
            self._foretold += expected

    def dropped(self, key: str) -> None:
        """A stage has failed, or is not wanted any more: neither it nor what needs it will be done."""
        self._running.pop(key, None)
        self._left.pop(key, None)
        for other in [other for other in self._left if key in self._needs[other]]:
            self.dropped(other)

    def factor(self, now: float) -> float:
        """How many times longer than expected stages take here: of those that are done, and of those that have
        already run longer than that; near 1 while little is known."""
        took, foretold = self._prior + self._took, self._prior + self._foretold
        for key, began in self._running.items():
            expected, elapsed = self._expected.get(key), now - began
            if expected is not None and elapsed * foretold > expected * took:
                took, foretold = took + elapsed, foretold + expected
        return took / foretold if foretold else 1.0

    def left(self, now: float) -> float:
        """Seconds until all is done. A stage that runs longer than it should have is given as long again as it is
        late."""
        return self._simulate(self.factor(now), now)[0]

    def _simulate(self, factor: float, now: float) -> tuple[float, set[str]]:
        """When the last one ends if every worker takes the next stage that can start, and which ones end."""
        order = {key: number for number, key in enumerate(self._left)}
        waits = {key: self._needs[key] & self._left.keys() for key in self._left}
        wanted_by: dict[str, list[str]] = {}
        for key, ups in waits.items():
            for up in ups:
                wanted_by.setdefault(up, []).append(key)
        ready = [(order[key], key) for key, ups in waits.items() if not ups and key not in self._running]
        heapq.heapify(ready)
        ends = [
            (abs((self._expected[key] or 0.0) * factor - (now - began)), key)
            for key, began in self._running.items()
            if key in self._left
        ]
        heapq.heapify(ends)
        clock, done = 0.0, set()
        while ready or ends:
            while ready and len(ends) < self._workers:
                key = heapq.heappop(ready)[1]
                heapq.heappush(ends, (clock + (self._expected[key] or 0.0) * factor, key))
            clock, key = heapq.heappop(ends)
            done.add(key)
            for other in wanted_by.get(key, ()):
                waits[other].discard(key)
                if not waits[other] and other not in self._running:
                    heapq.heappush(ready, (order[other], other))
        return clock, done
