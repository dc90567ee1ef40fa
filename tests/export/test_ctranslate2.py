import ast
import functools
import importlib
import json
import pathlib
import sys
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras_seq.export needs TensorFlow", allow_module_level=True)
library = pytest.importorskip("ctranslate2")

import sentencepiece  # noqa: E402, tests without the package end above

from keras_seq import decoding, export, models, text  # noqa: E402
from keras_seq.layers import sinusoidal_positions  # noqa: E402
from tests.reference import quick  # noqa: E402

module = importlib.import_module("keras_seq.export.ctranslate2")  # `export.ctranslate2` is the function

WORDS = text.Words([f"w{i}" for i in range(30)])
OTHERS = text.Words([f"u{i}" for i in range(24)])
IDS = {"start_id": WORDS.start_id, "end_id": WORDS.end_id, "pad_id": WORDS.pad_id}
T = 12

# Options of the model, and whether it has two vocabularies.
MODELS = {
    "pre-norm, more decoder layers": ({"num_layers": 2, "num_decoder_layers": 3}, False),
    "post-norm, gelu, two vocabularies": ({"normalize_first": False, "activation": "gelu"}, True),
    "learned positions, untied": ({"positions": "learned", "max_positions": T, "tie_embeddings": False}, False),
    "rms, rotary, swiglu, one head of keys": (
        {"layer_normalization": "rms", "positions": "rotary", "activation": "swiglu", "num_key_value_heads": 1},
        True,
    ),
    "rms, post-norm, geglu, two heads of keys": (
        {"layer_normalization": "rms", "normalize_first": False, "activation": "geglu", "num_key_value_heads": 2},
        False,
    ),
    "rotary, reglu, untied, two vocabularies": (
        {"positions": "rotary", "activation": "reglu", "tie_embeddings": False},
        True,
    ),
    "tanh": ({"activation": "tanh"}, False),
    "silu": ({"activation": "silu"}, False),
}
SIZES = {"units": 16, "num_heads": 4, "intermediate_dim": 24, "num_layers": 1, "dropout": 0.1}
QUICK = ("post-norm, gelu, two vocabularies", "rms, rotary, swiglu, one head of keys")


def transformer(target_size=None, **options):
    """A model of random weights, so large that sources matter; small biases, none of them zero, norms not one."""
    keras.utils.set_random_seed(4)
    model = models.Transformer(WORDS.size, target_size, **SIZES | options)
    random = np.random.default_rng(5)
    for w in model.weights:
        w.assign(w + random.normal(0, 0.5 if len(w.shape) > 1 else 0.1, w.shape))
    return model


@functools.cache
def plain():
    """One for all tests that change nothing of it."""
    return transformer()


def greedy(model, sources, max_length=T):
    """Ids, the end token not in -> ids, up to and with the end token, and log-probabilities."""
    width = max(map(len, sources)) + 1
    source = np.zeros((len(sources), width), "int32")
    for row, ids in zip(source, sources, strict=True):
        row[: len(ids) + 1] = [*ids, WORDS.end_id]
    tokens, lengths, log_probs, _ = decoding.search(model, source, num_beams=1, max_length=max_length, **IDS)
    rows = zip(np.asarray(tokens)[:, 0], np.asarray(lengths)[:, 0], strict=True)
    return [row[:length].tolist() for row, length in rows], np.asarray(log_probs)[:, 0]


def translated(folder, pieces, max_length=T, compute_type="float32"):
    translator = library.Translator(str(folder), device="cpu", compute_type=compute_type)
    options = {"beam_size": 1, "length_penalty": 0, "min_decoding_length": 0, "max_decoding_length": max_length}
    found = translator.translate_batch(pieces, return_end_token=True, return_scores=True, **options)
    return [result.hypotheses[0] for result in found], np.array([result.scores[0] for result in found])


@pytest.fixture(scope="module")
def sources():
    random = np.random.default_rng(1)
    return [random.integers(4, WORDS.size, random.integers(1, T)).tolist() for _ in range(64)]


@pytest.mark.parametrize("name", quick(MODELS, few=QUICK))
def test_greedy_search_and_scores_are_ours(name, sources, tmp_path):
    options, two = MODELS[name]
    vocabulary = OTHERS if two else WORDS
    model = transformer(OTHERS.size if two else None, **options)
    folder = export.ctranslate2(
        model, tmp_path / "a", vocabulary, source_vocabulary=WORDS if two else None, verify=False
    )
    pieces = [WORDS.pieces(source) for source in sources]
    tokens, log_probs = greedy(model, sources)
    found, scores = translated(folder, pieces)
    assert found == [vocabulary.pieces(row) for row in tokens]
    # Weights so large differ from their own float64 by more than 1e-4 in a whole sentence.
    assert np.all(np.abs(scores - log_probs) < 1e-4 * np.array([len(row) for row in found]))
    assert len({tuple(row) for row in found}) > 8  # or it would prove little
    if "one head" in name:
        assert {len(row) for row in found} > {T}  # some end, some do not

    # Any target, token for token, and the end token.
    random = np.random.default_rng(2)
    targets = random.integers(4, vocabulary.size, (64, T - 1))
    source = np.zeros((64, T), "int32")
    for row, ids in zip(source, sources, strict=True):
        row[: len(ids) + 1] = [*ids, WORDS.end_id]
    ended = np.concatenate([targets, np.full((64, 1), WORDS.end_id)], axis=1)
    ours, _ = decoding.score(model.decode, model.encode(source), ended, pad_id=0, start_id=WORDS.start_id)
    translator = library.Translator(str(folder), device="cpu", compute_type="float32")
    theirs = translator.score_batch(pieces, [vocabulary.pieces(target) for target in targets])
    np.testing.assert_allclose([result.log_probs for result in theirs], ours, atol=1e-4)


def test_the_table_is_the_layers_sines():
    expected = sinusoidal_positions(np.arange(1024)[None], 16)[0]
    np.testing.assert_allclose(module._sinusoids(1024, 16), expected, atol=2e-4)  # float32 angles up to 1023
    np.testing.assert_allclose(module._sinusoids(20, 16), expected[:20], atol=2e-6)


def test_beyond_the_learned_positions_the_last_counts(sources, tmp_path):
    model = transformer(positions="learned", max_positions=5)
    folder = export.ctranslate2(model, tmp_path / "a", WORDS, samples=())
    short = [source[:4] for source in sources]
    tokens, log_probs = greedy(model, short, max_length=T)
    found, scores = translated(folder, [WORDS.pieces(source) for source in short])
    assert found == [WORDS.pieces(row) for row in tokens]
    np.testing.assert_allclose(scores, log_probs, atol=1e-4)


@pytest.mark.parametrize("quantization", quick(["int8", "float16"], few=["int8"]))
def test_quantized_models_are_smaller_and_much_the_same(quantization, sources, tmp_path):
    model = transformer(units=64, intermediate_dim=128)
    small = export.ctranslate2(model, tmp_path / "small", WORDS, quantization=quantization, max_positions=32)
    large = export.ctranslate2(model, tmp_path / "large", WORDS, verify=False, max_positions=32)
    assert (small / "model.bin").stat().st_size < 0.65 * (large / "model.bin").stat().st_size
    pieces = [WORDS.pieces(source) for source in sources]
    targets = [WORDS.pieces(target) for target in greedy(model, sources)[0]]
    exact, rough = (
        np.concatenate([np.array(result.log_probs[:-1]) for result in translator.score_batch(pieces, targets)])
        for translator in (library.Translator(str(folder), device="cpu") for folder in (large, small))
    )
    assert 0 < np.abs(exact - rough).mean() < 0.2
    found, scores = translated(small, pieces, compute_type="default")
    assert all(found) and np.isfinite(scores).all()


def test_strings_through_the_sentencepiece_model_beside_it(tmp_path):
    lines = ["the quick brown fox jumps over the lazy dog", "two men ride a horse", "über die straße läuft ein hund"]
    subwords = text.Subwords.train(lines, 80, hard_vocab_limit=False)
    model = models.Transformer(subwords.size, units=16, num_heads=2, num_layers=1)
    for weight in model.weights:
        weight.assign(2 * weight)
    folder = export.ctranslate2(model, tmp_path / "a", subwords, quantization="float32")
    assert {p.name for p in folder.iterdir()} == {
        "README.md",
        "model.bin",
        "config.json",
        "shared_vocabulary.json",
        "shared.spm",
    }
    config = json.loads((folder / "config.json").read_text())
    assert (config["unk_token"], config["bos_token"], config["eos_token"]) == ("<unk>", "<s>", "</s>")
    assert config["add_source_eos"] and not config["add_source_bos"] and config["layer_norm_epsilon"] == 1e-5

    texts = ["two men ride", "a dog 🐎", "the horse jumps", "ein hund"]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "shared.spm"))
    pieces, _ = translated(folder, processor.encode(texts, out_type=str), max_length=20)
    pieces = [[piece for piece in row if piece != "</s>"] for row in pieces]
    expected = decoding.generate(model, subwords, texts, num_beams=1, max_length=20)
    assert [processor.decode(row) for row in pieces] == expected and len(set(expected)) > 1


def test_two_vocabularies_lie_beside_it(tmp_path):
    characters = text.Characters("abc ")
    model = transformer(characters.size)
    folder = export.ctranslate2(model, tmp_path / "a", characters, source_vocabulary=WORDS)
    names = {p.name for p in folder.iterdir()} - {"README.md", "model.bin", "config.json"}
    vocabularies = {"source_vocabulary.json", "target_vocabulary.json"}
    assert names == vocabularies | {"source.words", "target.characters"}
    assert text.load(folder / "source.words").pieces(range(34)) == WORDS.pieces(range(34))
    again = export.ctranslate2(model, folder, characters, source_vocabulary=WORDS, verify=False)
    assert again == folder and [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.long
def test_a_model_of_bfloat16_is_written_in_float32(tmp_path, sources):
    model = transformer(dtype="mixed_bfloat16")
    folder = export.ctranslate2(model, tmp_path / "a", WORDS, samples=())
    full = transformer()
    full.set_weights(model.get_weights())
    found, _ = translated(folder, [WORDS.pieces(source) for source in sources])
    assert found == [WORDS.pieces(row) for row in greedy(full, sources)[0]]


@pytest.mark.parametrize("what", quick(["_sinusoids", "EPSILON"], few=["EPSILON"]))
def test_what_translates_otherwise_is_found_out_and_leaves_the_old_one(what, tmp_path, monkeypatch):
    model = plain()
    folder = export.ctranslate2(model, tmp_path / "a", WORDS, verify=False)
    before = (folder / "model.bin").read_bytes()
    sines = module._sinusoids
    wrong = {"_sinusoids": lambda length, units: sines(length + 1, units)[1:], "EPSILON": 0.1}
    monkeypatch.setattr(module, what, wrong[what])
    with pytest.raises(RuntimeError, match=r"translates differently\. For \['w\d+'.*log p -.*CTranslate2 \[.*log p -"):
        export.ctranslate2(model, folder, WORDS)
    assert (folder / "model.bin").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a"]


class Twice(text.Words):
    def pieces(self, ids):
        return ["w1" if piece == "w7" else piece for piece in super().pieces(ids)]


@pytest.mark.parametrize(
    ("options", "vocabulary", "message"),
    [
        ({"positions": "alibi"}, WORDS, "`positions='alibi'`: CTranslate2 has.*Train with positions 'sinusoidal'"),
        ({"attention_window": 3}, WORDS, "`attention_window`=3: CTranslate2's window.*attention_window=None"),
        ({"activation": "elu"}, WORDS, "`activation` must be one that CTranslate2 supports: 'relu'.*Received: 'elu'"),
        ({}, OTHERS, "The source vocabulary must have the 34 ids.*Received: 28. Give"),
        ({}, Twice([f"w{i}" for i in range(30)]), "writes the ids 5 and 11 alike, 'w1'.*different names"),
    ],
)
def test_what_ctranslate2_cannot_express_is_refused_by_name(options, vocabulary, message, tmp_path):
    model = models.Transformer(WORDS.size, **SIZES | options) if options else plain()
    with pytest.raises(ValueError, match=message):
        export.ctranslate2(model, tmp_path / "a", vocabulary)
    assert not list(tmp_path.iterdir())


def test_other_models_and_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a `models.Transformer`.*`export.saved_model`.* Received: a Seq2Seq"):
        export.ctranslate2(
            models.Seq2Seq(9, units=4, num_layers=1, cell="rnn", bidirectional=False), tmp_path / "a", WORDS
        )
    with pytest.raises(ValueError, match="int3 is not a valid quantization type"):
        export.ctranslate2(plain(), tmp_path / "a", WORDS, quantization="int3")
    with pytest.raises(ValueError, match="`max_positions` must be at least 2.*Received: 1"):
        export.ctranslate2(plain(), tmp_path / "a", WORDS, max_positions=1)
    quantized = models.Transformer(WORDS.size, **SIZES)
    quantized.encoder_layers[0].hidden_dense.quantize("int8")
    with pytest.raises(ValueError, match="was quantized by Keras.*Export the unquantized model"):
        export.ctranslate2(quantized, tmp_path / "a", WORDS)
    assert not list(tmp_path.iterdir())


def test_what_is_not_such_a_model_is_left_alone(tmp_path):
    file, folder, mixed = tmp_path / "file", tmp_path / "folder", tmp_path / "mixed"
    folder.mkdir()
    model = plain()
    export.ctranslate2(model, mixed, WORDS, verify=False)
    for path in (file, folder / "thesis.txt", mixed / "notes.txt"):
        path.write_text("mine")
    for path, message in (
        (file, "is a file"),
        (folder, "not a CTranslate2 model and holds thesis.txt"),
        (mixed, "also notes"),
    ):
        with pytest.raises(ValueError, match=message):
            export.ctranslate2(model, path, WORDS)
    (mixed / "notes.txt").unlink()
    with pytest.raises(ValueError, match="holds a CTranslate2 model already.*overwrite=True"):
        export.ctranslate2(model, mixed, WORDS, overwrite=False)
    assert (folder / "thesis.txt").read_text() == file.read_text() == "mine"


def test_without_the_package_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ImportError, match=r'pip install "keras-seq\[ctranslate2\]"'):
        export.ctranslate2(None, tmp_path / "a", WORDS)


def test_importing_export_imports_no_optional_library():
    for path in pathlib.Path(export.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"ctranslate2", "onnx", "onnxruntime", "tf2onnx", "ai_edge_litert"}, path.name


def test_the_verification_tries_sources_with_room_for_the_end_token():
    sources = module._sources(WORDS, [" ".join(f"w{i}" for i in range(9)), "w3 w4"], 5)
    assert sources[-2:] == [WORDS.tokenize(["w0 w1 w2 w3"]).to_list()[0], WORDS.tokenize(["w3 w4"]).to_list()[0]]
    assert {len(source) for source in sources} == {1, 2, 3, 4}


def test_a_front_end_is_refused_by_name():
    names = ("encoder_layers", "decoder_layers", "target_embedding")
    model = types.SimpleNamespace(**dict.fromkeys(names), source_front_end=types.SimpleNamespace(name="ears"))
    with pytest.raises(ValueError, match="`source_front_end`='ears': CTranslate2 reads tokens, and does not have such"):
        module._check_model(model)


def named(**values):
    return types.SimpleNamespace(**values)


@pytest.mark.parametrize("biased", [True, False])
def test_dense_layers_with_and_without_a_bias(biased):
    query, key = (
        named(kernel=np.full((3, width), value, "float32"), bias=np.full(width, value, "float32") if biased else None)
        for width, value in ((4, 1), (2, 2))
    )
    fused, lone = named(bias=None), named(bias=None)
    module._set_fused(fused, [(query, 1), (key, 2)], head_dim=2)
    module._set_dense(lone, key)
    assert fused.weight.tolist() == [[1] * 3] * 4 + [[2] * 3] * 4 and lone.weight.tolist() == [[2] * 3] * 2
    assert (fused.bias is not None, lone.bias is not None) == (biased, biased)
    if biased:
        assert fused.bias.tolist() == [1] * 4 + [2] * 4 and lone.bias.tolist() == [2] * 2


def test_a_side_without_a_norm_and_with_a_longer_table():
    table = np.arange(6, dtype="float32").reshape(3, 2)
    model = named(
        positions="learned", source_embedding=named(embeddings=table + 9), source_positions=named(table=table)
    )
    spec, embeddings = named(layer_norm="as it was", position_encodings=named()), named()
    module._set_ends(spec, embeddings, model, "source", None, 5)
    assert spec.layer_norm == "as it was" and embeddings.weight.tolist() == (table + 9).tolist()
    assert spec.position_encodings.encodings.tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]


def test_both_vocabularies_have_the_same_unknown_and_end_token():
    class Other(text.Words):
        def pieces(self, ids):
            return ["<eos>" if i == self.end_id else piece for i, piece in zip(ids, super().pieces(ids), strict=True)]

    other = Other(["a"])
    model = named(source_embedding=named(input_dim=other.size), target_embedding=named(input_dim=WORDS.size))
    spec = named(register_source_vocabulary=lambda pieces: None, register_target_vocabulary=lambda pieces: None)
    with pytest.raises(ValueError, match="Both vocabularies must write the unknown and the end token alike"):
        module._add_vocabularies(spec, model, WORDS, other)


def library_of(*results):
    """What translates every source to the same results: pieces and log p."""
    found = [named(hypotheses=[pieces], scores=[score]) for pieces, score in results]
    translator = named(translate_batch=lambda sources, **options: found[: len(sources)])
    return named(Translator=lambda folder, device, compute_type: translator)


@pytest.mark.parametrize("score", [-1.0, np.nan, -np.inf])
def test_scores_of_a_quantized_model_are_finite(score, tmp_path):
    library, model = library_of((["w1"], -1.0), (["w1"], score)), named(positions="rotary")
    arguments = (library, tmp_path, model, WORDS, WORDS, (), False, 4)
    if np.isfinite(score):
        module._verify(*arguments)
    else:
        with pytest.raises(RuntimeError, match="The quantized CTranslate2 model returns scores that are not finite."):
            module._verify(*arguments)


@pytest.mark.parametrize("apart", [5e-5, 5e-4])
def test_translations_may_differ_where_both_are_as_likely(apart, tmp_path, monkeypatch):
    ids = [[5, 6, WORDS.end_id], [5, 7, WORDS.end_id]]  # ours and theirs
    ours, theirs = (np.array([row]) for row in ids)
    log_probs = {6: [-1.0, -2.0, -1.0], 7: [-1.0, -2.0 + apart, -9.0]}
    monkeypatch.setattr(module, "search", lambda *args, **options: (ours[:, None], np.array([[3]]), None, None))
    monkeypatch.setattr(
        module, "score", lambda decode, state, target, **options: (np.array([log_probs[target[0, 1]]]), None)
    )
    monkeypatch.setattr(module, "_sources", lambda *args: [[8, 9]])
    model = named(positions="rotary", dtype_policy=named(name="float32"), encode=lambda source: None, decode=None)
    arguments = (library_of((WORDS.pieces(ids[1]), -12.0)), tmp_path, model, WORDS, WORDS, (), True, 3)
    if apart < module.TOLERANCE:
        module._verify(*arguments)
        return
    told = r"For \['w4', 'w5'\] this process returns \['w1', 'w2', '.*'\] \(log p -4\), CTranslate2 .*'w3', .*-12\)"
    with pytest.raises(RuntimeError, match=told):
        module._verify(*arguments)


def test_a_model_is_compared_in_float32():
    class Model:
        def __init__(self, dtype, units):
            self.dtype_policy, self.units, self.weights = named(name=dtype), units, [np.ones(2, "float16")]

        def get_config(self):
            return {"dtype": {"name": self.dtype_policy.name}, "units": self.units}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

        def set_weights(self, weights):
            self.weights = weights

    whole, half = Model("float32", 8), Model("mixed_bfloat16", 8)
    assert module._in_float32(whole) is whole
    found = module._in_float32(half)
    assert (found.dtype_policy.name, found.units) == ("float32", 8)
    (weights,) = found.weights
    assert weights.dtype == "float32" and weights.tolist() == [1, 1]


def test_a_vocabulary_without_a_file_of_its_own_is_not_written(tmp_path, monkeypatch):
    spec = named(
        validate=lambda: None,
        optimize=lambda quantization: None,
        save=lambda folder: pathlib.Path(folder, "model.bin").write_text("a model"),
    )
    for name in ("_check_model", "_add_vocabularies", "write_card"):
        monkeypatch.setattr(module, name, lambda *args, **options: None)
    monkeypatch.setattr(module, "_specification", lambda *args: spec)
    folder = export.ctranslate2(None, tmp_path / "a", named(), source_vocabulary=WORDS, verify=False)
    assert {path.name for path in folder.iterdir()} == {"model.bin", "source.words"}
    assert text.load(folder / "source.words").size == WORDS.size and [path.name for path in tmp_path.iterdir()] == ["a"]
