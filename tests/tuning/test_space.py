import json

import keras_tuner
import pytest

from keras_seq import tuning


def space():
    return (
        tuning.Space()
        .choice("architecture", ["gru", "transformer"])
        .choice("units", [64, 128], default=128)
        .choice("num_heads", [2, 4], when={"architecture": "transformer"})
        .float("learning_rate", 1e-4, 1e-2, log=True)
        .int("layers", 1, 9, step=2)
        .int("width", 4, 64, step=2, log=True)
        .boolean("bias", default=True)
        .fixed("depth", 3)
    )


def test_the_defaults_are_those_of_keras_tuner():
    values = {"architecture": "gru", "units": 128, "learning_rate": 1e-3, "layers": 5, "width": 16, "bias": True}
    assert space().defaults() == values | {"depth": 3}
    kinds = [type(hp).__name__ for hp in space().hyperparameters().space]
    assert kinds == ["Choice", "Choice", "Choice", "Float", "Int", "Int", "Boolean", "Fixed"]


def test_a_condition_is_one_of_keras_tuner():
    hyperparameters = space().hyperparameters()
    assert not hyperparameters.is_active("num_heads")
    hyperparameters.values["architecture"] = "transformer"
    assert hyperparameters.is_active("num_heads")


def test_a_condition_is_sent_without_output(capsys):
    space().hyperparameters().to_proto()
    assert not capsys.readouterr().out


def test_a_worker_gets_the_values_that_exist():
    hyperparameters = (
        tuning.Space().choice("kind", ["a", "b"]).choice("n", [1, 2], when={"kind": "a"}).hyperparameters()
    )
    hyperparameters.values = {"kind": "b", "tuner/epochs": 3}
    sent = keras_tuner.HyperParameters.from_proto(hyperparameters.to_proto())
    assert tuning.own_values(sent) == tuning.own_values(hyperparameters) == {"kind": "b"}


def test_random_values_are_allowed():
    ours = space()
    for hp in ours.hyperparameters().space:
        for seed in range(20):
            assert ours[hp.name].allows(hp.random_sample(seed)), hp.name


def test_json_round_trip(tmp_path):
    space().write(tmp_path / "space.json")
    assert tuning.Space.read(tmp_path / "space.json") == space()
    entries = json.loads((tmp_path / "space.json").read_text())
    assert entries["num_heads"] == {"choice": [2, 4], "when": {"architecture": ["transformer"]}}
    assert entries["learning_rate"] == {"float": [1e-4, 1e-2], "log": True}


def test_the_table():
    lines = str(space()).splitlines()
    assert lines[0].split() == ["parameter", "values", "default", "when"]
    assert lines[3].split() == ["num_heads", "2,", "4", "architecture", "=", "transformer"]
    assert lines[4].split() == ["learning_rate", "0.0001", "to", "0.01,", "logarithmic"]
    assert len({line.find("architecture = ") for line in lines} - {-1}) == 1


def test_edits():
    edited = space().remove("architecture").choice("units", [8, 16])
    assert "architecture" not in edited and not edited["num_heads"].when
    assert edited["units"].values == (8, 16)
    filled = space().with_defaults({"architecture": "transformer", "layers": 7, "units": 64, "learning_rate": 5.0})
    assert filled.defaults()["architecture"] == "transformer" and filled.defaults()["layers"] == 7
    assert filled.defaults()["units"] == 128  # has a default
    assert filled.defaults()["learning_rate"] == 1e-3  # 5.0 is not a value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s.choice("x", []), "`x` needs different values. Received: \\[\\]"),
        (lambda s: s.choice("x", [1, 1]), "`x` needs different values"),
        (lambda s: s.choice("x", [1, "a"]), "all numbers, all strings or all booleans"),
        (lambda s: s.choice("x", [None, 1]), "all numbers, all strings or all booleans"),
        (lambda s: s.choice("x", [1, 2], default=3), "default of `x` must be one of its values: 1, 2. Received: 3"),
        (lambda s: s.float("x", 2, 1), "a lower bound and a greater upper bound. Received: 2, 1"),
        (lambda s: s.float("x", 0, 1, log=True), "a lower bound above 0"),
        (lambda s: s.float("x", 0, float("inf")), "a greater upper bound"),
        (lambda s: s.int("x", 1, 8, step=1, log=True), "step of `x` must be above 1"),
        (lambda s: s.int("x", "1", 8), "`x` needs numbers"),
        (lambda s: s.choice("x", [1], when={"y": 2}), "`x` depends on `y`, which the space does not have yet"),
        (lambda s: s.choice("y", [1]).choice("x", [1], when={"y": 2}), "`x` depends on `y` = 2, which it cannot be"),
        (lambda s: s.remove("x"), "no parameter `x`. It has: none"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make(tuning.Space())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "has no search space: Expecting"),
        ("[1]", "it must hold an object, but begins with \\[1\\]"),
        ('{"x": 3}', "`x` must have one of choice, int, float or fixed"),
        ('{"x": {"choice": [1], "sampling": "log"}}', "`x` must have one of"),
        ('{"x": {"float": [1]}}', "`x`: .*missing"),
    ],
)
def test_errors_of_files_name_file_and_parameter(tmp_path, text, message):
    path = tmp_path / "space.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        tuning.Space.read(path)


def test_keras_tuner_takes_it():
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("x", "min"), hyperparameters=space().hyperparameters()
    )
    assert set(space().defaults()) <= {hp.name for hp in oracle.get_space().space}


def test_one_boolean_is_fixed():
    (parameter,) = tuning.Space().choice("bias", [False]).hyperparameters().space
    assert (type(parameter).__name__, parameter.name, parameter.value) == ("Fixed", "bias", False)
