"""`benchmark.testing` for the tests of plug-ins: found wherever the project is installed, also as a wheel."""

from benchmark.testing import MethodContract

__all__ = ["MethodContract"]
