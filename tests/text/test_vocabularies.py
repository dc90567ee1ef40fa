import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq import text
from keras_seq.text.byte_vocabulary import Bytes
from keras_seq.text.characters import Characters

LINES = [
    "A man rides a horse.",
    "Two dogs run through the snow.",
    "A woman in a red coat walks her dog.",
    "Ein Mann reitet auf einem Pferd.",
    "Zwei Hunde laufen durch den Schnee, größer als Ähren.",
]
HARD = ["", " ", "🐎🐎 horse 漢字", "\u200b\u00a0 tab\tnew\nline", "word " * 2000, "<s> </s> <pad> <unk>"]


@pytest.fixture(scope="module")
def bpe():
    return text.Subwords.train(LINES * 3, 90)


@pytest.fixture(scope="module")
def words():
    return text.Words.train(LINES)


@pytest.fixture(scope="module")
def unigram():
    return text.Subwords.train(LINES * 3, 50, model_type="unigram")


@pytest.fixture(scope="module")
def characters():
    return Characters.train(LINES)


@pytest.fixture(scope="module")
def byte_vocabulary():
    return Bytes()


@pytest.fixture(params=["bpe", "unigram", "words", "characters", "byte_vocabulary"])
def vocabulary(request):
    return request.getfixturevalue(request.param)


def strings(tensor):
    return [string.decode() for string in tensor.numpy()]


def test_round_trip(vocabulary):
    ids = vocabulary.tokenize(LINES)
    assert ids.dtype == tf.int32 and ids.shape.as_list() == [len(LINES), None]
    assert strings(vocabulary.detokenize(ids)) == LINES
    assert int(tf.reduce_max(ids.values)) < vocabulary.size and int(tf.reduce_min(ids.values)) > vocabulary.end_id


def test_one_string(vocabulary):
    ids = vocabulary.tokenize(LINES[0])
    assert ids.shape.rank == 1
    assert ids.numpy().tolist() == vocabulary.tokenize(LINES)[0].numpy().tolist()
    assert vocabulary.detokenize(ids).numpy().decode() == LINES[0]
    assert len(vocabulary.pieces(ids.numpy())) == len(ids)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_detokenize_stops_at_the_first_end_and_leaves_out_padding_and_start(vocabulary, dtype):
    first, second = (vocabulary.tokenize(line).numpy().tolist() for line in LINES[:2])
    start, end, pad = vocabulary.start_id, vocabulary.end_id, vocabulary.pad_id
    rows = [[start, *first, end, *second, end], [pad, *second[:2], pad, *second[2:]], [end, *first], []]
    expected = [LINES[0], LINES[1], "", ""]
    width = max(map(len, rows))
    padded = np.array([row + [pad] * (width - len(row)) for row in rows], dtype)
    assert strings(vocabulary.detokenize(padded)) == expected
    assert strings(vocabulary.detokenize(tf.ragged.constant(rows, dtype=dtype))) == expected


def test_special_tokens_written_in_a_text_are_only_text(vocabulary):
    ids = vocabulary.tokenize(["</s> <pad> <s> horse"]).to_list()[0]
    assert not {vocabulary.pad_id, vocabulary.start_id, vocabulary.end_id} & set(ids)


def test_hard_strings_pass(vocabulary):
    ids = vocabulary.tokenize(HARD)
    exact = isinstance(vocabulary, (Bytes, Characters))  # others take white space off
    assert ids[0].shape[0] == 0 and ids[1].shape[0] == int(exact)
    assert (vocabulary.unknown_id in ids[2].numpy()) == (not isinstance(vocabulary, Bytes))
    assert len(ids[4]) >= 2000
    written = strings(vocabulary.detokenize(ids))
    assert written[0] == "" and len(written) == len(HARD)


def test_pieces_name_the_special_ids(vocabulary):
    ids = [vocabulary.pad_id, vocabulary.unknown_id, vocabulary.start_id, vocabulary.end_id]
    assert ids == [text.PAD_ID, text.UNKNOWN_ID, text.START_ID, text.END_ID] == [0, 1, 2, 3]
    assert vocabulary.pieces(ids) == ["<pad>", "<unk>", "<s>", "</s>"]


def test_len_call_and_get_vocabulary_as_in_keras(vocabulary):
    tokens = vocabulary.get_vocabulary()
    assert len(vocabulary) == vocabulary.size == len(tokens)
    assert tokens[vocabulary.pad_id] == vocabulary.pieces([vocabulary.pad_id])[0]
    assert vocabulary(LINES).to_list() == vocabulary.tokenize(LINES).to_list()


@pytest.mark.parametrize(
    ("name", "advice"),
    [("build", r"Use .*`train\(texts\)`"), ("get_vocab", "'get_vocab'$"), ("decode", r"Use `detokenize\(ids\)`")],
)
def test_names_of_other_libraries_are_answered_with_ours(name, advice, words):
    for owner in (words, text.Words):
        with pytest.raises(AttributeError, match=f"'Words' has no attribute '{name}'.*{advice}|{advice}"):
            getattr(owner, name)
        assert not hasattr(owner, name)


@pytest.mark.parametrize(("name", "ending"), [("bpe", "spm"), ("unigram", "spm"), ("words", "words")])
def test_load_knows_the_kind_by_its_ending(name, ending, request, tmp_path):
    vocabulary = request.getfixturevalue(name)
    vocabulary.save(tmp_path / f"a.{ending}")
    assert type(text.load(tmp_path / f"a.{ending}")) is type(vocabulary)


def test_save_and_load(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "file")
    loaded = type(vocabulary).load(tmp_path / "file")
    assert loaded.size == vocabulary.size
    assert loaded.pieces(range(loaded.size)) == vocabulary.pieces(range(vocabulary.size))
    assert loaded.tokenize(LINES + HARD).to_list() == vocabulary.tokenize(LINES + HARD).to_list()


@pytest.mark.parametrize("content", ["no vocabulary\n", "", "{}", '{"format": "other"}', "[1]", "\x00", "\xff"])
def test_each_kind_names_a_broken_file(content, vocabulary, tmp_path):
    path = tmp_path / "broken"
    path.write_text(content, "latin-1")
    with pytest.raises(ValueError, match="broken"):
        type(vocabulary).load(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        type(vocabulary).load(tmp_path / "missing")


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="model.bin"):
        text.load(tmp_path / "model.bin")
    with pytest.raises(FileNotFoundError, match="missing.spm"):
        text.load(tmp_path / "missing.spm")
    for name in ("broken.spm", "broken.words"):
        (tmp_path / name).write_text("no vocabulary\n")
        with pytest.raises(ValueError, match=name):
            text.load(tmp_path / name)


def test_a_piece_that_is_no_text(bpe, tmp_path):
    bpe.save(tmp_path / "a.spm")
    content = (tmp_path / "a.spm").read_bytes()
    (tmp_path / "a.spm").write_bytes(content.replace("ö".encode(), b"\xff\xff"))
    with pytest.raises(ValueError, match="a.spm: `model` must hold a SentencePiece model"):
        text.load(tmp_path / "a.spm")


def test_inside_a_saved_model(vocabulary, tmp_path):
    class Echo(tf.Module):
        def __init__(self):
            super().__init__()
            self.vocabulary = vocabulary

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def there_and_back(self, strings):
            return self.vocabulary.detokenize(self.vocabulary.tokenize(strings).to_tensor())

    module = Echo()
    tf.saved_model.save(module, tmp_path / "echo")
    loaded = tf.saved_model.load(tmp_path / "echo")
    inputs = tf.constant(LINES + HARD)
    assert strings(loaded.there_and_back(inputs)) == strings(vocabulary.detokenize(vocabulary.tokenize(inputs)))
    assert strings(loaded.there_and_back(tf.constant(LINES[:1]))) == LINES[:1]


def test_seeding_tensorflow_does_no_harm(vocabulary):
    before = vocabulary.tokenize(["a b"]).to_list()
    tf.random.set_seed(1)  # clears the eager kernels, and with them what a SentencePiece tokenizer holds
    assert vocabulary.tokenize(["a b"]).to_list() == before


def test_training_takes_a_dataset_of_pairs():
    pairs = tf.data.Dataset.from_tensor_slices((LINES, LINES[::-1]))
    flat = [line for pair in zip(LINES, LINES[::-1], strict=True) for line in pair]
    for kind in (text.Words, text.Subwords, Characters):
        assert kind.train(pairs, 60).tokenize(LINES).to_list() == kind.train(flat, 60).tokenize(LINES).to_list()
        with pytest.raises(ValueError, match="not one string"):
            kind.train("a path, by mistake", 60)
    with pytest.raises(ValueError, match="not one string"):
        Bytes.train("a path, by mistake")
    assert Bytes.train(pairs).size == 260


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_subwords_too_few_lines(model_type):
    with pytest.raises(ValueError, match=r"`vocabulary_size`=5000 .* 5 lines"):
        text.Subwords.train(LINES, 5000, model_type=model_type)
    smaller = text.Subwords.train(LINES, 5000, model_type=model_type, hard_vocab_limit=False)
    assert 4 < smaller.size < 5000
    assert strings(smaller.detokenize(smaller.tokenize(LINES))) == LINES


def test_subwords_bad_arguments():
    with pytest.raises(ValueError, match="'char'"):
        text.Subwords.train(LINES, 90, model_type="char")
    with pytest.raises(ValueError, match="no text"):
        text.Subwords.train(["", " "], 90)
    with pytest.raises(ValueError, match="`vocabulary_size`=5 "):
        text.Subwords.train(LINES, 5)
    with pytest.raises(ValueError, match="`vocabulary_size`=20 .* 5 lines of text need at least [0-9]+ pieces"):
        text.Subwords.train(LINES, 20)
    with pytest.raises(ValueError, match="None of the 1 lines .* NUL or U.2585"):
        text.Subwords.train(["a \u2585 b"], 20)


def test_characters_of_a_long_line_are_learned():
    lines = ["the cat sat on the mat"] * 50 + ["жизнь прожить не поле перейти " * 120]  # 6,720 bytes
    subwords = text.Subwords.train(lines, 60, hard_vocab_limit=False)
    assert strings(subwords.detokenize(subwords.tokenize(["жизнь the cat"]))) == ["жизнь the cat"]


def test_subwords_size_and_seed(bpe):
    assert bpe.size == 90
    again = text.Subwords.train(LINES * 3, 90)
    assert again.tokenize(LINES).to_list() == bpe.tokenize(LINES).to_list()


def test_words_by_frequency():
    lines = ["b b b a a c", "c d"]
    words = text.Words.train(lines)
    assert words.pieces(range(4, words.size)) == ["b", "a", "c", "d"]
    assert text.Words.train(lines, 6).pieces([4, 5]) == ["b", "a"]
    assert text.Words.train(lines, minimum_count=2).size == 4 + 3
    assert words.tokenize(["a x d"]).to_list() == [[5, words.unknown_id, 7]]
    assert strings(words.detokenize(words.tokenize(["a x  d"]))) == ["a <unk> d"]
    with pytest.raises(ValueError, match="minimum_count=9"):
        text.Words.train(lines, minimum_count=9)
    with pytest.raises(ValueError, match="'a'"):
        text.Words(["a", "a"])
    for word in ("a\nb", "", " \t"):
        with pytest.raises(ValueError, match="none of them empty"):
            text.Words([word])
    with pytest.raises(ValueError, match="one word or more"):
        text.Words([])


SPLIT = [["Chúng tôi", "có", "10 000", "công nhân"], ["a\rb", "10\u00a0000", " "], ["Chúng tôi", "10 000", "</s>"]]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", ["lists", "dataset"])
def test_words_with_spaces_are_kept_whole(kind, lowercase, tmp_path):
    lines = SPLIT
    if kind == "dataset":
        lines = tf.data.Dataset.from_tensor_slices(tf.ragged.constant(SPLIT)).map(lambda words: words)
    text.Words.train(lines, lowercase=lowercase).save(tmp_path / "a.words")
    words = text.load(tmp_path / "a.words")
    known = [word.lower() if lowercase else word for word in dict.fromkeys(sum(SPLIT, [])) if word not in (" ", "</s>")]
    assert sorted(words.pieces(range(4, words.size))) == sorted(known)
    ids = words.lookup(sum(SPLIT, [])).numpy().tolist()
    assert [word for word, i in zip(sum(SPLIT, []), ids, strict=True) if i == words.unknown_id] == [" ", "</s>"]
    found = text.coverage(words, SPLIT)
    assert (found.lines, found.words, found.tokens, found.unknown_tokens, found.used) == (3, 10, 10, 2, 6)
    assert dict(found.unknown_words) == {" ": 1, "</s>": 1}


def test_pairs_are_tuples_whose_sides_are_texts():
    assert text.Words.train([("a b", ["c d", "e"])]).size == 4 + 4


def test_lowercase_words_are_not_cut_at_a_nul():
    words = text.Words.train(["A\0B Dog", "Horse"], lowercase=True)
    assert set(words.pieces(range(4, words.size))) == {"ab", "dog", "horse"}
    ids = words.tokenize([b"DOG \0 HORSE A\0B"])
    assert strings(words.detokenize(ids)) == ["dog horse ab"] and words.lookup(["\0Dog"]).numpy() == ids.values[0]


def test_lowercase_words_stay_lowercase_through_a_file(tmp_path):
    words = text.Words.train(["Größe ÄHREN größe"], lowercase=True)
    assert words.pieces(range(4, words.size)) == ["größe", "ähren"]
    words.save(tmp_path / "low.words")
    loaded = text.load(tmp_path / "low.words")
    assert strings(loaded.detokenize(loaded.tokenize(["GRÖSSE GRÖßE Ähren"]))) == ["<unk> größe ähren"]


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
@pytest.mark.parametrize("kind", [list, iter])
def test_a_zero_width_non_joiner_is_part_of_the_text(kind, model_type):
    persian = ["می\u200cخواهم به خانه بروم", "نمی\u200cدانم چه بگویم"]
    subwords = text.Subwords.train(kind(persian * 20), 80, model_type=model_type, hard_vocab_limit=False)
    again = ["نمی\u200cخواهم", *persian, "به \u200cخانه\u200c"]
    assert strings(subwords.detokenize(subwords.tokenize(again))) == again
    joined = text.Subwords.train(["👩\u200d👧 क\u200dष"] * 9, 30, hard_vocab_limit=False)
    assert strings(joined.detokenize(joined.tokenize(["क\u200dष 👩\u200d👧"]))) == ["क\u200dष 👩\u200d👧"]
    assert "\u200c" not in joined.pieces(range(joined.size)), "a vocabulary has no piece that its text does not need"


def test_what_a_vocabulary_leaves_out_is_told(caplog):
    lines = ["b b b a a c", "c d"]
    text.Words.train(lines, 6)
    assert "has 2 of 4 different words; 3 of the text's 8 become unknown" in caplog.text
    text.Characters.train(["aabc"], 5)
    assert "has 1 of 3 different characters; 2 of the text's 4 become unknown" in caplog.text
    caplog.clear()
    text.Words.train(lines), text.Characters.train(lines), text.Subwords.train(LINES, 90)
    assert not caplog.records
    text.Subwords.train([*LINES, "a\u2585b", "c\0d"], 90)
    assert "2 lines with NUL or U+2585 are ignored" in caplog.text
    text.Subwords.train(LINES * 50, 90, max_lines=120)
    assert f"Of {50 * len(LINES)} lines, 120 are drawn" in caplog.text


WORD = st.text(st.sampled_from("ab1 \t\r\u00a0\u3000\u200c\u2028é"), min_size=1, max_size=5).filter(
    lambda w: w.encode().strip()
)


@given(st.lists(st.lists(WORD, max_size=4), min_size=1).filter(any), st.booleans())
@settings(max_examples=50, deadline=None)
def test_every_word_of_a_text_is_known_to_its_vocabulary(tmp_path_factory, sentences, lowercase):
    path = tmp_path_factory.getbasetemp() / "any.words"
    text.Words.train(sentences, lowercase=lowercase).save(path)
    words, flat = text.load(path), sum(sentences, [])
    ids = words.lookup(flat).numpy()
    assert words.pieces(ids) == flat, "none of these letters has an upper case"
    assert words.unknown_id not in ids and text.coverage(words, sentences).unknown_tokens == 0
