"""Model folders with something wrong: one line names the file and the remedy, and nothing that they hold is run."""

import io
import json
import os
import random
import shutil
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras.src.saving import serialization_lib

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

from keras_seq import training
from keras_seq.tasks import loading, run_folder
from tests import hostile

EVENTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pickle.find_class"}
EVENTS |= {"socket.connect", "urllib.Request"}
_watching = []  # the events of the test that watches


def _listen(event, arguments):
    if _watching and event in EVENTS:
        _watching[-1].append((event, arguments))


@pytest.fixture
def nothing_runs(tmp_path, monkeypatch):
    """Whatever the test does starts no process, unpickles nothing, opens no connection, and leaves no file."""
    if not hasattr(sys, "_keras_seq_listens"):  # a hook can never be taken away
        sys._keras_seq_listens = sys.addaudithook(_listen) is None
    monkeypatch.chdir(tmp_path)
    _watching.append([])
    yield
    events = _watching.pop()
    assert not events and not list(tmp_path.rglob("ran")) and serialization_lib.in_safe_mode() is not False


@pytest.fixture(scope="module")
def complete(folders, tmp_path_factory):
    """A run folder with all that can be in one."""
    run = shutil.copytree(folders["lstm"], tmp_path_factory.mktemp("complete") / "run")
    training.write_history(run / "history.csv", [{"epoch": e, "loss": 1 / e, "val_loss": 1 / e} for e in (1, 2)])
    training.Run(run).add_metrics([{"split": "test", "metric": "bleu", "value": 12.5, "seed": 1}])
    model = keras.models.load_model(run / "best.keras")
    for epoch in (1, 2):
        training.Checkpoints(run).save(model, epoch)
    return run


@pytest.fixture
def run(complete, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(complete, tmp_path / "run")


def refused(result, *named):
    told = result.err
    assert result.code == 2 and not result.out and told.count("\n") == 1 and told.startswith("error: "), told
    assert all(str(name) in told for name in named) and len(told) < 1000, told
    return True


def repacked(file, **parts):
    """Replaces parts of a `.keras` file, or adds some, with checksums that are right."""
    with zipfile.ZipFile(file) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (held | {name.replace("__", "."): part for name, part in parts.items()}).items():
            archive.writestr(name, content)


# A `.keras` file that wants more than a model.


def named(module, class_name, registered_name=None, /, **config):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered_name}


def inside(layer):
    """A functional model around a layer."""
    tokens = keras.Input((None,))
    config = json.loads(keras.Model(tokens, keras.layers.Identity(name="identity")(tokens)).to_json())
    config["config"]["layers"][1].update(layer)
    return config


def activation(module, name):
    function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return inside(named("keras.layers", "Dense", name="identity", units=1, activation=function))


def a_lambda():
    layer = keras.layers.Lambda(lambda x: x if os.system("touch ran") else x, name="identity")
    return inside(keras.saving.serialize_keras_object(layer))


BODY = {"vocabulary_size": 9, "body": named("os", "system", command="touch ran")}
WANTS = {
    "os.system": lambda: named("os", "system", command="touch ran"),
    "posix.system": lambda: named("posix", "system", "posix>system", command="touch ran"),
    "Popen": lambda: named("subprocess", "Popen", "subprocess>Popen", args=["touch", "ran"]),
    "a module beside it": lambda: named("evil", "Evil", "evil>Evil"),
    "a layer of os": lambda: inside(named("os", "system", command="touch ran")),
    "eval": lambda: activation("builtins", "eval"),
    "os.system as activation": lambda: activation("os", "system"),
    "get_file as activation": lambda: activation("keras.utils", "get_file"),
    "unsafe mode": lambda: named("keras.config", "enable_unsafe_deserialization"),
    "unsafe mode as activation": lambda: activation("keras.config", "enable_unsafe_deserialization"),
    "get_file": lambda: named("keras.utils", "get_file", fname="ran", origin="file:///etc/hostname"),
    "another model": lambda: named("keras.models", "load_model", filepath="other.keras", safe_mode=False),
    "a lambda": a_lambda,
    "a SavedModel": lambda: inside(named("keras.layers", "TFSMLayer", name="identity", filepath="served")),
    "a pickle of torch": lambda: inside(named("keras.layers", "TorchModuleWrapper", name="identity", module="eA==")),
    "a file of passwords": lambda: inside(named("keras.layers", "StringLookup", vocabulary="/etc/passwd")),
    "os.system in a model of ours": lambda: named(
        "keras_seq.models", "LanguageModel", "keras_seq>LanguageModel", **BODY
    ),
    "a cell of os": lambda: named(
        "keras_seq.models", "Seq2Seq", "keras_seq>Seq2Seq", source_vocabulary_size=9, units=4, cell="os>system"
    ),
}


@pytest.mark.parametrize("what", WANTS)
def test_a_keras_file_that_wants_more(what, keras_seq, run, tmp_path, nothing_runs, monkeypatch):
    (tmp_path / "evil.py").write_text("open('ran', 'w')\nEvil = object\n")
    monkeypatch.syspath_prepend(tmp_path)
    repacked(run / "best.keras", config__json=json.dumps(WANTS[what]()))
    assert refused(keras_seq("inspect", "--model", run), run / "best.keras") and "evil" not in sys.modules


NONSENSE = ["", "{", "[]", "null", "7", '"x"', "{}", "[" * 100_000, '{"class_name": 1, "config": 2}', "\udcff", "NaN"]


@pytest.mark.parametrize("number", range(len(NONSENSE)))
def test_a_keras_file_of_nonsense(number, keras_seq, run, nothing_runs):
    repacked(run / "best.keras", config__json=NONSENSE[number].encode(errors="surrogateescape"))
    refused(keras_seq("inspect", "--model", run), run / "best.keras")


def weights(change):
    """Changes the HDF5 file inside a `.keras` file."""

    def changed(file):
        with zipfile.ZipFile(file) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content, "r+") as opened:
            found = []
            opened.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            change(opened, found[0])
        repacked(file, model__weights__h5=content.getvalue())

    return changed


def replaced(make):
    def change(opened, name):
        shape = opened[name].shape
        del opened[name]
        make(opened, name, shape)

    return weights(change)


def bomb(file):
    """A thousand times its size in zeros."""
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("assets/zeros", "w") as part:
        for _ in range(300):
            part.write(bytes(2**20))


def declares(file):
    """A size of 3 GiB in the directory, of the file that is read first."""
    content = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo("config.json")
    entry = content.index(b"PK\x01\x02")
    while content[entry + 46 : entry + 46 + len(info.filename)] != info.filename.encode():
        entry = content.index(b"PK\x01\x02", entry + 1)
    size = (3 * 2**30).to_bytes(4, "little")
    file.write_bytes(content[: entry + 24] + size + content[entry + 28 :])


def climbs(file):
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("assets/../../ran", "out of it")
        archive.writestr(str(file.parent / "ran"), "out of it")


VIRTUAL = h5py.VirtualLayout((3,), "f4")
VIRTUAL[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
FILES = {
    "no weights": lambda file: repacked(file, model__weights__h5=b""),
    "no HDF5": lambda file: repacked(file, model__weights__h5=b"\x89HDF\r\n\x1a\n" + bytes(500)),
    "a weight lost": weights(lambda opened, name: opened.pop(name)),
    "another shape": replaced(lambda opened, name, shape: opened.create_dataset(name, (3, 1), "f4")),
    "text for numbers": replaced(lambda opened, name, shape: opened.create_dataset(name, data=np.full(shape, b"x"))),
    "a link out of it": replaced(lambda o, name, shape: o.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x"))),
    "a link in it": replaced(lambda opened, name, shape: opened.__setitem__(name, h5py.SoftLink("/nowhere"))),
    "numbers of a file": replaced(
        lambda o, name, shape: o.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    ),
    "virtual numbers": replaced(lambda opened, name, shape: opened.create_virtual_dataset(name, VIRTUAL)),
    "terabytes": replaced(lambda o, name, shape: o.create_dataset(name, (2**20, 2**20), "f4", chunks=(1024, 1024))),
    "a bomb": bomb,
    "a wrong size": declares,
}


@pytest.mark.parametrize("what", FILES)
def test_a_keras_file_with_other_parts(what, keras_seq, run, nothing_runs):
    FILES[what](run / "best.keras")
    began = time.monotonic()
    refused(keras_seq("inspect", "--model", run), run / "best.keras")
    assert time.monotonic() - began < 30


def test_a_path_that_climbs_leaves_nothing_behind(keras_seq, run, nothing_runs):
    climbs(run / "best.keras")
    assert keras_seq("inspect", "--model", run).code in (0, 2)


# Any file of a folder, damaged in any way.


def change(path, chance):
    path.write_bytes(hostile.damaged(path.read_bytes(), chance))


WAYS = {
    "empty": lambda path, chance: path.write_bytes(b""),
    "cut": lambda path, chance: path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)]),
    "one byte short": lambda path, chance: path.write_bytes(path.read_bytes()[:-1]),
    **dict.fromkeys(("changed", *(f"changed {number}" for number in range(2, 30))), change),
    "noise": lambda path, chance: path.write_bytes(chance.randbytes(1000)),
    "text": lambda path, chance: path.write_bytes(hostile.string(1, chance.randrange(1000))),
    "another's": lambda path, chance: path.write_bytes(chance.choice(others(path)).read_bytes()),
    "a folder": lambda path, chance: (path.unlink(), path.mkdir()),
    "a link to nowhere": lambda path, chance: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path, chance: (path.unlink(), path.symlink_to(path.name)),
    "a pipe": lambda path, chance: (path.unlink(), os.mkfifo(path)),
    "gone": lambda path, chance: path.unlink(),
}
RUN_FILES = ["best.keras", "config.json", "history.csv", "metrics.json", "vocabulary/joint.words"]
RUN_FILES += [f"checkpoints/epoch-000{epoch}.weights.h5" for epoch in (1, 2)]


def others(path):
    folder = next(parent for parent in path.parents if parent.name in ("run", "served"))
    return sorted(other for other in folder.rglob("*") if other.is_file() and other != path)


def quick(*ways):
    return [way if way in ways else pytest.param(way, marks=pytest.mark.long) for way in WAYS]


@pytest.mark.parametrize("file", RUN_FILES)
@pytest.mark.parametrize("way", quick("changed"))
def test_any_file_of_a_run_folder(way, file, keras_seq, run, complete, nothing_runs, monkeypatch):
    """It is refused by its name, or the model is the same: a letter for another in a text is no damage that shows."""
    load = run_folder.load_keras
    expected = load(complete / "best.keras")
    WAYS[way](run / file, random.Random(f"{way} {file}"))
    if file != "best.keras":  # then it need not be loaded again and again
        monkeypatch.setattr(loading, "load_keras", lambda file, **kwargs: expected)
    found = keras_seq("inspect", "--model", run, "--json")
    if found.code:
        refused(found, run)
    else:
        assert all(map(np.array_equal, load(run / "best.keras").get_weights(), expected.get_weights()))
    assert keras_seq("inspect", "--model", run).code == found.code
    averaged = keras_seq("average", "--model", run)
    if averaged.code:
        assert averaged.code == 2 and averaged.err.splitlines()[-1].startswith("error: ")
    else:
        assert load(run / "averaged.keras").count_params() == expected.count_params()


SERVED_FILES = ["saved_model.pb", "fingerprint.pb", "variables/variables.index"]
SERVED_FILES += ["variables/variables.data-00000-of-00001"]


@pytest.mark.parametrize("file", SERVED_FILES)
@pytest.mark.parametrize("way", quick("changed"))
def test_any_file_of_a_saved_model(way, file, keras_seq, folders, tmp_path, nothing_runs):
    """It is refused, or says the same."""
    served = shutil.copytree(folders["served"], tmp_path / "served")
    WAYS[way](served / file, random.Random(f"{way} {file}"))
    found = keras_seq("translate", "--model", served, stdin="two men ride\na horse\n")
    if found.code:
        refused(found, served)
    else:
        same = keras_seq("translate", "--model", folders["served"], stdin="two men ride\na horse\n")
        assert found.lines == same.lines


def test_a_saved_model_without_a_graph_ends_no_process(keras_seq, folders, tmp_path):
    served = shutil.copytree(folders["served"], tmp_path / "served")
    (served / "saved_model.pb").write_bytes(b"")
    result = keras_seq("translate", "--model", served, stdin="two men ride\n")
    refused(result, served)
    assert "saved_model.pb holds no graph" in result.err
