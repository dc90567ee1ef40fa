import keras
import numpy as np
import pytest

from keras_seq import training


def one_weight():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    return model


@pytest.fixture
def run(tmp_path):
    """A run of two epochs with the weights 1 and 3, of which the first was the best."""
    run, model = training.Run(tmp_path / "run", {}), one_weight()
    for epoch, value in ((1, 1.0), (2, 3.0)):
        model.set_weights([np.full((1, 1), value, "float32")])
        training.Checkpoints(run.path).save(model, epoch)
        if epoch == 1:
            model.save(run.best)
    return run


def value_of(model):
    return float(model.get_weights()[0][0, 0])


@pytest.mark.parametrize(
    ("mode", "wanted", "kept"),
    [
        ("min", 0.0, 1.0),
        ("min", 2.5, 2.0),
        ("max", 0.0, 2.0),
        ("max", 2.5, 1.0),
        ("min", 1.5, 2.0),  # no better and no worse: the mean
        ("min", float("nan"), 1.0),
    ],
)
def test_the_better_of_the_best_epoch_and_the_mean(run, mode, wanted, kept):
    model = one_weight()
    chosen = training.choose_weights(model, run, lambda: abs(value_of(model) - wanted), mode=mode)
    assert value_of(model) == value_of(keras.models.load_model(run.best)) == kept
    np.testing.assert_array_equal(chosen[:2], (abs(1 - wanted), abs(2 - wanted)))
    assert chosen.mean_is_kept == (kept == 2.0)


def test_one_checkpoint_has_no_mean(run):
    training.Checkpoints(run.path, keep=1).save(one_weight(), 3)
    model = one_weight()
    assert training.choose_weights(model, run, lambda: value_of(model)) == (1.0, None, False)
    assert value_of(model) == 1.0
