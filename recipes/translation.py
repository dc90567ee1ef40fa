"""Translation: from parallel text to a SavedModel that takes strings and gives strings.

    python -m recipes.translation                                          number names, English to French, 2 minutes
    python -m recipes.translation --data-dir DIR --source en --target de   DIR/train.en, DIR/train.de, DIR/val.en, ...

Run the same command again and an interrupted run goes on where it stopped.
"""

import dataclasses
import os
import pathlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import (
    callbacks,
    cli,
    data,
    decoding,
    distribution,
    export,
    losses,
    metrics,
    models,
    schedules,
    scores,
    text,
    training,
)
from keras_seq.cli import option
from keras_seq.inspection import parameters, plots
from recipes import number_names

# What a flag that is not given means, for the generated numbers and for files.
NUMBERS = {"vocabulary": "words", "units": 128, "num_layers": 1, "dropout": 0.0, "label_smoothing": 0.0}
NUMBERS |= {"epochs": 8, "tokens_per_batch": 1024, "learning_rate": 4e-3, "warmup_steps": 100}
# Found on Multi30k. Batches are small, since what 29,000 pairs lack is updates.
FILES = {"vocabulary": "bpe", "units": 256, "dropout": 0.2, "label_smoothing": 0.1}
RECURRENT = {"num_layers": 2, "epochs": 16, "tokens_per_batch": 1024, "learning_rate": 2e-3, "warmup_steps": 200}
TRANSFORMER = {"num_layers": 3, "epochs": 14, "tokens_per_batch": 2048, "learning_rate": 1.5e-3, "warmup_steps": 500}

BATCHES_SHUFFLED = 1_000  # held in memory; an epoch of Multi30k has 500


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains, scores, explains and exports a translator."""

    data_dir: pathlib.Path | None = option(None, "folder with train*, val* and test* files of both languages")
    numbers: int = option(24_000, "training pairs, where no text is given and number names are translated")
    source: str = option("en", "source language: how the names of its files end")
    target: str = option("fr", "target language")
    train_source: pathlib.Path | None = option(None, "training text, plain or .gz, in place of --data-dir")
    train_target: pathlib.Path | None = option(None, "its translation")
    valid_source: pathlib.Path | None = option(None, "validation text")
    valid_target: pathlib.Path | None = option(None, "its translation")
    test_source: pathlib.Path | None = option(None, "test text, read once, at the end")
    test_target: pathlib.Path | None = option(None, "its translation")
    on_bad_line: Literal["error", "skip"] = option("error", "what to do with lines that are not UTF-8 or hold a NUL")
    max_length: int = option(100, "longest side of a training pair, in tokens; longer pairs are dropped and counted")
    tokenize: str = option("13a", "sacreBLEU's tokenizer; none for text that is tokenized already")

    vocabulary: Literal["bpe", "unigram", "words"] | None = option(None, "kind (default: words; bpe for files)")
    vocabulary_size: int = option(8000, "pieces or words at most")
    joint: bool = option(True, "one vocabulary and one embedding for both languages")

    architecture: Literal["rnn", "gru", "lstm", "mingru", "minlstm", "rglru", "transformer"] = option(
        "lstm", "the model"
    )
    attention: Literal["none", "additive", "dot", "general", "scaled_dot", "location"] = option(
        "general", "of a recurrent model"
    )
    reverse_source: bool = option(False, "read the source backwards (recurrent models)")
    units: int | None = option(None, "width (default: 128; 256 for files)")
    num_layers: int | None = option(None, "of encoder and decoder (default: 1; for files 2, transformer 3)")
    num_heads: int = option(4, "attention heads of a transformer")
    intermediate_dim: int | None = option(None, "feed-forward width of a transformer (default: 2 x units)")
    normalize_first: bool = option(True, "pre-norm transformer")
    dropout: float | None = option(None, "rate (default: 0; 0.2 for files)")
    intermediate_dropout: float | None = option(None, "inside a transformer's feed-forward part (default: the same)")

    epochs: int | None = option(None, "at most (default: 8; for files 16, transformer 14)")
    tokens_per_batch: int | None = option(
        None, "rows x the longer padded side (default: 1024; transformer on files 2048)"
    )
    shapes: int | None = option(None, "number of bucket shapes (default: a fifth of an epoch's batches, at most 40)")
    learning_rate: float | None = option(None, "at its peak (default: 0.004; for files 0.002, transformer 0.0015)")
    schedule: Literal["linear", "inverse_square_root"] = option("linear", "decay after the warm-up")
    warmup_steps: int | None = option(None, "updates to the peak (default: 100; for files 200, transformer 500)")
    label_smoothing: float | None = option(None, "(default: 0; 0.1 for files)")
    patience: int = option(8, "epochs without a better validation score before training ends")
    average: int = option(3, "checkpoints averaged at the end, if that scores better on the validation text")

    num_beams: int = option(5, "beam of the test translations and of the exported model")
    length_penalty: float = option(1.0, "the score is log p / length ** penalty")
    run: pathlib.Path = option(pathlib.Path("runs/translation"), "run folder")
    export: pathlib.Path = option(pathlib.Path("saved_models/translation"), "folder of the SavedModel")
    overwrite: bool = option(False, "start anew in a run folder that holds another run")
    init_from: pathlib.Path | None = option(None, "run folder whose weights to begin with, whatever its vocabulary")
    save_every: int | None = option(None, "checkpoint inside an epoch too, after so many updates")
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu"] = option(
        "auto", "devices and workers to train on; docs/distribution.md"
    )
    data_service: str | None = option(
        os.environ.get("KERAS_SEQ_DATA_SERVICE"),
        "tf.data service that makes the batches; docs/distribution.md",
    )
    precision: Literal["float32", "bfloat16", "float16"] = option("float32", "of the layers' arithmetic")
    seed: int = option(1, "of the data order and the weights")
    deterministic: bool = option(False, "same seed, same weights, to the bit (slower)")


def main(options: Options) -> None:
    training.keep_freed_memory()
    scope = distribution.scope(options.strategy, precision=options.precision)
    keras.utils.set_random_seed(options.seed)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    options = with_defaults(options)
    parts = read(options)
    run = training.Run(options.run, configuration(options), overwrite=options.overwrite, chief=scope.chief)
    scope.agreed(False)  # the other workers wait until what is overwritten is gone
    source_vocabulary, target_vocabulary = vocabularies(options, parts["train"], run, scope)

    # Data
    train, valid, orders = batches(options, parts, source_vocabulary, target_vocabulary, scope.replicas)
    steps = int(train.cardinality())
    resume = training.Resume(run, options.average, options.save_every, starts=orders, agree=scope.agreed)
    throughput = callbacks.Throughput()
    if options.data_service:
        for order in orders:  # the service gets a copy
            order.start_epoch(resume.initial_epoch)
        counted = throughput.counted()
        train = train.apply(distribution.data_service(options.data_service, scope, on_trainer=counted))
    else:
        rest = data.from_step(0)
        resume.starts.append(rest)
        train = train.apply(rest).apply(throughput.counted()).prefetch(8)

    # Model
    with scope:
        model = build(options, source_vocabulary, target_vocabulary)
        model.compile(
            keras.optimizers.Adam(learning_rate(options, steps), beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0),
            losses.TokenCrossentropy(options.label_smoothing),
            weighted_metrics=[metrics.Perplexity()],
            jit_compile=False,  # a compilation for each shape takes longer than it saves on so small a corpus
        )
    print(f"{type(model).__name__}, {model.count_params():,} parameters; {steps} batches an epoch; {scope}.")
    if options.init_from is not None and resume.checkpoints.latest() is None:
        initialise(options, model, source_vocabulary, target_vocabulary)

    # Fit
    greedy = translator(options, model, source_vocabulary, target_vocabulary, num_beams=1)

    def validate():
        return {"val_bleu": scores.bleu(greedy(parts["valid"].sources), parts["valid"].targets, options.tokenize).value}

    stopping = training.EarlyStopping(run, "val_bleu", mode="max", patience=options.patience)
    model.fit(
        train,
        validation_data=valid,
        epochs=options.epochs,
        shuffle=False,  # the dataset does that
        callbacks=[throughput, callbacks.Evaluator(validate), resume, stopping],
    )
    if not scope.chief:  # the others must not leave before the chief has finished
        scope.agreed(False)
        return
    (run.path / "parameters.txt").write_text(parameters.shown(parameters.table(model)) + "\n", encoding="utf-8")
    choose_weights(model, run, resume, validate)

    # Evaluate
    beam = translator(options, model, source_vocabulary, target_vocabulary, num_beams=options.num_beams)
    report(options, run, parts["test"], beam(parts["test"].sources))
    plots.learning_curve(run.history, run.plots / "learning_curve.png")
    draw_attention(options, model, source_vocabulary, target_vocabulary, parts["test"].sources[0], beam, run)

    # Export
    export.saved_model(
        model,
        options.export,
        target_vocabulary,
        source_vocabulary=source_vocabulary,
        num_beams=options.num_beams,
        length_penalty=decoding.power_penalty(options.length_penalty),
        max_length=2 * options.max_length,  # a served model must come to an end with any text
        samples=[*export.SAMPLES, *parts["test"].sources[:20]],
    )
    print(f"Run folder: {run.path}. SavedModel, checked in a fresh process: {options.export}")
    scope.agreed(False)


def with_defaults(options: Options) -> Options:
    """Fills in what was not given, by what is translated and by what model."""
    defaults = NUMBERS
    if options.data_dir or options.train_source:
        defaults = FILES | (TRANSFORMER if options.architecture == "transformer" else RECURRENT)
    missing = {name: value for name, value in defaults.items() if getattr(options, name) is None}
    options = dataclasses.replace(options, **missing)
    return dataclasses.replace(options, intermediate_dim=options.intermediate_dim or 2 * options.units)


def configuration(options: Options) -> dict:
    """What makes two runs the same run: all but where the results go and how the test text is decoded."""
    unimportant = ("run", "export", "overwrite", "num_beams", "length_penalty", "test_source", "test_target")
    unimportant += ("save_every", "strategy", "data_service")
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in unimportant}


def read(options: Options) -> dict[str, data.ParallelText]:
    if options.data_dir is not None:
        files = data.find_splits(options.data_dir, options.source, options.target)
    elif options.train_source is not None:
        names = ("train", "valid", "test")
        files = {part: (getattr(options, f"{part}_source"), getattr(options, f"{part}_target")) for part in names}
        missing = [f"--{part}-{'target' if pair[0] else 'source'}" for part, pair in files.items() if None in pair]
        if missing:
            raise ValueError(f"--train-source needs the other files too. Missing: {' '.join(missing)}")
    else:
        return number_names.parallel_text(options.numbers, min(1_000, options.numbers), options.seed)
    return {part: data.read_parallel_text(*pair, on_bad_line=options.on_bad_line) for part, pair in files.items()}


def vocabularies(options: Options, train: data.ParallelText, run: training.Run, scope: distribution.scope) -> tuple:
    """The vocabularies of both sides: the run's own where it has them, learned from the training text otherwise."""

    def learned(name, *sides):
        path = run.vocabulary / f"{name}.{'words' if options.vocabulary == 'words' else 'spm'}"
        if scope.chief and not path.exists():
            lines = [line for side in sides for line in side]
            if options.vocabulary == "words":
                vocabulary = text.Words.train(lines, options.vocabulary_size)
            else:
                vocabulary = text.Subwords.train(
                    lines, options.vocabulary_size, model_type=options.vocabulary, hard_vocab_limit=False
                )
            with training.replacing(path) as temporary:
                vocabulary.save(temporary)
        scope.agreed(False)  # the other workers wait for the file
        return text.load(path)

    if options.joint:
        joint = learned("joint", train.sources, train.targets)
        return joint, joint
    return learned("source", train.sources), learned("target", train.targets)


def batches(options: Options, parts: dict, source_vocabulary, target_vocabulary, replicas: int) -> tuple:
    """Training and validation batches, and the steps of the first that must know which epoch begins.

    The pairs are encoded once, shuffled anew each epoch, and put into buckets that keep padding low and shapes few.
    """
    encoded = source_vocabulary.encoded(target_vocabulary)
    shifted = data.teacher_forcing(target_vocabulary.start_id)

    pairs = parts["train"].dataset().apply(encoded).cache()
    lengths = data.lengths(pairs)
    fitting = lengths[(lengths < options.max_length).all(axis=1)]
    print(f"Training pairs: {parts['train'].report}; {len(lengths) - len(fitting):,} dropped as over-long.")
    if not len(fitting):
        raise ValueError(f"No training pair is shorter than --max-length {options.max_length} tokens.")
    # Each shape ends the epoch with a batch that is not full: too many, and most batches are small.
    full_batches = int(fitting.max(axis=1).sum()) // options.tokens_per_batch
    shapes = {
        "tokens_per_batch": options.tokens_per_batch,
        "buckets": data.fit_buckets(fitting, options.shapes or min(40, max(1, full_batches // 5))),
        "multiple_of": replicas,
    }

    def batched(dataset, lengths):
        count = tf.data.experimental.assert_cardinality(data.count_batches(lengths, **shapes))
        return dataset.apply(data.bucketed(**shapes)).apply(shifted).apply(count)

    pairs_order = data.shuffled(options.seed)
    # Batches that are not full come last; left there, one length after the other, they spoil what an epoch has taught.
    batches_order = data.shuffled(options.seed, BATCHES_SHUFFLED)
    short = pairs.apply(data.shorter_than(options.max_length))
    train = batched(short.apply(pairs_order), fitting).apply(batches_order)
    valid_pairs = parts["valid"].dataset().apply(encoded)
    valid = batched(valid_pairs, data.lengths(valid_pairs)).cache()
    return train, valid, [pairs_order, batches_order]


def build(options: Options, source_vocabulary, target_vocabulary) -> keras.Model:
    sizes = (source_vocabulary.size, None if options.joint else target_vocabulary.size)
    shape = {"units": options.units, "num_layers": options.num_layers, "dropout": options.dropout}
    if options.architecture == "transformer":
        return models.Transformer(
            *sizes,
            num_heads=options.num_heads,
            intermediate_dim=options.intermediate_dim,
            intermediate_dropout=options.intermediate_dropout,
            normalize_first=options.normalize_first,
            **shape,
        )
    return models.Seq2Seq(
        *sizes,
        cell=options.architecture,
        attention=options.attention,
        reverse_source=options.reverse_source,
        **shape,
    )


def initialise(options: Options, model, source_vocabulary, target_vocabulary) -> None:
    """Begins with the weights of another run, those of each word or piece that both vocabularies have."""

    def tokens(vocabulary):
        return vocabulary.pieces(range(vocabulary.size))

    def theirs(name):
        for path in [*options.init_from.glob(f"vocabulary/{name}.*"), *options.init_from.glob("vocabulary/joint.*")]:
            return tokens(text.load(path))
        raise ValueError(f"--init-from {options.init_from}: there is no vocabulary in it, as a run folder has.")

    pairs = {"source": (theirs("source"), tokens(source_vocabulary))}
    print(
        training.initialise_from(model, options.init_from, pairs | {"": (theirs("target"), tokens(target_vocabulary))})
    )


def learning_rate(options: Options, steps: int):
    """The schedule over `steps` updates an epoch; on very little data the warm-up is cut to a quarter of the whole."""
    total = max(2, options.epochs * steps)
    warmup = max(1, min(options.warmup_steps, total // 4))
    if options.schedule == "linear":
        return schedules.LinearDecay(options.learning_rate, warmup, total)
    return schedules.InverseSquareRoot(options.learning_rate, warmup)


def translator(options: Options, model, source_vocabulary, target_vocabulary, num_beams: int):
    """A function from texts to their translations."""

    def translate(texts):
        return decoding.generate(
            model,
            target_vocabulary,
            texts,
            source_vocabulary=source_vocabulary,
            num_beams=num_beams,
            length_penalty=decoding.power_penalty(options.length_penalty),
            compiled=tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)]),
        )

    return translate


def choose_weights(model, run, resume, validate) -> None:
    """Leaves the model with the best epoch's weights or the mean of the last ones, whichever validates better."""
    best = keras.models.load_model(run.best)
    model.set_weights(best.get_weights())
    best_score = validate()["val_bleu"]
    training.average_checkpoints(model, resume.checkpoints.paths())
    averaged_score = validate()["val_bleu"]
    print(f"Validation BLEU: best epoch {best_score:.2f}, mean of the last checkpoints {averaged_score:.2f}.")
    if averaged_score < best_score:
        model.set_weights(best.get_weights())
    else:
        with training.replacing(run.best) as temporary:
            model.save(temporary)


def report(options, run, test: data.ParallelText, hypotheses: list[str]) -> None:
    """Prints scores and samples, and writes them down in the run folder."""
    bleu = scores.bleu(hypotheses, test.targets, options.tokenize)
    chrf = scores.chrf(hypotheses, test.targets)
    rows = [
        ("exact match", scores.exact_match(hypotheses, test.targets), ""),
        ("BLEU", bleu.value, bleu.signature),
        ("chrF", chrf.value, chrf.signature),
    ]
    print(f"\nTest, {len(hypotheses):,} sentences, beam {options.num_beams}")
    for metric, value, signature in rows:
        shown = f"{value:.2%}" if metric == "exact match" else f"{value:.2f}"
        print(f"  {metric:12} {shown:>8}  {signature}")
    for source, reference, hypothesis in list(zip(test.sources, test.targets, hypotheses, strict=True))[:5]:
        print(f"\n  source      {source}\n  reference   {reference}\n  translation {hypothesis}")
    print()
    (run.path / "test.txt").write_text("\n".join(hypotheses) + "\n", encoding="utf-8")
    common = {
        "recipe": "recipes.translation",
        "task": f"{options.source}-{options.target}",
        "data": getattr(options.data_dir or options.train_source, "name", "number names"),
        "architecture": options.architecture,
        "split": "test",
        "seed": options.seed,
    }
    run.add_metrics([{**common, "metric": metric, "value": value} for metric, value, _ in rows])


def draw_attention(options, model, source_vocabulary, target_vocabulary, sentence, translate, run) -> None:
    if options.architecture != "transformer" and options.attention == "none":
        return
    source = [*source_vocabulary.tokenize(sentence).numpy(), source_vocabulary.end_id]
    target = [*target_vocabulary.tokenize(translate([sentence])[0]).numpy(), target_vocabulary.end_id]
    state = model.encode(np.array([source]), max_length=len(target), attention_weights=True)
    _, state = model.decode(np.array([[target_vocabulary.start_id, *target[:-1]]]), state)
    plots.attention_map(
        keras.ops.convert_to_numpy(state["attention"])[0],
        source_vocabulary.pieces(source),
        target_vocabulary.pieces(target),
        run.plots / "attention.png",
    )


if __name__ == "__main__":
    cli.run(main, Options)
