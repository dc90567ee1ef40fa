"""The recipes export again and again: what they write is tried in a fresh process by tests/export."""

import pytest

from keras_seq import export


@pytest.fixture(scope="module", autouse=True)
def not_verified(request):
    """A fresh process takes seven seconds to start, and each signature of a search seconds to trace: the long tests
    have all of them."""
    write = export.saved_model

    def write_one(task, path, **options):
        with pytest.MonkeyPatch.context() as patch:
            if task.name in ("translation", "generation"):
                first = dict(list(task.signatures().items())[:1])
                patch.setattr(task, "signatures", lambda: first)
            return write(task, path, **{**options, "verify": False})

    with pytest.MonkeyPatch.context() as patch:
        if "long" not in request.config.option.markexpr.replace("not long", ""):
            patch.setattr(export, "saved_model", write_one)
        yield
