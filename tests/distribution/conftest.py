import keras
import pytest

from keras_seq import distribution


@pytest.fixture(scope="session")
def two_devices():
    return distribution.scope("mirrored", replicas=2)


@pytest.fixture(scope="session")
def one_device():
    return distribution.scope("one_device")


@pytest.fixture
def double_precision():
    """float64 for all that the test makes."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
