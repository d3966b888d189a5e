"""What tests of methods need, in this repository and in plug-ins. Importing it needs pytest."""

from benchmark.testing.contract import MethodContract

__all__ = ["MethodContract"]
