"""The recipes export again and again: what they write is tried in a fresh process by tests/export."""

import functools

import pytest

from keras_seq import export


@pytest.fixture(scope="module", autouse=True)
def not_verified(request):
    """A fresh process takes seven seconds to start: the long tests have it."""
    with pytest.MonkeyPatch.context() as patch:
        if "long" not in request.config.option.markexpr.replace("not long", ""):
            patch.setattr(export, "saved_model", functools.partial(export.saved_model, verify=False))
        yield
