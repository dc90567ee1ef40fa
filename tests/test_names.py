"""Names that users of other libraries try first: they work, or the error names ours."""

import subprocess
import sys

import pytest

from keras_seq import inspection, layers


@pytest.mark.parametrize("name", sorted(layers._INSTEAD))
def test_an_unknown_layer_names_ours(name):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'. Use ") as error:
        getattr(layers, name)
    words = str(error.value).split("Use ")[1].replace(",", " ").replace("(", " ").split()
    ours = [word for word in words if word in layers.__all__]
    assert ours and name not in layers.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'$"):
        layers.Nothing  # noqa: B018


def test_inspection_loads_its_parts_when_they_are_used():
    program = "import sys, keras_seq; keras_seq.inspection.plots.learning_curve; assert 'keras' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        inspection.nothing  # noqa: B018
