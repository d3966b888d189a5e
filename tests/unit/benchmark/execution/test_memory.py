"""Giving memory back between stages."""

from __future__ import annotations

import gc
import weakref

from benchmark.execution.memory import MANY, release_unused


class Node:
    """Holds itself, so that counting references does not free it."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_unused_goes_however_many_objects_stay() -> None:
    stays = [[number] for number in range(MANY + 1)]
    release_unused()
    assert len(gc.get_objects()) <= MANY  # these are left out of the next search
    unused = weakref.ref(Node())
    assert unused() is not None
    release_unused()
    assert unused() is None
    assert len(stays) == MANY + 1
