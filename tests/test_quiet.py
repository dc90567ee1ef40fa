import os
import subprocess
import sys

import pytest

from keras_seq import quiet

GREETINGS = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795961401.451633   24689 port.cc:153] oneDNN custom operations are on.\n"
    b"E0000 00:00:1795961411.635155   24742 cuda_platform.cc:52] failed call to cuInit\n"
)


def test_greetings_are_taken_out_and_nothing_else(capfd):
    with quiet._without_greetings():
        os.write(2, GREETINGS + b"Intel MKL ERROR: no file\n" + GREETINGS + b"half a line")
    os.write(2, b" goes on\n")
    assert capfd.readouterr().err == "Intel MKL ERROR: no file\nhalf a line goes on\n"
    with pytest.raises(ImportError), quiet._without_greetings():
        os.write(2, b"why\n" + GREETINGS)
        raise ImportError
    assert capfd.readouterr().err == "why\n"


def test_a_program_starts_quietly_and_without_what_it_does_not_use():
    """The program itself can still use the packages that Keras and TensorFlow are loaded without."""
    program = "from keras_seq import quiet; quiet.start_quietly(); quiet.start_quietly();"
    program += "quiet.start_quickly(); quiet.start_quickly(); import tensorflow, tensorflow_text, keras, sys;"
    program += "print([name for name in ('sklearn', 'matplotlib', 'pandas', 'jax') if name in sys.modules]);"
    program += "import pandas, sklearn.datasets, matplotlib.pyplot; print(keras.ops.sum([1, 2]).numpy())"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["KERAS_BACKEND"] = "tensorflow"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n3\n", "")
