"""Messages come back as they were sent, and a message that is cut is no message."""

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_seq.serving import wire

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.tuples(st.dictionaries(st.text(), VALUES, max_size=4), st.lists(st.binary(max_size=50), max_size=4))


@given(st.lists(MESSAGES, max_size=4))
def test_messages_come_back(messages):
    content = b"".join(wire.packed(*message) for message in messages)
    file = io.BytesIO(content)
    assert [tuple(wire.read(file)) for _ in messages] == messages and wire.read(file) is None

    async def read_all():
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        found = [tuple(await wire.read_async(reader)) for _ in messages]
        with pytest.raises(asyncio.IncompleteReadError):
            await wire.read_async(reader)
        return found

    assert asyncio.run(read_all()) == messages


@given(MESSAGES, st.data())
def test_a_message_that_is_cut_is_none(message, data):
    content = wire.packed(*message)
    assert wire.read(io.BytesIO(content[: data.draw(st.integers(0, len(content) - 1))])) is None


def test_half_a_character_travels():
    assert wire.read(io.BytesIO(wire.packed({"a": "\ud800"}))).fields == {"a": "\ud800"}
