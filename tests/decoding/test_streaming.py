"""A text in pieces is the text that sampling draws at once."""

import functools

import pytest
from keras import ops

from keras_seq import decoding, models
from keras_seq.layers import RecurrentStack, TransformerStack
from tests.reference import fill, tensorflow_only

pytestmark = tensorflow_only("vocabularies are TensorFlow's")

LETTERS = "abc .\n"
BACKBONES = {
    "gru": lambda: RecurrentStack("gru", 8),
    "lstm": lambda: RecurrentStack("lstm", 8, num_layers=2),
    "transformer": lambda: TransformerStack(8, num_heads=2, num_layers=1),
}
PROMPTS = [("ab", {"temperature": 0.7}), ("", {"top_k": 4}), ("c. a", {"top_p": 0.8, "seed": 5})]


@functools.cache
def model_of(backbone, size):
    """Shared between tests, which only read it."""
    return fill(models.LanguageModel(size, BACKBONES[backbone]()), scale=0.5)


@pytest.fixture(scope="module")
def letters():
    from keras_seq import text

    return text.Characters(LETTERS)


@pytest.mark.parametrize(
    ("compiled", "backbone"),
    [
        pytest.param(False, "gru", marks=pytest.mark.long),
        (False, "transformer"),
        (True, "gru"),
        pytest.param(False, "lstm", marks=pytest.mark.long),
        pytest.param(True, "lstm", marks=pytest.mark.long),
        pytest.param(True, "transformer", marks=pytest.mark.long),
    ],
)
def test_the_pieces_are_what_sampling_draws(letters, backbone, compiled):
    import tensorflow as tf

    model = model_of(backbone, letters.size)
    prompts = PROMPTS[-1:] if compiled or backbone != "gru" else PROMPTS
    compiled = tf.function if compiled else None
    for prompt, options in prompts:
        options = {**options, "max_length": 8}
        (whole,) = decoding.generate(model, letters, [prompt], search="sampling", **options)
        pieces = list(decoding.stream(model, letters, prompt, compiled=compiled, **options))
        assert "".join(pieces) == whole
        assert all(pieces) and len(pieces) >= len(whole) - whole.count("\N{REPLACEMENT CHARACTER}")


class Scripted:
    """Says the letters one after the other, and remembers what it has read, and with how much room."""

    def __init__(self, size):
        self.size, self.read, self.rooms = size, [], []

    def initial_state(self, batch_size, max_length):
        self.rooms.append(max_length)
        return {"steps": ops.zeros((batch_size,), "int32")}

    def decode(self, tokens, state):
        tokens = ops.convert_to_numpy(tokens)
        self.read.append(tokens[0].tolist())
        following = (tokens - 4 + 1) % (self.size - 4) + 4
        return 1e3 * ops.one_hot(following, self.size), {"steps": state["steps"] + tokens.shape[1]}


def test_a_full_context_is_read_anew_from_its_later_half(letters):
    model = Scripted(letters.size)
    said = "".join(decoding.stream(model, letters, "a", context=6, max_length=20))
    assert said == ("bc .\na" * 4)[:20]
    steps = [tokens for tokens in model.read if len(tokens) == 1]
    assert len(steps) == 20  # 4, and then 3 after each reading of 3
    beginnings = [[token for token in tokens if token] for tokens in model.read if len(tokens) > 1]
    assert beginnings[0] == [letters.start_id]  # the last token of what is read goes to the first step
    assert len(beginnings) == 1 + 6 and {len(beginning) for beginning in beginnings[1:]} == {2}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_of_few_bits_is_read_in_float32(letters, dtype):
    class Narrow(Scripted):
        def decode(self, tokens, state):
            logits, state = super().decode(tokens, state)
            return ops.cast(logits, dtype), state

    options = {"max_length": 8, "seed": 3}
    pieces = [list(decoding.stream(kind(letters.size), letters, "ab", **options)) for kind in (Scripted, Narrow)]
    assert pieces[0] == pieces[1] and pieces[0]


def test_half_a_character_is_not_said():
    from keras_seq import text

    bytes_ = text.Bytes()
    ids = iter([*bytes_.tokenize(["aé!"]).to_list()[0], bytes_.end_id])

    class Spelling(Scripted):
        def decode(self, tokens, state):
            if tokens.shape[1] > 1:
                return ops.zeros((*tokens.shape, self.size)), state
            return 1e3 * ops.one_hot([[next(ids)]], self.size), state

    assert list(decoding.stream(Spelling(bytes_.size), bytes_, max_length=9)) == ["a", "é", "!"]


def test_it_says_what_is_wrong(letters):
    model = Scripted(letters.size)
    for options in ({"temperature": 0.0}, {"top_k": 0}, {"context": 1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            list(decoding.stream(model, letters, "a", **options))


def test_the_text_itself_comes_first_as_it_is():
    from keras_seq import text

    words = text.Words(["the", "cat", "sat"], lowercase=True)
    model, drawn = model_of("gru", words.size), {"seed": 3, "max_length": 5, "temperature": 2.0}
    for prompt, between in (("The  Café", " "), ("the cat\t", ""), ("", ""), (" ", ""), ("a\u00a0b", " ")):
        said = "".join(decoding.stream(model, words, prompt, **drawn))
        pieces = list(decoding.stream(model, words, prompt, echo=True, **drawn))
        assert said and all(pieces) and "".join(pieces) == prompt + between + said


class Says(Scripted):
    """Says these tokens."""

    def __init__(self, size, ids):
        super().__init__(size)
        self.ids = iter(ids)

    def decode(self, tokens, state):
        if tokens.shape[1] > 1:
            return ops.zeros((*tokens.shape, self.size)), state
        return 1e3 * ops.one_hot([[next(self.ids)]], self.size), state


def test_a_space_that_the_text_has_is_not_said_again(letters):
    model = Says(letters.size, [*letters.tokenize([" b"]).to_list()[0], letters.end_id])
    assert list(decoding.stream(model, letters, "a\t", echo=True, max_length=9)) == ["a\t", "b"]


def test_half_a_character_is_said_at_the_end():
    from keras_seq import text

    bytes_ = text.Bytes()
    half = bytes_.tokenize(["aé"]).to_list()[0][:2]
    assert list(decoding.stream(Says(bytes_.size, half), bytes_, max_length=2)) == ["a", "\N{REPLACEMENT CHARACTER}"]
