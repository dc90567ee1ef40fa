import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.text import normalize
from keras_seq.text.words import Words

WHITE_SPACE_CONTROLS = "\t\n\v\f\r\x85"
SPECIAL = "\x00\x07\x1c\x7f\x9f\u00a0\u2003\u2028\u3000ﬁÅA\u030aéßẞſΣς½Ⅷａ가각“”„‟«»‘’‚‛‹›‐‑‒–—―−-\"'øñ\ufeff🐎"
SPECIAL += WHITE_SPACE_CONTROLS


def is_old(character):
    """Whether Unicode has had it since 2002: of newer ones Python and TensorFlow Text may know different versions."""
    return unicodedata.ucd_3_2_0.category(character) not in ("Cs", "Cn")


LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cn"]).filter(is_old) | st.sampled_from(SPECIAL + " ab")),
    min_size=1,
    max_size=20,
)


def is_white(character):
    return character in WHITE_SPACE_CONTROLS or unicodedata.category(character) in ("Zs", "Zl", "Zp")


def collapsed(line):
    words, word = [], ""
    for character in line:
        if is_white(character):
            words.append(word)
            word = ""
        else:
            word += character
    return " ".join(word for word in [*words, word] if word)


def without_marks(line):
    kept = (c for c in unicodedata.normalize("NFD", line) if unicodedata.category(c) != "Mn")
    return unicodedata.normalize("NFC", "".join(kept))


def without_controls(line):
    return "".join(c for c in line if unicodedata.category(c) != "Cc" or c in WHITE_SPACE_CONTROLS)


REFERENCES = {
    normalize.nfc: lambda line: unicodedata.normalize("NFC", line),
    normalize.nfkc: lambda line: unicodedata.normalize("NFKC", line),
    normalize.without_control_characters: without_controls,
    normalize.collapsed_white_space: collapsed,
    normalize.without_accents: without_marks,
}


def applied(function, lines):
    return [line.decode() for line in function(tf.constant(lines)).numpy()]


@pytest.mark.parametrize("function", REFERENCES, ids=lambda function: function.__name__)
@settings(max_examples=60)
@given(lines=LINES)
def test_as_python_does_it(function, lines):
    once = applied(function, lines)
    assert once == [REFERENCES[function](line) for line in lines]
    assert applied(function, once) == once


def test_every_character_of_the_alphabets():
    """One by one, so that none hides behind the sample."""
    characters = [chr(code) for code in range(0x3400) if is_old(chr(code))]
    lines = [f"a{character}b" for character in characters]
    for function, reference in REFERENCES.items():
        assert applied(function, lines) == [reference(line) for line in lines], function.__name__
    # Lowering depends on what stands beside a letter only for the Greek sigma at the end of a word.
    lowered = applied(normalize.lowercase, lines)
    assert lowered == [line.replace("\x00", "").lower() for line in lines]


def test_lowercase_of_any_script_and_behind_a_nul():
    assert applied(normalize.lowercase, ["ÄÖ ДЖ ΣΑΣ", "A\x00B"]) == ["äö дж σας", "ab"]


def test_case_folding_makes_spellings_equal():
    lines = ["Straße", "STRASSE", "strasse", "ＳＴＲＡＳＳＥ", "stra\u00adsse"]
    assert applied(normalize.case_folded, lines) == ["strasse"] * 5
    assert applied(normalize.case_folded, ["ΣΑΣ"]) == applied(normalize.case_folded, ["σας"])


def test_quotes_and_dashes():
    assert applied(normalize.plain_punctuation, ["“a” „b“ «c» ‘d’ ‚e‘ ‹f›"]) == ["\"a\" \"b\" \"c\" 'd' 'e' 'f'"]
    assert applied(normalize.plain_punctuation, ["1‐2‑3‒4–5—6―7−8-9"]) == ["1-2-3-4-5-6-7-8-9"]
    # Every character of the category "quotation mark" but the low CJK ones is covered.
    marks = [chr(c) for c in range(0x3000) if unicodedata.category(chr(c)) in ("Pi", "Pf")]
    quotes = [c for c in marks if "QUOTATION" in unicodedata.name(c) and "ORNAMENT" not in unicodedata.name(c)]
    assert len(quotes) >= 10
    assert set(applied(normalize.plain_punctuation, quotes)) == {'"', "'"}


CLEAN = normalize.composed(
    normalize.nfkc,
    normalize.without_control_characters,
    normalize.plain_punctuation,
    normalize.collapsed_white_space,
)


def test_a_dataset_step_changes_texts_and_nothing_else():
    rows = tf.data.Dataset.from_tensor_slices({"text": ["ﬁne\u00a0 “x”\x00 ", "b"], "label": [1, 2]})
    done = list(rows.apply(normalize.normalized(CLEAN, normalize.lowercase)).as_numpy_iterator())
    assert done == [{"text": b'fine "x"', "label": 1}, {"text": b"b", "label": 2}]
    lone = tf.data.Dataset.from_tensor_slices([" A ", "B"])
    step = normalize.normalized(normalize.collapsed_white_space)
    assert list(lone.apply(step).as_numpy_iterator()) == [b"A", b"B"]
    assert list(lone.batch(2).apply(step).as_numpy_iterator())[0].tolist() == [b"A", b"B"]
    single = tf.data.Dataset.from_tensor_slices(([" A ", "B"],))
    assert list(single.apply(step).as_numpy_iterator()) == [(b"A",), (b"B",)]
    with pytest.raises(ValueError, match="one function or more"):
        normalize.composed()


def test_inside_a_saved_model(tmp_path):
    class Encoder(tf.Module):
        def __init__(self):
            super().__init__()
            self.words = Words(["fine", '"x"'])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def encode(self, strings):
            return self.words.tokenize(normalize.composed(CLEAN, normalize.without_accents)(strings)).to_tensor()

    tf.saved_model.save(Encoder(), tmp_path / "encoder")
    loaded = tf.saved_model.load(tmp_path / "encoder")
    assert loaded.encode(tf.constant(["ﬁné\u00a0 “x”\x00 "])).numpy().tolist() == [[4, 5]]
