import pytest

from keras_seq import distribution


@pytest.fixture(scope="session")
def two_devices():
    return distribution.scope("mirrored", replicas=2)


@pytest.fixture(scope="session")
def one_device():
    return distribution.scope("one_device")
