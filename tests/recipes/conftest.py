"""The recipes export again and again: what they write is tried in a fresh process by tests/export."""

import contextlib
import functools

import pytest

from keras_seq import export

VERIFIED = export.saved_model


@pytest.fixture(scope="module", autouse=True)
def not_verified(request):
    """A fresh process takes seven seconds to start: `learned` of test_tagging has one here, and the long tests."""
    with pytest.MonkeyPatch.context() as patch:
        if "long" not in request.config.option.markexpr.replace("not long", ""):
            patch.setattr(export, "saved_model", functools.partial(VERIFIED, verify=False))
        yield


@pytest.fixture(scope="session")
def in_a_fresh_process():
    """`with in_a_fresh_process():` what is exported is tried there, as users have it."""

    @contextlib.contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export, "saved_model", VERIFIED)
            yield

    return context
