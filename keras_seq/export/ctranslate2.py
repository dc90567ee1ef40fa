"""Export of a Transformer as a CTranslate2 model folder, for serving on CPUs and in eight bits."""

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_seq.decoding import score, search
from keras_seq.export.destination import check_folder, swap
from keras_seq.export.model_card import card_at, read_run, write_card
from keras_seq.tasks.samples import SAMPLES

# File endings of keras_seq.text, by which `text.load` recognizes a vocabulary.
ENDINGS = {"Subwords": ".spm", "Words": ".words", "Characters": ".characters", "Bytes": ".bytes"}
SIDES = ("shared", "source", "target")
FILES = {"model.bin", "config.json"}
FILES |= {f"{side}{ending}" for side in SIDES for ending in ("_vocabulary.json", *ENDINGS.values())}
KIND = ("CTranslate2 model", "model.bin")
USAGE = """```python
import ctranslate2
import sentencepiece

source = sentencepiece.SentencePieceProcessor(model_file="{source}")
target = sentencepiece.SentencePieceProcessor(model_file="{target}")
translator = ctranslate2.Translator(".")  # this folder
pieces = source.encode(["a text"], out_type=str)  # without </s>, which CTranslate2 appends
results = translator.translate_batch(pieces, beam_size=5, max_decoding_length=200)
print(target.decode([result.hypotheses[0] for result in results]))
```"""
USAGE_WITH_TOKENS = """```python
import ctranslate2

translator = ctranslate2.Translator(".")  # this folder
translator.translate_batch([["tokens", "of", "a", "text"]], beam_size=5, max_decoding_length=200)
```

The caller splits the text into tokens of the vocabulary in this folder, without the end token, and joins those of the
translation."""
EPSILON = 1e-5  # of all normalizations of `models.Transformer`. CTranslate2 has one epsilon per model
EXACT = (None, "float32")  # quantizations whose numbers are compared
TOLERANCE = 1e-4  # in log p, for each token
TRIED = 16  # number of random sources
LONGEST = 20  # maximum number of tokens of the sources and targets to try


def ctranslate2(
    model: keras.Model,
    path: str | os.PathLike[str],
    vocabulary: Any,
    *,
    source_vocabulary: Any = None,
    quantization: str | None = None,
    max_positions: int = 1024,
    verify: bool = True,
    samples: Sequence[str] = SAMPLES,
    overwrite: bool = True,
    run: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes a CTranslate2 model folder of a `models.Transformer`.

    `ctranslate2.Translator(str(path)).translate_batch(pieces)` then translates lists of pieces, without end token, and
    needs neither Keras nor TensorFlow. The folder also has the vocabularies as saved by `text`, `shared.spm` or
    `source.spm` and `target.spm`, which SentencePiece opens. CTranslate2 allows empty translations only with
    `min_decoding_length=0`.

    If there are fewer heads of keys and values than of queries, they are repeated, which changes no number: CTranslate2
    does not support such heads over an encoder's output. Positions are written as a table.

    Args:
        model: a `models.Transformer`, not quantized, with any dtype policy.
        path: the folder to write.
        vocabulary: vocabulary of the target, and of the source by default.
        source_vocabulary: vocabulary of the source, if it is another one.
        quantization: None for float32, or a type of CTranslate2: "int8", "int8_float32", "int16", "float16", ...
        max_positions: maximum length of a source or target. CTranslate2 raises an error beyond. By default, its
            `translate_batch` cuts sources to `max_input_length=1024` and stops at `max_decoding_length=256`.
        verify: whether to load and test the export. In float32, random sources and `samples` must give the tokens of
            greedy `decoding.search` and their log-probability, within 1e-4 per token. If two tokens are that close,
            either is accepted. A quantized model must translate them with finite scores.
        samples: strings or bytes. The first 20 tokens of each are tried.
        overwrite: whether to replace an existing model folder at `path`.
        run: run folder of the model, for the model card `README.md`.
    Returns:
        `path`, a `pathlib.Path`.
    Raises:
        ImportError: if the package ctranslate2 is not installed.
        ValueError: for an option of the model that CTranslate2 does not support, for a vocabulary of another size, or
            if writing to `path` would lose something.
        RuntimeError: if the exported model translates differently.
    """
    library = _library()
    path, source_vocabulary = Path(path), source_vocabulary or vocabulary
    if max_positions < 2:
        raise ValueError(
            f"`max_positions` must be at least 2, for a token and the end token. Received: {max_positions}"
        )
    check_folder(path, overwrite, *KIND, FILES | card_at(path))
    known = read_run(run)
    _check_model(model)
    spec = _specification(library, model, max_positions)
    _add_vocabularies(spec, model, vocabulary, source_vocabulary)
    spec.validate()
    spec.optimize(quantization=quantization)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        new.mkdir()
        spec.save(str(new))
        sides = {"shared": vocabulary}
        if source_vocabulary is not vocabulary:
            sides = {"source": source_vocabulary, "target": vocabulary}
        for side, one in sides.items():
            if type(one).__name__ in ENDINGS:
                one.save(new / f"{side}{ENDINGS[type(one).__name__]}")
        if verify:
            exact, longest = quantization in EXACT, min(LONGEST, max_positions)
            _verify(library, new, model, vocabulary, source_vocabulary, samples, exact, longest)
        check_folder(path, overwrite, *KIND, FILES | card_at(path))  # verifying takes a while
        form, usage = form_of(quantization), usage_of(new)
        write_card(new, path, kind="translation", form=form, model=model, usage=usage, known=known)
        swap(path, new, old)
    return path


def form_of(quantization):
    return f"A CTranslate2 model, {quantization or 'float32'}"


def usage_of(folder):
    """The program that calls a folder: with SentencePiece if it reads the vocabularies."""
    source, target = (f"{side}.spm" for side in ("source", "target"))
    if (folder / "shared.spm").exists():
        source = target = "shared.spm"
    if all((folder / name).exists() for name in (source, target)):
        return USAGE.format(source=source, target=target)
    return USAGE_WITH_TOKENS


def _library():
    try:
        import ctranslate2 as library
    except ImportError as error:
        raise ImportError('`export.ctranslate2` needs the package: pip install "keras-seq[ctranslate2]"') from error
    return library


def _check_model(model):
    if not all(hasattr(model, name) for name in ("encoder_layers", "decoder_layers", "target_embedding")):
        raise ValueError(
            "CTranslate2 runs Transformers only: `model` must be a `models.Transformer`. Train one "
            "(--architecture transformer), or use `export.saved_model`, which takes others too. "
            f"Received: a {type(model).__name__}"
        )
    if model.source_front_end is not None:
        raise ValueError(
            f"`source_front_end`={model.source_front_end.name!r}: CTranslate2 reads tokens, and does not have such "
            "layers. Use `export.saved_model`."
        )
    if model.positions == "alibi":
        raise ValueError(
            "`positions='alibi'`: CTranslate2 has these biases in decoders, not in encoders. Train with positions "
            "'sinusoidal', 'learned' or 'rotary', or use `export.saved_model`."
        )
    if model.attention_window is not None:
        raise ValueError(
            f"`attention_window`={model.attention_window}: CTranslate2's window only drops old steps of a decoder's "
            "cache. Train with attention_window=None, or use `export.saved_model`."
        )
    quantized = [layer.name for layer in model._flatten_layers() if getattr(layer, "quantization_mode", None)]
    if quantized:
        raise ValueError(
            f"`model` was quantized by Keras (for example its layer {quantized[0]!r}). Export the unquantized model "
            'with `quantization="int8"`.'
        )


def _activation(library, layer):
    activations = {
        keras.activations.relu: "RELU",
        keras.activations.gelu: "GELU",  # Keras's default, which is exact
        keras.activations.silu: "SWISH",
        keras.activations.tanh: "Tanh",
    }
    function = layer.hidden_dense.activation
    if function not in activations:
        raise ValueError(
            "`activation` must be one that CTranslate2 supports: 'relu', 'gelu', 'silu', 'tanh', 'reglu', 'geglu' or "
            f"'swiglu'. Received: {getattr(function, '__name__', function)!r}"
        )
    return library.specs.Activation[activations[function]]


def _specification(library, model, max_positions):
    """The model's weights, under the names of CTranslate2."""
    first = model.encoder_layers[0]
    options = {
        "num_heads": model.num_heads,
        "pre_norm": model.normalize_first,
        "activation": _activation(library, first),
        "ffn_glu": first.gate_dense is not None,
        "rms_norm": model.layer_normalization == "rms",
    }
    if model.positions == "rotary":
        options |= {"rotary_dim": model.units // model.num_heads, "rotary_interleave": False}
    transformer = library.specs.transformer_spec
    encoder = transformer.TransformerEncoderSpec(len(model.encoder_layers), **options)
    decoder = transformer.TransformerDecoderSpec(len(model.decoder_layers), **options)

    _set_ends(encoder, encoder.embeddings[0], model, "source", model.encoder_norm, max_positions)
    _set_ends(decoder, decoder.embeddings, model, "target", model.decoder_norm, max_positions)
    for spec, layer in zip(encoder.layer, model.encoder_layers, strict=True):
        _set_layer(spec, layer)
    for spec, layer in zip(decoder.layer, model.decoder_layers, strict=True):
        _set_layer(spec, layer)
        _set_attention(spec.attention, layer.cross_attention, layer.norms["cross"], fused=1)
    scores = model.target_embedding
    decoder.projection.weight = (
        _array(scores.embeddings) if scores.tie_weights else np.ascontiguousarray(_array(scores.reverse_embeddings).T)
    )
    return transformer.TransformerSpec(encoder, decoder)


def _array(variable):
    return np.array(ops.convert_to_numpy(ops.cast(variable, "float32")))


def _set_ends(spec, embeddings, model, side, norm, max_positions):
    """Sets the parts below and above the layers of one side."""
    embeddings.weight = _array(getattr(model, f"{side}_embedding").embeddings)
    if norm is not None:
        _set_norm(spec.layer_norm, norm)
    table = None
    if model.positions == "sinusoidal":
        table = _sinusoids(max_positions, model.units)
    elif model.positions == "learned":
        table = _array(getattr(model, f"{side}_positions").table)
        # Positions beyond the table get its last vector, as in `layers.LearnedPositions`.
        table = np.concatenate([table, np.repeat(table[-1:], max(0, max_positions - len(table)), axis=0)])
    if table is not None:
        spec.position_encodings.encodings = table


def _sinusoids(length, units):
    """`layers.sinusoidal_positions` as a table `(length, units)`. CTranslate2's have other rates, and begin at 1."""
    rates = np.exp(-math.log(10_000) * np.arange(units // 2) / (units // 2))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")


def _set_layer(spec, layer):
    _set_attention(spec.self_attention, layer.self_attention, layer.norms["self"], fused=3)
    _set_norm(spec.ffn.layer_norm, layer.norms["feed_forward"])
    _set_dense(spec.ffn.linear_0, layer.hidden_dense)
    if layer.gate_dense is not None:
        _set_dense(spec.ffn.linear_0_noact, layer.gate_dense)
    _set_dense(spec.ffn.linear_1, layer.output_dense)


def _set_attention(spec, attention, norm, fused):
    """Sets queries, keys and values fused (`fused=3`, self-attention), or keys and values fused only (`fused=1`)."""
    groups = attention.num_heads // attention.num_key_value_heads
    denses = [(attention.query_dense, 1), (attention.key_dense, groups), (attention.value_dense, groups)]
    for linear, parts in zip(spec.linear, (denses[:fused], denses[fused:]), strict=False):
        if parts:
            _set_dense(linear, *parts[0][:1]) if len(parts) == 1 else _set_fused(linear, parts, attention.head_dim)
    _set_dense(spec.linear[-1], attention.output_dense)
    _set_norm(spec.layer_norm, norm)


def _set_fused(linear, parts, head_dim):
    def heads(x, groups):
        """(K * D, ...) -> (K * groups * D, ...): repeats each head of keys or values for each head of queries."""
        x = np.repeat(x.reshape(-1, head_dim, *x.shape[1:]), groups, axis=0)
        return x.reshape(-1, *x.shape[2:])

    linear.weight = np.concatenate([heads(_array(dense.kernel).T, groups) for dense, groups in parts])
    if parts[0][0].bias is not None:
        linear.bias = np.concatenate([heads(_array(dense.bias), groups) for dense, groups in parts])


def _set_dense(linear, dense):
    linear.weight = np.ascontiguousarray(_array(dense.kernel).T)  # (in, out) -> (out, in)
    if dense.bias is not None:
        linear.bias = _array(dense.bias)


def _set_norm(spec, norm):
    if hasattr(spec, "beta"):
        spec.gamma, spec.beta = _array(norm.gamma), _array(norm.beta)
    else:
        spec.gamma = _array(norm.scale)


def _add_vocabularies(spec, model, vocabulary, source_vocabulary):
    sides = {
        "source": (source_vocabulary, model.source_embedding, spec.register_source_vocabulary),
        "target": (vocabulary, model.target_embedding, spec.register_target_vocabulary),
    }
    for side, (one, embedding, register) in sides.items():
        if one.size != embedding.input_dim:
            raise ValueError(
                f"The {side} vocabulary must have the {embedding.input_dim} ids of the model's embedding. Received: "
                f"{one.size}. Give the vocabulary that the model was trained with."
            )
        pieces = one.pieces(range(one.size))
        seen = {piece: i for i, piece in enumerate(pieces)}
        twice = next((i for i, piece in enumerate(pieces) if seen[piece] != i), None)
        if twice is not None:
            raise ValueError(
                f"The {side} vocabulary writes the ids {twice} and {seen[pieces[twice]]} alike, {pieces[twice]!r}, but "
                "CTranslate2 identifies pieces by their spelling. Give such pieces different names."
            )
        register(pieces)
    unknown, start, end = vocabulary.pieces([vocabulary.unknown_id, vocabulary.start_id, vocabulary.end_id])
    if source_vocabulary.pieces([source_vocabulary.unknown_id, source_vocabulary.end_id]) != [unknown, end]:
        raise ValueError(
            "Both vocabularies must write the unknown and the end token alike: CTranslate2 has one of each."
        )
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = unknown, start, end
    spec.config.decoder_start_token = start
    spec.config.add_source_eos = True  # as in our models
    spec.config.layer_norm_epsilon = EPSILON


def _verify(library, folder, model, vocabulary, source_vocabulary, samples, exact, longest):
    """Loads the folder and compares results. No side has more than `longest` tokens."""
    if model.positions == "learned":
        longest = min(longest, model.max_positions)
    translator = library.Translator(str(folder), device="cpu", compute_type="float32" if exact else "default")
    sources = _sources(source_vocabulary, samples, longest)
    found = translator.translate_batch(
        [source_vocabulary.pieces(source) for source in sources],
        beam_size=1,
        length_penalty=0,
        min_decoding_length=0,
        max_decoding_length=longest,
        return_end_token=True,
        return_scores=True,
    )
    if not exact:
        if not all(np.isfinite(result.scores[0]) for result in found):
            raise RuntimeError("The quantized CTranslate2 model returns scores that are not finite.")
        return

    ids = {"start_id": vocabulary.start_id, "end_id": vocabulary.end_id, "pad_id": vocabulary.pad_id}
    model = _in_float32(model)
    source = _padded([[*source, source_vocabulary.end_id] for source in sources], source_vocabulary.pad_id)
    tokens, lengths, _, _ = search(model, source, num_beams=1, max_length=longest, **ids)
    tokens, lengths = ops.convert_to_numpy(tokens)[:, 0], ops.convert_to_numpy(lengths)[:, 0]
    numbers = {piece: i for i, piece in enumerate(vocabulary.pieces(range(vocabulary.size)))}
    theirs = _padded([[numbers[piece] for piece in result.hypotheses[0]] for result in found], -1, longest)

    def log_probs(target):
        target = np.where(target < 0, vocabulary.pad_id, target)
        state = model.encode(source)
        return ops.convert_to_numpy(score(model.decode, state, target, pad_id=-1, start_id=ids["start_id"])[0])

    forced, other = log_probs(tokens), log_probs(theirs)  # (B, T)
    for row, result in enumerate(found):
        ours, given = tokens[row, : lengths[row]].tolist(), theirs[row]
        differ = next((t for t, token in enumerate(ours) if token != given[t]), None)
        total = forced[row, : lengths[row]].sum()
        off = abs(total - result.scores[0]) / len(ours)
        if differ is not None:
            off = abs(forced[row, differ] - other[row, differ])
        if not off <= TOLERANCE:
            raise RuntimeError(
                f"The CTranslate2 model translates differently. For {source_vocabulary.pieces(sources[row])} this "
                f"process returns {vocabulary.pieces(ours)} (log p {total:.6g}), CTranslate2 {result.hypotheses[0]} "
                f"(log p {result.scores[0]:.6g})."
            )


def _sources(vocabulary, samples, longest):
    """Ids of sources to try, without the end token."""
    special = {vocabulary.pad_id, vocabulary.unknown_id, vocabulary.start_id, vocabulary.end_id}
    real = [i for i in range(vocabulary.size) if i not in special]
    random = np.random.default_rng(0)
    sources = [random.choice(real, 1 + i % (longest - 1)).tolist() for i in range(TRIED)]
    texts = vocabulary.tokenize(list(samples)).to_list() if samples else []
    return sources + [source[: longest - 1] for source in texts if source]


def _in_float32(model):
    if model.dtype_policy.name == "float32":
        return model
    other = type(model).from_config({**model.get_config(), "dtype": "float32"})
    other.set_weights([_array(weight) for weight in model.weights])
    return other


def _padded(rows, pad_id, width=0):
    width = max(width, *map(len, rows))
    return np.array([[*row, *[pad_id] * (width - len(row))] for row in rows], "int32")
