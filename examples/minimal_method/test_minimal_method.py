from wsss_benchmark.testing import MethodContract


class TestMinimal(MethodContract):
    method = "minimal"
