import keras
import numpy as np
import pytest

from keras_seq.training import Checkpoints, average_checkpoints
from keras_seq.training import checkpoints as module

X, Y = np.arange(24, dtype="float32").reshape(8, 3) / 24, np.ones((8, 1), "float32")


def build(units=4, layers=2, optimizer="adam", built=True):
    hidden = [keras.layers.Dense(units, "tanh") for _ in range(layers - 1)]
    inputs = [keras.Input((3,))] if built else []
    model = keras.Sequential([*inputs, *hidden, keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def trained(steps=3, **options):
    model = build(**options)
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


def state(model):
    return [np.array(v) for v in [*model.weights, *model.optimizer.variables]]


def test_restore_brings_back_weights_and_optimizer_and_dropout(tmp_path):
    model = trained()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, 3, {"loss": 0.5})
    new = build()
    assert checkpoints.restore(new) == 3
    for ours, theirs in zip(state(new), state(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The same dropout masks follow, so the same weights do.
    for _ in range(2):
        model.train_on_batch(X, Y)
        new.train_on_batch(X, Y)
    for ours, theirs in zip(state(new), state(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_latest_tells_epoch_and_logs(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() is None and checkpoints.restore(build()) == 0
    checkpoints.save(build(), 2, {"loss": 0.5})
    assert checkpoints.latest()[1:] == (2, {"loss": 0.5})


def test_keeps_the_last_k(tmp_path):
    checkpoints, model = Checkpoints(tmp_path, keep=2), build()
    for epoch in (1, 2, 9, 10, 11):
        checkpoints.save(model, epoch)
    assert [path.name for path in checkpoints.paths()] == ["epoch-0010.weights.h5", "epoch-0011.weights.h5"]
    with pytest.raises(ValueError, match="keep"):
        Checkpoints(tmp_path, keep=0)


def test_keras_reads_the_file(tmp_path):
    model, new = trained(), build()
    new.load_weights(Checkpoints(tmp_path).save(model, 1))
    np.testing.assert_array_equal(new.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_cut_short_is_passed_over(tmp_path, share):
    checkpoints = Checkpoints(tmp_path)
    first = trained(1)
    checkpoints.save(first, 1)
    newest = checkpoints.save(trained(2), 2)
    newest.write_bytes(newest.read_bytes()[: int(share * newest.stat().st_size)])
    new = build()
    with pytest.warns(UserWarning, match="epoch-0002.*damaged"):
        assert checkpoints.restore(new) == 1
    np.testing.assert_array_equal(new.get_weights()[0], first.get_weights()[0])


def test_a_failed_save_leaves_the_last_good_one(tmp_path, monkeypatch):
    checkpoints, model = Checkpoints(tmp_path), trained()
    good = checkpoints.save(model, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_manifest", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(model, 2)
    assert list(checkpoints.folder.iterdir()) == [good] and checkpoints.latest().epoch == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 5}, r"weight 0 .*\(3, 4\) in the checkpoint and .*\(3, 5\) in the model"),
        ({"layers": 3}, r"weight 2 .*\(4, 1\) in the checkpoint and .*\(4, 4\) in the model"),
        ({"optimizer": "sgd"}, r"optimizer variable 2 .* and nothing in the model"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, options, message):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(trained(), 1)
    other = build(**options)
    before = other.get_weights()
    with pytest.raises(ValueError, match=message):
        checkpoints.restore(other)
    for ours, theirs in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_unbuilt_model_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(trained(), 1)
    with pytest.raises(ValueError, match="must be built"):
        checkpoints.restore(build(built=False))


def test_average_is_the_mean_and_leaves_the_optimizer(tmp_path):
    checkpoints, models = Checkpoints(tmp_path), [trained(steps) for steps in (1, 2, 5)]
    for epoch, model in enumerate(models, 1):
        checkpoints.save(model, epoch)
    new = trained(4)
    optimizer = [np.array(v) for v in new.optimizer.variables]
    average_checkpoints(new, checkpoints.paths())
    for index, ours in enumerate(new.get_weights()):
        mean = np.mean([model.get_weights()[index] for model in models], axis=0, dtype="float64")
        np.testing.assert_allclose(ours, mean, rtol=1e-6, atol=1e-7)
    for ours, theirs in zip(new.optimizer.variables, optimizer, strict=True):
        np.testing.assert_array_equal(np.array(ours), theirs)


def test_average_without_a_fit_changes_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    paths = [checkpoints.save(trained(), 1), checkpoints.save(trained(units=5), 2)]
    new = build()
    before = new.get_weights()
    with pytest.raises(ValueError, match="does not fit"):
        average_checkpoints(new, paths)
    for ours, theirs in zip(new.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="empty"):
        average_checkpoints(new, [])
