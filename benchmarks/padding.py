"""How often an answer depends on its batch: our models, models of Keras's own layers, models of KerasHub's.

    python -m benchmarks.padding ours           # 10,080 cases, some minutes
    python -m benchmarks.padding keras          # with keras-nightly in place of keras: .venv-nightly/bin/python
    python -m benchmarks.padding keras_hub      # needs the package keras-hub

Each model is small, untrained and asked by `inspection.certify`: random sequences, each in two surroundings. Prints a
line for each model that fails, and a table by kind of case.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np

from keras_seq import cli
from keras_seq.cli import table
from keras_seq.inspection.certify import KINDS, Certificate, Row, certify

V, D, HEADS, LONGEST = 20, 8, 2, 16


@dataclasses.dataclass(frozen=True)
class Options:
    """Counts how often an answer depends on its batch."""

    whose: Literal["ours", "keras", "keras_hub"] = cli.option(help="whose layers the models are of", positional=True)
    cases: int = cli.option(144, "for each model")
    seed: int = cli.option(0, "of the draws")
    tolerance: float = cli.option(1e-5, "largest difference")


def asked(model: keras.Model, inputs: dict | None = None) -> Any:
    from keras_seq.commands.certified_decoders import traced
    from keras_seq.inspection.certify_adapters import mapping

    random = np.random.default_rng(1)
    model.set_weights([random.normal(scale=0.5, size=w.shape).astype("float32") for w in model.get_weights()])
    return mapping(model, compiled=traced, inputs=inputs)


def embedded(name: str = "tokens") -> tuple[Any, Any]:
    tokens = keras.Input((None,), dtype="int32", name=name)
    return tokens, keras.layers.Embedding(V, D, mask_zero=True)(tokens)


def pooled(body: Callable) -> Callable:
    """A classifier: the body of embedded ids, and a dense layer."""

    def make():
        tokens, x = embedded()
        return asked(keras.Model(tokens, keras.layers.Dense(3)(body(x))))

    return make


def source_and_target(build: Callable) -> Callable:
    """A model of two sequences, that scores the steps of the second."""
    from keras_seq.inspection.sequences import Input, ids

    def make():
        (target, y), (source, x) = embedded("target"), embedded("source")
        model = keras.Model({"target": target, "source": source}, keras.layers.Dense(V)(build(x, y, source, target)))
        return asked(model, {name: Input(ids(V), (None,)) for name in ("target", "source")})

    return make


def attention_block(x: Any, **options: Any) -> Any:
    """A layer of a Transformer, as users write it."""
    layers = keras.layers
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(HEADS, D // HEADS)(x, x, **options))
    return layers.LayerNormalization()(x + layers.Dense(D)(layers.Dense(2 * D, activation="relu")(x)))


def states_handed_on(x: Any, y: Any, source: Any, target: Any) -> Any:
    """The decoder begins with the encoder's state."""
    _, *states = keras.layers.LSTM(D, return_state=True)(x)
    return keras.layers.LSTM(D, return_sequences=True)(y, initial_state=states)


def attending(x: Any, y: Any, source: Any, target: Any) -> Any:
    x = keras.layers.GRU(D, return_sequences=True)(x)
    y = keras.layers.GRU(D, return_sequences=True)(y)
    return keras.layers.Concatenate()([y, keras.layers.AdditiveAttention()([y, x])])


def of_keras() -> dict[str, Callable]:
    layers = keras.layers

    def chain(*made: Callable) -> Callable:
        def body(x):
            for make in made:
                x = make()(x)
            return x

        return pooled(body)

    def masked_floats():
        x = keras.Input((None, 3), name="x")
        return asked(keras.Model(x, layers.Dense(3)(layers.LSTM(D)(layers.Masking()(x)))))

    mean, every = layers.GlobalAveragePooling1D, {"return_sequences": True}
    found = {
        **{
            f"{kind.__name__}": chain(lambda kind=kind: kind(D)) for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN)
        },
        "LSTM, LSTM": chain(lambda: layers.LSTM(D, **every), lambda: layers.LSTM(D)),
        "GRU of each step": chain(lambda: layers.GRU(D, **every)),
        "LSTM, mean": chain(lambda: layers.LSTM(D, **every), mean),
        "Bidirectional": chain(lambda: layers.Bidirectional(layers.LSTM(D))),
        "Bidirectional, Bidirectional": chain(
            lambda: layers.Bidirectional(layers.GRU(D, **every)), lambda: layers.Bidirectional(layers.GRU(D))
        ),
        "Bidirectional of each step": chain(lambda: layers.Bidirectional(layers.LSTM(D, **every))),
        "TimeDistributed, mean": chain(lambda: layers.TimeDistributed(layers.Dense(D)), mean),
        "mean": chain(mean),
        "maximum": chain(layers.GlobalMaxPooling1D),
        "Conv1D, mean": chain(lambda: layers.Conv1D(D, 3, padding="same"), mean),
        "Conv1D, maximum": chain(lambda: layers.Conv1D(D, 3, padding="same"), layers.GlobalMaxPooling1D),
        "Conv1D of each step": chain(lambda: layers.Conv1D(D, 3, padding="same")),
        "Conv1D, LSTM": chain(lambda: layers.Conv1D(D, 3, padding="same"), lambda: layers.LSTM(D)),
        "MultiHeadAttention, mean": pooled(lambda x: mean()(attention_block(x))),
        "MultiHeadAttention of each step": pooled(lambda x: attention_block(attention_block(x))),
        "MultiHeadAttention, causal": pooled(lambda x: attention_block(x, use_causal_mask=True)),
        "Masking, LSTM": masked_floats,
        "encoder and decoder, LSTM": source_and_target(states_handed_on),
        "encoder and decoder, AdditiveAttention": source_and_target(attending),
    }
    return found


def backbone(make: Callable, output: str | None, *names: str) -> Callable:
    """A model of KerasHub, which is told by `padding_mask` what is real: so anything may stand under the padding."""
    from keras_seq.inspection.sequences import Input, ids

    def ones(random, shape):
        return np.ones(shape, "int32")

    def build():
        inputs = {"token_ids": Input(ids(V), (None,), longest=LONGEST, hides=True)}
        inputs |= {n: Input(ids(2, 0), (None,), like="token_ids", hides=True) for n in names}
        inputs["padding_mask"] = Input(ones, (None,), like="token_ids")
        model = make()
        given = {n: keras.Input((None,), dtype="int32", name=n) for n in inputs}
        found = model(given)
        return asked(keras.Model(given, found if output is None else found[output]), inputs)

    return build


def of_keras_hub() -> dict[str, Callable]:
    import keras_hub

    hub, small = keras_hub.models, {"vocabulary_size": V, "num_layers": 2, "num_heads": HEADS}
    small |= {"hidden_dim": D, "intermediate_dim": 2 * D, "dropout": 0.0, "max_sequence_length": 64}
    block = {"intermediate_dim": 2 * D, "num_heads": HEADS}
    mean = keras.layers.GlobalAveragePooling1D

    def placed(body: Callable) -> Callable:
        def make():
            tokens = keras.Input((None,), dtype="int32", name="tokens")
            x = keras_hub.layers.TokenAndPositionEmbedding(V, 64, D, mask_zero=True)(tokens)
            return asked(keras.Model(tokens, keras.layers.Dense(3)(body(x))))

        return make

    def encoder_and_decoder(x, y, source, target):
        x = keras_hub.layers.TransformerEncoder(**block)(x)
        return keras_hub.layers.TransformerDecoder(**block)(y, x)

    return {
        "TransformerEncoder, mean": placed(lambda x: mean()(keras_hub.layers.TransformerEncoder(**block)(x))),
        "TransformerEncoder of each step": placed(lambda x: keras_hub.layers.TransformerEncoder(**block)(x)),
        "TransformerDecoder alone": placed(lambda x: keras_hub.layers.TransformerDecoder(**block)(x)),
        "TransformerEncoder and -Decoder": source_and_target(encoder_and_decoder),
        "FNetEncoder, mean": placed(lambda x: mean()(keras_hub.layers.FNetEncoder(2 * D)(x))),
        "BertBackbone, pooled": backbone(lambda: hub.BertBackbone(**small), "pooled_output", "segment_ids"),
        "BertBackbone of each step": backbone(lambda: hub.BertBackbone(**small), "sequence_output", "segment_ids"),
        "RobertaBackbone of each step": backbone(lambda: hub.RobertaBackbone(**small), None),
        "DistilBertBackbone of each step": backbone(lambda: hub.DistilBertBackbone(**small), None),
        "GPT2Backbone of each step": backbone(lambda: hub.GPT2Backbone(**small), None),
        "RobertaTextClassifier": backbone(
            lambda: hub.RobertaTextClassifier(hub.RobertaBackbone(**small), 3, preprocessor=None, dropout=0.0), None
        ),
    }


def of_ours() -> dict[str, Callable]:
    from tests.sequence_models import MODELS

    return MODELS


def together(found: list[Certificate]) -> Certificate:
    """The cases of all models, by kind."""
    rows = []
    for kind in KINDS:
        own = [row for each in found for row in each.rows if row.kind == kind]
        if own:
            sums = sum(row.cases for row in own), sum(row.failures for row in own)
            rows.append(Row(kind, *sums, max(row.largest for row in own)))
    return Certificate(found[0].seed, found[0].tolerance, tuple(rows), all(each.varied for each in found))


def main(options: Options) -> None:
    makers = {"ours": of_ours, "keras": of_keras, "keras_hub": of_keras_hub}[options.whose]()
    found, begun = [], time.process_time()
    for name, make in makers.items():
        each = certify(make(), cases=options.cases, seed=options.seed, tolerance=options.tolerance)
        found.append(each)
        if not each.ok:
            kinds = ", ".join(f"{row.kind} {row.failures} of {row.cases}" for row in each.rows if row.failures)
            print(f"{name}: {kinds or 'the same answer to all'}; largest {max(row.largest for row in each.rows):.1e}")
        keras.backend.clear_session()
    total = together(found)
    print(
        f"\n{options.whose}, Keras {keras.version()}: {len(makers)} models, {sum(not x.ok for x in found)} of them fail"
    )
    print("\n".join(table(total.cells())))
    print(f"{time.process_time() - begun:.0f} s of processor time")


if __name__ == "__main__":
    cli.run(main, Options)
