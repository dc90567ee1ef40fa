import io

import h5py
import keras
import numpy as np
import pytest

from keras_seq.training import Checkpoints, initialize_from
from keras_seq.training.initialize import _by_name

OLD = ["<pad>", "<unk>", "a", "b", "c"]
NEW = ["<pad>", "<unk>", "c", "d", "a", "e"]
X = np.array([[2, 3, 4]])


def build(tokens=OLD, units=3, extra=False, dtype=None):
    """An embedding (V, D), a hidden layer, scores (D, V) with their bias (V,); names of its own for two of them."""
    layers = [
        keras.layers.Embedding(len(tokens), units, name="words", dtype=dtype),
        keras.layers.Dense(units, dtype=dtype),
        *([keras.layers.Dense(units)] if extra else []),
        keras.layers.Dense(len(tokens), name="scores", dtype=dtype),
    ]
    model = keras.Sequential(layers)
    model.build((None, None))
    # Weights that tell who they are: a number for the model, one for the weight, one for the place.
    for number, variable in enumerate(model.weights):
        size = int(np.prod(variable.shape))
        variable.assign(len(tokens) * 1000 + number * 100 + np.arange(size).reshape(variable.shape))
    return model


def weights(model):
    return [np.array(value, "float32") for value in model.get_weights()]


@pytest.mark.parametrize("kind", ["best.keras", "checkpoint", "file"])
def test_all_of_a_run_of_the_same_build_is_taken(tmp_path, kind):
    old, new = build(), build()
    keras.layers.Dense(1)  # moves the number in the names that Keras makes up
    new.set_weights([value * 0 for value in new.get_weights()])
    source = Checkpoints(tmp_path).save(old, 1)
    if kind == "best.keras":
        for variable in old.weights:
            variable.assign(variable + 0.5)
        old.save(tmp_path / "best.keras")
    report = initialize_from(new, source if kind == "file" else tmp_path)
    assert report.path == (tmp_path / "best.keras" if kind == "best.keras" else source)
    for ours, theirs in zip(weights(new), weights(old), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(report.taken) == 5 and not report.remapped and not report.left
    assert "5 weights taken; 0 left" in str(report)


def test_weights_of_another_file_are_refused(tmp_path):
    source = Checkpoints(tmp_path).save(build(), 1)
    with h5py.File(source, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(ValueError, match="stores no weight in /elsewhere, but points elsewhere"):
        initialize_from(build(), source)
    with h5py.File(source, "r+") as file:
        del file["elsewhere"]
        file.create_dataset("elsewhere", (3,), "u1", external=[("/etc/passwd", 0, 3)])
    with pytest.raises(ValueError, match="points elsewhere"):
        initialize_from(build(), source)


def test_another_vocabulary_is_remapped_token_by_token(tmp_path):
    old, new = build(), build(NEW)
    before = weights(new)
    Checkpoints(tmp_path).save(old, 1)
    report = initialize_from(new, tmp_path, {"": (OLD, NEW)})
    embeddings, kernel, bias, scores, scores_bias = weights(new)
    theirs = weights(old)
    for row, token in enumerate(NEW):
        known = token in OLD
        source, place = (theirs, OLD.index(token)) if known else (before, row)
        np.testing.assert_array_equal(embeddings[row], source[0][place])
        np.testing.assert_array_equal(scores[:, row], source[3][:, place])
        np.testing.assert_array_equal(scores_bias[row], source[4][place])
    np.testing.assert_array_equal(kernel, theirs[1])
    np.testing.assert_array_equal(bias, theirs[2])
    assert report.remapped == {"words/0": (4, 2), "scores/0": (4, 2), "scores/1": (4, 2)}
    assert "words/0: 4 tokens found, 2 new" in str(report)


def test_tokens_of_the_same_number_are_remapped_too(tmp_path):
    """The trap: the shapes fit, and row after row would belong to another token."""
    old, new = build(), build()
    for variable in new.weights:
        variable.assign(variable * 0)
    Checkpoints(tmp_path).save(old, 1)
    initialize_from(new, tmp_path, {"words": (OLD, OLD[::-1])})
    np.testing.assert_array_equal(weights(new)[0], weights(old)[0][::-1])
    np.testing.assert_array_equal(weights(new)[3], weights(old)[3])  # its name was not meant


def test_what_does_not_fit_stays_and_is_named(tmp_path):
    old, new = build(), build(extra=True, tokens=NEW)
    before = weights(new)
    Checkpoints(tmp_path).save(old, 1)
    report = initialize_from(new, tmp_path)
    assert sorted(report.left) == ["dense_1/0", "dense_1/1", "scores/0", "scores/1", "words/0"]
    assert report.taken == ["dense/0", "dense/1"]
    for index in (0, 3, 4, 5, 6):
        np.testing.assert_array_equal(weights(new)[index], before[index])


def test_a_layer_with_a_name_is_found_by_it(tmp_path):
    def named(*names):
        model = keras.Sequential([keras.Input((2,)), *[keras.layers.Dense(2, name=name) for name in names]])
        for number, variable in enumerate(model.weights):
            variable.assign(variable * 0 + number)
        return model

    old, new = named("first", "second"), named("second", "first")
    Checkpoints(tmp_path).save(old, 1)
    initialize_from(new, tmp_path)
    assert [float(value.flat[0]) for value in weights(new)] == [2.0, 3.0, 0.0, 1.0]


def test_the_optimizer_is_left_alone(tmp_path):
    old, new = build(), build()
    for model in (old, new):
        model.compile("adam", "mse")
        model.train_on_batch(X, np.zeros((1, 3, 5)))
    state = [np.array(variable) for variable in new.optimizer.variables]
    new.optimizer.learning_rate = state[1] = np.float32(0.5)
    Checkpoints(tmp_path).save(old, 1)
    assert len(initialize_from(new, tmp_path).taken) == 5
    for ours, theirs in zip(new.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(np.array(ours), theirs)


def test_bfloat16_is_read_and_written(tmp_path):
    old, new = build(dtype="bfloat16"), build(NEW, dtype="bfloat16")
    Checkpoints(tmp_path).save(old, 1)
    initialize_from(new, tmp_path, {"words": (OLD, NEW)})
    np.testing.assert_array_equal(weights(new)[0][2], weights(old)[0][4])
    np.testing.assert_array_equal(weights(new)[1], weights(old)[1])


def test_errors_name_the_run_and_change_nothing(tmp_path):
    new = build(NEW, units=4)
    before = weights(new)
    with pytest.raises(ValueError, match="neither best.keras nor a checkpoint"):
        initialize_from(new, tmp_path)
    Checkpoints(tmp_path).save(build(), 1)
    with pytest.raises(ValueError, match=r"No weight of .*epoch-0001.*fits the model.*dense/0 \(3, 3\)"):
        initialize_from(new, tmp_path)
    (tmp_path / "best.keras").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"best.keras has no readable weights"):
        initialize_from(new, tmp_path)
    with pytest.raises(ValueError, match="must be built"):
        initialize_from(keras.Sequential([keras.layers.Dense(1)]), Checkpoints(tmp_path).paths()[0])
    for ours, theirs in zip(weights(new), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_models_of_ours_name_their_embeddings(tmp_path):
    from keras_seq import models

    def translator(source, target):
        model = models.Seq2Seq(len(source), len(target), units=4, num_layers=1, tie_embeddings=False)
        model({"source": X, "target": X})
        return model

    old, new = translator(OLD, NEW), translator(NEW, OLD)
    old.save(tmp_path / "best.keras")
    vocabularies = {"source_embedding": (OLD, NEW), "target_embedding": (NEW, OLD)}
    report = initialize_from(new, tmp_path, vocabularies)
    assert not report.left and sorted(set(report.remapped.values())) == [(4, 1), (4, 2)]
    ours, theirs = ({v.path.split("/", 1)[1]: np.array(v) for v in model.weights} for model in (new, old))
    np.testing.assert_array_equal(ours["source_embedding/embeddings"][4], theirs["source_embedding/embeddings"][2])
    np.testing.assert_array_equal(ours["target_embedding/embeddings"][2], theirs["target_embedding/embeddings"][4])


def test_only_what_is_in_vars_is_a_weight():
    with h5py.File(io.BytesIO(), "w") as file:
        for name in ("layers/dense/vars/0", "layers/dense/note", "note", "optimizer/vars/0", "vars/0"):
            file[name] = [1.0]
        assert {name: weight.name for name, weight in _by_name(file).items()} == {
            "dense/0": "/layers/dense/vars/0",
            "0": "/vars/0",
        }
