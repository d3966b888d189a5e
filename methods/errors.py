"""What methods raise."""

from __future__ import annotations


class MethodError(Exception):
    """A method cannot run; the message is one line that says what, where and what to do."""


class NotRunnable(MethodError):  # noqa: N818 - it is a state of the leaderboard, not an accident
    """The method's inputs do not cover this data; shown as "not run", with what it needs."""
