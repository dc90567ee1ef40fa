"""The recipes export again and again: what they write is tried in a fresh process by tests/export."""

import pytest

from keras_seq import export


@pytest.fixture(scope="module", autouse=True)
def not_verified(request):
    """A fresh process takes seven seconds to start, and each signature seconds to trace: the long tests have all."""
    write = export.saved_model

    def write_one(task, path, **options):
        signatures = task.signatures()
        signatures = {name: signatures[name] for name in signatures if name in (next(iter(signatures)), "describe")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task, "signatures", lambda: signatures)
            return write(task, path, **{**options, "verify": False})

    with pytest.MonkeyPatch.context() as patch:
        if "long" not in request.config.option.markexpr.replace("not long", ""):
            patch.setattr(export, "saved_model", write_one)
        yield
