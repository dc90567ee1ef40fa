import keras
import numpy as np
import pytest

from keras_seq import schedules


def rates(schedule, updates):
    # The update number n is made with the rate of Keras's step n - 1.
    return [float(schedule(keras.ops.convert_to_tensor(n - 1, "int64"))) for n in updates]


def test_inverse_square_root_is_the_papers_formula():
    units, warmup = 512, 4000
    peak = units**-0.5 * warmup**-0.5
    updates = [1, 2, 1000, 4000, 4001, 16000, 100_000]
    expected = [units**-0.5 * min(n**-0.5, n * warmup**-1.5) for n in updates]
    np.testing.assert_allclose(rates(schedules.InverseSquareRoot(peak, warmup), updates), expected, rtol=1e-5)


def test_linear_decay_rises_and_falls_to_zero():
    schedule = schedules.LinearDecay(0.1, warmup_steps=10, total_steps=110)
    updates = [1, 5, 10, 60, 109, 110, 500]
    np.testing.assert_allclose(rates(schedule, updates), [0.01, 0.05, 0.1, 0.05, 0.001, 0, 0], rtol=1e-5, atol=1e-9)


def test_inverse_sigmoid_is_the_papers_formula():
    schedule, k = schedules.InverseSigmoid(0.6, 50.0), 50.0
    steps = np.array([0, 1, 50, 100, 196, 400, 100_000])
    with np.errstate(over="ignore"):
        expected = 0.6 * (1 - k / (k + np.exp(steps / k)))
    found = [float(schedule(keras.ops.convert_to_tensor(step, "int64"))) for step in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(float(schedule(k * np.log(k))) - 0.3) < 1e-6 and found[0] < 0.02
    assert schedules.InverseSigmoid(**schedule.get_config()).get_config() == schedule.get_config()
    for arguments in ((1.5, 50), (-0.1, 50), (0.5, 0.5)):
        with pytest.raises(ValueError, match="Received"):
            schedules.InverseSigmoid(*arguments)


@pytest.mark.parametrize("schedule", [schedules.InverseSquareRoot(0.1, 7), schedules.LinearDecay(0.1, 7, 30)])
def test_round_trip_inside_an_optimizer(schedule):
    optimizer = keras.optimizers.Adam(schedule)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy._learning_rate.get_config() == schedule.get_config()
    assert rates(copy._learning_rate, [1, 7, 20]) == rates(schedule, [1, 7, 20])


def test_the_first_update_moves_the_weights():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)])
    model.compile(keras.optimizers.SGD(schedules.InverseSquareRoot(0.1, 10)), "mse")
    model.train_on_batch(np.ones((1, 1)), np.zeros((1, 1)))
    # The gradient of w**2 at 1 is 2; the rate is a tenth of the peak.
    np.testing.assert_allclose(model.get_weights()[0], [[1 - 2 * 0.01]], rtol=1e-6)


@pytest.mark.parametrize("arguments", [(0.0, 5), (0.1, 0), (-1.0, 5)])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        schedules.InverseSquareRoot(*arguments)
    with pytest.raises(ValueError, match="Received"):
        schedules.LinearDecay(*arguments, 100)
    with pytest.raises(ValueError, match="total_steps"):
        schedules.LinearDecay(0.1, 10, 10)
