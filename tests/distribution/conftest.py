import pytest

from keras_seq import distribution

try:  # while tests are collected, before any of them computes
    distribution.divide_cpu(2)
except RuntimeError as error:
    reason = str(error)
else:
    reason = None


@pytest.fixture(scope="session")
def two_devices():
    assert reason is None, reason
    return distribution.scope("mirrored", replicas=2)


@pytest.fixture(scope="session")
def one_device():
    return distribution.scope("one_device")
