import os
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_seq import callbacks
from keras_seq.training import PREEMPTED, Checkpoints, EarlyStopping, Resume, Run, read_history, write_history
from keras_seq.training import resume as resume_module
from keras_seq.training.checkpoints import Checkpoint, load_metrics

X, Y = np.arange(24, dtype="float32").reshape(8, 3) / 24, np.ones((8, 1), "float32")


def build():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("adam", "mse", run_eagerly=True)  # tracing and compiling take longer than all steps
    return model


def fit(model, epochs, extra, **options):
    return model.fit(X, Y, epochs=epochs, shuffle=False, verbose=0, callbacks=extra, **options)


def scripted(values):
    """An Evaluator that gives the epochs' values in turn."""
    values = iter(values)
    return callbacks.Evaluator({"val_score": lambda: next(values)})


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path):
    whole, first, second = build(), build(), build()
    fit(whole, 4, [Resume(tmp_path / "whole")])
    fit(first, 2, [Resume(tmp_path / "run")])
    resume = Resume(tmp_path / "run")
    assert resume.initial_epoch == 2
    assert fit(second, 4, [resume]).epoch == [2, 3]
    for ours, theirs in zip(second.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = read_history(tmp_path / "run/history.csv"), read_history(tmp_path / "whole/history.csv")
    assert [row["epoch"] for row in ours] == [1, 2, 3, 4]
    assert [row["loss"] for row in ours] == [row["loss"] for row in theirs]
    seconds = [row["seconds"] for row in ours]
    assert seconds == sorted(seconds)


def test_a_finished_run_trains_no_more_and_a_later_fit_is_free(tmp_path):
    fit(build(), 2, [Resume(tmp_path)])
    model = build()
    assert fit(model, 2, [Resume(tmp_path)]).epoch == []
    assert fit(model, 1, []).epoch == [0]


def test_rows_after_the_restored_epoch_are_cut(tmp_path):
    run = Run(tmp_path)
    fit(build(), 2, [Resume(run)])
    write_history(run.history, [*read_history(run.history), {"epoch": 3, "loss": 9.0}])
    fit(build(), 2, [Resume(run)])
    assert [row["epoch"] for row in read_history(run.history)] == [1, 2]


def test_early_stopping_goes_on_counting_after_a_restart(tmp_path):
    scores = [1.0, 3.0, 2.0, 2.5, 2.9, 2.8, 9.0]

    def watch(run, values):
        return [scripted(values), Resume(run), EarlyStopping(run, "val_score", mode="max", patience=3)]

    whole = fit(build(), 7, watch(tmp_path / "whole", scores))
    assert whole.epoch == [0, 1, 2, 3, 4]
    fit(build(), 4, watch(tmp_path / "run", scores))
    assert fit(build(), 7, watch(tmp_path / "run", scores[4:])).epoch == [4]
    # It had stopped; it stays stopped.
    assert fit(build(), 7, watch(tmp_path / "run", scores[5:])).epoch == []


def test_the_best_model_is_kept(tmp_path):
    run, model, kept = Run(tmp_path), build(), {}
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.update({epoch: model.get_weights()}))
    fit(model, 3, [keep, scripted([2.0, 1.0, 1.5]), Resume(run), EarlyStopping(run, "val_score", patience=5)])
    for ours, theirs in zip(keras.saving.load_model(run.best).get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_best_model_lost_in_a_crash_is_made_again(tmp_path):
    run, model = Run(tmp_path), build()
    fit(model, 2, [scripted([2.0, 1.0]), Resume(run), EarlyStopping(run, "val_score")])
    run.best.unlink()
    fit(build(), 2, [scripted([]), Resume(run), EarlyStopping(run, "val_score")])
    for ours, theirs in zip(keras.saving.load_model(run.best).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_not_a_number_is_never_the_best(tmp_path):
    run = Run(tmp_path)
    stopping = EarlyStopping(run, "val_score", mode="min", patience=3)
    fit(build(), 4, [scripted([float("nan"), 2.0, float("nan"), 1.0]), Resume(run), stopping])
    assert stopping.best == 1.0 and stopping.best_epoch == 3


def test_epochs_without_the_number_do_not_count(tmp_path):
    run, values = Run(tmp_path), iter([3.0, 2.0, 1.0])
    every = callbacks.Evaluator({"val_score": lambda: next(values)}, every=2)
    assert len(fit(build(), 6, [every, Resume(run), EarlyStopping(run, "val_score", "max", patience=2)]).epoch) == 6
    with pytest.warns(UserWarning, match="val_typo"):
        fit(build(), 1, [EarlyStopping(tmp_path / "other", "val_typo")])
    with pytest.raises(ValueError, match="mode"):
        EarlyStopping(tmp_path, mode="auto")


# Inside an epoch

STEPS = 7


class Crash(Exception):
    pass


class At(keras.callbacks.Callback):
    """Does something before a batch of an epoch; counts the steps."""

    def __init__(self, epoch=None, batch=None, action=None):
        super().__init__()
        self.place, self.action, self.steps = (epoch, batch), action, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            self.action()

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def crash():
    raise Crash


def preempt():
    os.kill(os.getpid(), signal.SIGTERM)


def shuffled_fit(run, epochs=3, action=None, applied=True, steps=STEPS, after=(), eager=True, **options):
    """A training whose every step matters: dropout, another order each epoch, a learning rate that falls."""
    import tensorflow as tf

    from keras_seq import data

    model = build()
    model.compile(
        "adam", "mse", metrics=["mae"], jit_compile=False, run_eagerly=eager
    )  # the metric is made with the first step
    plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=2, min_delta=10.0)
    order, rest = data.shuffled(1), data.from_step(0)
    dataset = tf.data.Dataset.from_tensor_slices((np.tile(X, (4, 1)) ** 2, np.tile(Y, (4, 1)) * np.arange(32)[:, None]))
    dataset = dataset.take(4 * steps).apply(order).batch(4)
    if applied:
        dataset = dataset.apply(rest)
    resume = Resume(run, callbacks=[plateau], epoch_aware=[order, rest] if applied else [order], **options)
    model.fit(dataset.prefetch(2), epochs=epochs, verbose=0, callbacks=[plateau, resume, *after, action or At()])
    return model


def without_seconds(run):
    return [{**row, "seconds": None} for row in read_history(run / "history.csv")]


def assert_same(model, other):
    for ours, theirs in zip(
        [*model.weights, *model.optimizer.variables], [*other.weights, *other.optimizer.variables], strict=True
    ):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    return shuffled_fit(run), without_seconds(run)


def test_after_a_crash_inside_an_epoch_the_run_is_the_uninterrupted_one(tmp_path, whole):
    check_crash(tmp_path, whole, (0, 3), eager=True)


@pytest.mark.long
def test_so_it_is_where_steps_are_traced(tmp_path):
    """There the metrics are made while the first step is traced."""
    expected = shuffled_fit(tmp_path / "whole", eager=False), without_seconds(tmp_path / "whole")
    check_crash(tmp_path / "run", expected, (1, 5), eager=False)


def check_crash(run, whole, place, eager):
    with pytest.raises(Crash):
        shuffled_fit(run, action=At(*place, crash), save_every=2, eager=eager)
    resume = Resume(run)
    saved = place[1] // 2 * 2
    assert (resume.initial_epoch, resume.initial_step) == (place[0], saved)
    count = At()
    with pytest.warns(UserWarning, match="ran out of data"):
        model = shuffled_fit(run, action=count, save_every=2, eager=eager)
    assert count.steps == (3 - place[0]) * STEPS - saved
    assert_same(model, whole[0])
    assert without_seconds(run) == whole[1]
    assert [path.name[:10] for path in Checkpoints(run).folder.iterdir()].count("epoch-0003") == 1


def test_a_signal_saves_and_ends_the_run(tmp_path, whole, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        shuffled_fit(tmp_path, action=At(1, 3, preempt))
    assert ended.value.code == PREEMPTED == 143 and signal.getsignal(signal.SIGTERM) == before
    message = capsys.readouterr().err
    assert "SIGTERM" in message and "epoch 1 and 4 steps" in message and str(tmp_path) in message
    assert Checkpoints(tmp_path).latest().position == (1, 4)
    with pytest.warns(UserWarning, match="ran out of data"):
        model = shuffled_fit(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    assert_same(model, whole[0])
    assert without_seconds(tmp_path) == whole[1]


def test_a_signal_between_epochs_lets_the_other_callbacks_finish(tmp_path, whole):
    def stopping():
        return EarlyStopping(tmp_path, "loss", patience=9)

    ask = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch == 1 and preempt())
    with pytest.raises(SystemExit):
        shuffled_fit(tmp_path, after=[ask, stopping()])
    assert Checkpoints(tmp_path).latest().position == (2, 0) and (tmp_path / "best.keras").exists()
    # In the last epoch training ends, and the process with it: what comes after is for the next one.
    ask = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: preempt())
    with pytest.raises(SystemExit):
        shuffled_fit(tmp_path, after=[ask, stopping()])
    assert_same(shuffled_fit(tmp_path, after=[stopping()]), whole[0])


def test_where_the_data_cannot_begin_inside_an_epoch_a_signal_costs_the_epoch(tmp_path, whole, capsys):
    with pytest.raises(SystemExit):
        shuffled_fit(tmp_path, action=At(1, 3, preempt), applied=False)
    assert "after epoch 1:" in capsys.readouterr().err
    assert Checkpoints(tmp_path).latest().position == (1, 0)
    assert_same(shuffled_fit(tmp_path, applied=False), whole[0])
    with pytest.raises(ValueError, match=r"save_every.*data.from_step"):
        shuffled_fit(tmp_path, applied=False, save_every=2)
    with pytest.raises(ValueError, match="`save_every` must be at least 1"):
        Resume(tmp_path, save_every=0)


def test_a_place_that_the_data_does_not_have_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        shuffled_fit(tmp_path, action=At(0, 5, preempt))
    with pytest.raises(ValueError, match=r"step-00006.*after step 6 of an epoch, which has 5 steps now"):
        shuffled_fit(tmp_path, steps=5)
    with pytest.raises(ValueError, match=r"step-00006.*data.from_step"):
        shuffled_fit(tmp_path, applied=False)


def test_workers_agree_on_the_step_and_the_chief_alone_writes(tmp_path):
    asked = []

    def agree(flag):
        asked.append(flag)
        return len(asked) > 4  # another worker was asked to stop, some time before this step

    follower = Run(tmp_path, chief=False)
    with pytest.raises(SystemExit):
        shuffled_fit(follower, agree=agree, agree_every=3, save_every=2)
    assert asked == [False] * 5 + [True] and list(tmp_path.iterdir()) == []
    asked.clear()
    with pytest.raises(SystemExit):
        shuffled_fit(tmp_path, agree=agree, agree_every=3, save_every=2)
    # ModelAdapter when epoch 0 begins and at 3 and 6, when epoch 1 begins and at 3; once more, to leave together.
    assert Checkpoints(tmp_path).latest().position == (1, 3)


def test_the_best_model_is_not_made_again_inside_the_next_epoch(tmp_path):
    def stopping():
        return EarlyStopping(tmp_path, "loss", patience=9)

    with pytest.raises(Crash):
        shuffled_fit(tmp_path, action=At(1, 5, crash), save_every=2, after=[stopping()])
    content = (tmp_path / "best.keras").read_bytes()
    with pytest.raises(Crash):
        shuffled_fit(tmp_path, action=At(1, 1, crash), save_every=2, after=[stopping()])
    assert (tmp_path / "best.keras").read_bytes() == content


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path):
    run = Run(tmp_path)
    left = [run.path / ".writing-1-best.keras", run.checkpoints / ".writing-1-epoch-0001.weights.h5"]
    for path in left:
        path.write_text("half")
    fit(build(), 1, [Resume(run)])
    assert not any(path.exists() for path in left)


def test_other_metrics_than_saved_are_left_alone_with_a_warning(tmp_path):
    with pytest.raises(SystemExit):
        shuffled_fit(tmp_path, epochs=1, action=At(0, 3, preempt))
    checkpoint, model = Checkpoints(tmp_path).latest(), build()
    with pytest.warns(UserWarning, match="other metrics"):
        load_metrics(model, checkpoint.path)


# Without a model: the callbacks alone.


def resuming(run, **options):
    """A `Resume` in the middle of epoch 1, to which no signal came."""
    resume = Resume(run, signals=(), **options)
    resume.set_model(SimpleNamespace(_initial_epoch=1))
    vars(resume).update(_epoch=1, _first_step=0, _last_asked=0, _last_saved=0, _goes_on_inside=True, _restored=None)
    resume._preemption = SimpleNamespace(requested="", __exit__=lambda: None)
    return resume


@pytest.mark.parametrize("watched", [[], ["plateau"]])
@pytest.mark.parametrize("saved", [[], [{"class": "Plateau", "state": {}}]])
def test_the_states_of_callbacks_are_restored_where_there_are_any(tmp_path, monkeypatch, watched, saved):
    restored = []
    monkeypatch.setattr(resume_module.callback_state, "restore", lambda *given: restored.append(given))
    resume = resuming(tmp_path, callbacks=watched)
    resume._restored = Checkpoint(tmp_path, 1, 0, {}, saved)
    resume.on_epoch_begin(1)
    resume.on_epoch_begin(1)
    assert restored == ([(watched, saved)] if watched or saved else []) and resume._restored is None


def test_a_place_is_saved_once(tmp_path, monkeypatch):
    resume, saved = resuming(tmp_path, save_every=2), []
    monkeypatch.setattr(resume.checkpoints, "save", lambda model, epoch, step, callbacks: saved.append((epoch, step)))
    for step in (1, 2, 3, 5):
        resume.on_train_batch_begin(step)
    resume._save_inside(5)
    assert saved == [(1, 2), (1, 5)]


@pytest.mark.parametrize("chief", [True, False])
def test_workers_leave_together_and_the_chief_tells(tmp_path, monkeypatch, capsys, chief):
    asked, saved = [], []
    resume = resuming(Run(tmp_path, chief=chief), agree=lambda flag: asked.append(flag) or True, agree_every=4)
    monkeypatch.setattr(resume.checkpoints, "save", lambda model, epoch, step, callbacks: saved.append((epoch, step)))
    monkeypatch.setattr(resume.checkpoints, "latest", lambda: None)
    resume.on_train_batch_begin(3)
    assert asked == []
    with pytest.raises(SystemExit) as ended:
        resume.on_train_batch_begin(4)
    assert ended.value.code == PREEMPTED and asked == [False, True] and saved == [(1, 4)]
    told = f"\nStopped by a signal to another worker. The same command starts over: {tmp_path}\n"
    assert capsys.readouterr().err == (told if chief else "")


def stopping(run, values, monkeypatch, step=0, **options):
    """An `EarlyStopping` that begins with these values in the history, and the epochs whose model it has saved."""
    write_history(run / "history.csv", [{"epoch": 1 + number, **row} for number, row in enumerate(values)])
    place = Checkpoint(run, len(values), step, {}, [])
    monkeypatch.setattr(resume_module.Checkpoints, "latest", lambda self: place)
    callback, saved = EarlyStopping(Run(run), **options), []
    monkeypatch.setattr(callback, "_save_best", lambda: saved.append(callback.best_epoch))
    callback.set_model(SimpleNamespace(_initial_epoch=None, stop_training=True))
    callback.set_params({"epochs": 9})
    callback.on_train_begin()
    return callback, saved


@pytest.mark.parametrize(
    ("values", "step", "saved", "stopped"),
    [
        ([2.0, 1.0], 0, [1], False),  # a crash may have come between the checkpoint and the best model
        ([2.0, 1.0], 3, [], False),
        ([1.0, 2.0], 0, [], False),
        ([1.0, 2.0, 3.0], 0, [], True),
        ([], 0, [], False),
    ],
)
def test_what_early_stopping_takes_from_the_history(tmp_path, monkeypatch, values, step, saved, stopped):
    rows = [{"val_loss": value} for value in values]
    callback, found = stopping(tmp_path, rows, monkeypatch, step, patience=2)
    assert found == saved and not callback.model.stop_training
    assert callback.model._initial_epoch == (9 if stopped else None)


@pytest.mark.parametrize(("mode", "later"), [("min", [5.0, 4.0]), ("max", [4.0, 5.0])])
def test_nan_is_the_worst_value(tmp_path, monkeypatch, mode, later):
    callback, saved = stopping(tmp_path, [], monkeypatch, mode=mode)
    for epoch, value in enumerate([float("nan"), *later]):
        callback.on_epoch_end(epoch, {"val_loss": value})
    assert saved == [0, 1, 2] and callback.best == later[-1]


def test_early_stopping_without_its_number(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='`mode` must be "min" or "max". Received: \'auto\''):
        EarlyStopping(tmp_path, mode="auto")
    callback, saved = stopping(tmp_path, [{"loss": 1.0}], monkeypatch)
    callback.on_epoch_end(1)
    with pytest.warns(UserWarning, match="No epoch had `val_loss`, the monitored value, in its logs."):
        callback.on_train_end()
    assert saved == []
