import contextlib
import gc
import os
import pathlib
import re
import resource
import signal
import tempfile

import h5py
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
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def trained(steps=3, **options):
    """A model with weights and an optimizer such as so many steps might have left; others for another number."""
    model, draw = build(**options), np.random.default_rng(steps)
    model.optimizer.build(model.trainable_variables)
    for variable in [*model.weights, *model.optimizer.variables]:
        variable.assign(draw.random(variable.shape).astype(variable.dtype))
    return model


def state(model):
    return [np.array(v) for v in [*model.weights, *model.optimizer.variables]]


def test_restore_brings_back_weights_and_optimizer_and_dropout(tmp_path):
    model = trained()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, 3, {"loss": 0.5})
    new = build()
    assert checkpoints.restore(new).position == (3, 0)
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
    assert checkpoints.latest() is None and checkpoints.restore(build()) is None
    checkpoints.save(build(), 2, {"loss": 0.5})
    assert checkpoints.latest()[1:4] == (2, 0, {"loss": 0.5})


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_inside_an_epoch_the_newest_one_stays_until_the_epoch_ends(tmp_path):
    checkpoints, model = Checkpoints(tmp_path, keep=2), build()
    for position in ((0, 3), (0, 6), (1, 0), (2, 0), (3, 0), (3, 3)):
        checkpoints.save(model, position[0], step=position[1])
        assert checkpoints.latest().position == position
    epochs = ["epoch-0002.weights.h5", "epoch-0003.weights.h5"]
    assert [path.name for path in checkpoints.paths()] == epochs
    assert names(checkpoints) == sorted([*epochs, "epoch-0003-step-00003.weights.h5"])
    checkpoints.save(model, 4)
    assert names(checkpoints) == ["epoch-0003.weights.h5", "epoch-0004.weights.h5"]
    # The run was taken back to an earlier place and went on from there.
    checkpoints.save(model, 3, step=9)
    assert names(checkpoints) == ["epoch-0003-step-00009.weights.h5", "epoch-0003.weights.h5"]


def test_the_manifest_counts_and_not_the_name(tmp_path):
    checkpoints, model = Checkpoints(tmp_path), build()
    inside = checkpoints.save(model, 7, step=5)
    first = checkpoints.save(model, 8)
    checkpoints.save(model, 9).rename(tmp_path / "checkpoints/epoch-0001.weights.h5")
    assert checkpoints.latest().position == (9, 0) and not inside.exists()
    assert [path.name for path in checkpoints.paths()] == [first.name, "epoch-0001.weights.h5"]


def test_a_worker_that_is_not_chief_writes_nothing(tmp_path):
    model = trained()
    model.own = keras.metrics.Mean()  # read by all workers together, when the model is saved
    Checkpoints(tmp_path, chief=False).save(model, 1)
    assert list(tmp_path.iterdir()) == []
    Checkpoints(tmp_path).save(model, 1)
    assert Checkpoints(tmp_path, chief=False).restore(build()).position == (1, 0)


def test_keeps_the_last_k(tmp_path):
    checkpoints, model = Checkpoints(tmp_path, keep=2), build()
    for epoch in (1, 2, 9, 10, 11):
        checkpoints.save(model, epoch)
    assert names(checkpoints) == ["epoch-0010.weights.h5", "epoch-0011.weights.h5"]
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
        assert checkpoints.restore(new).epoch == 1
    np.testing.assert_array_equal(new.get_weights()[0], first.get_weights()[0])


def test_a_pipe_is_passed_over(tmp_path):
    model = build()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, 1)
    os.mkfifo(checkpoints.folder / "epoch-0002.weights.h5")
    with pytest.warns(UserWarning, match="epoch-0002.weights.h5 is damaged"):
        assert checkpoints.latest().epoch == 1


def test_an_unknown_error_while_saving_leaves_the_last_good_one(tmp_path, monkeypatch):
    checkpoints, model = Checkpoints(tmp_path), trained()
    good = checkpoints.save(model, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_manifest", full)
    with pytest.raises(OSError, match=r"epoch-0002.*could not be written.*No space.*Make room"):
        checkpoints.save(model, 2)
    assert list(checkpoints.folder.iterdir()) == [good] and checkpoints.latest().epoch == 1


@contextlib.contextmanager
def no_file_beyond(size):
    """What a full disk does to a program, without filling one: a write fails at this size."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
        gc.collect()  # HDF5 tries once more to write what it could not
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="module")
def large():
    return trained(units=200, layers=3)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98, 0.9999])
def test_no_room_leaves_the_last_good_one(tmp_path, share, large):
    checkpoints, model = Checkpoints(tmp_path), large
    good = checkpoints.save(model, 1)
    content = good.read_bytes()
    with no_file_beyond(int(share * len(content))):
        try:
            checkpoints.save(model, 1, step=4)
            message = None
        except OSError as error:
            message = str(error)
    assert re.search(r"epoch-0001-step-00004.*could not be written.*Make room.*same command", message), message
    assert list(checkpoints.folder.iterdir()) == [good] and good.read_bytes() == content
    assert checkpoints.save(model, 1, step=4).exists() and checkpoints.latest().position == (1, 4)


def test_a_read_only_folder_leaves_the_last_good_one():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        os.chmod(folder, 0o755)
        checkpoints, model = Checkpoints(folder), trained()
        good = checkpoints.save(model, 1)
        checkpoints.folder.chmod(0o555)
        if os.getuid() == 0:  # for whom no folder is read-only
            os.seteuid(65534)
        try:
            with pytest.raises(OSError, match=r"epoch-0002.*could not be written.*Make the folder .* writable"):
                checkpoints.save(model, 2)
            assert list(checkpoints.folder.iterdir()) == [good] and checkpoints.latest().epoch == 1
        finally:
            os.seteuid(os.getuid())
            checkpoints.folder.chmod(0o755)


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


def test_a_checkpoint_that_the_chief_deletes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.folder.mkdir(parents=True)
    for epoch in (1, 2, 3):
        (checkpoints.folder / f"epoch-{epoch:04}.weights.h5").touch()

    def read(path):
        if path.name.startswith("epoch-0003"):
            raise FileNotFoundError(path)
        return module.Checkpoint(path, int(path.name[6:10]), 0, {}, []), {}, {}

    monkeypatch.setattr(module, "_read_manifest", read)
    assert checkpoints.latest().position == (2, 0)


def test_a_file_of_keras_alone_is_no_checkpoint(tmp_path):
    file = tmp_path / "checkpoints/epoch-0001.weights.h5"
    file.parent.mkdir()
    h5py.File(file, "w").close()
    with pytest.raises(
        ValueError, match="epoch-0001.weights.h5 has no manifest, so it was not saved by `Checkpoints`."
    ):
        module.load(build(), file)
    with pytest.warns(UserWarning, match="epoch-0001.* is damaged and was skipped. .* no manifest"):
        assert Checkpoints(tmp_path).latest() is None


class Stub:
    """A built model with one weight, no optimizer, and these random states."""

    built, optimizer = True, None

    def __init__(self, *states, error=None):
        weight = keras.Variable(np.zeros(2), name="kernel")
        self.weights, self.error, self.loaded = [weight], error, []
        self.seeds = [keras.Variable(np.array(state), name="seed_generator_state") for state in states]
        self.variables = [*self.weights, *self.seeds]

    def load_weights(self, path):
        self.loaded.append(path)
        if self.error is not None:
            raise self.error


def stubbed(monkeypatch, *states):
    manifest = {"weights": [["kernel", [2]]], "optimizer": []}
    arrays = {"random": [np.array(state) for state in states], "metrics": []}
    monkeypatch.setattr(module, "_read_manifest", lambda path: (None, manifest, arrays))
    return pathlib.Path("a.weights.h5")


def test_random_states_are_restored_or_all_start_over(monkeypatch):
    path, model = stubbed(monkeypatch, [1.0, 2.0], [3.0, 4.0]), Stub([0.0, 0.0], [0.0, 0.0])
    module.load(model, path)
    assert model.loaded == [path] and [seed.numpy().tolist() for seed in model.seeds] == [[1.0, 2.0], [3.0, 4.0]]
    model = Stub([0.0, 0.0])
    with pytest.warns(UserWarning, match="a.weights.h5 has 2 random states and the model 1, which start over."):
        module.load(model, path)
    assert model.seeds[0].numpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("error", [OSError("truncated"), KeyError("truncated"), RuntimeError("truncated")])
def test_damage_behind_the_manifest_is_told(monkeypatch, error):
    path = stubbed(monkeypatch)
    message = "The checkpoint a.weights.h5 is damaged. Delete it, and an older one is used. '?truncated"
    with pytest.raises(ValueError, match=message):
        module.load(Stub(error=error), path)
