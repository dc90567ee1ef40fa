"""Speech: from recordings to a SavedModel that hears which digit is said, or which digits one after the other.

    python -m recipes.speech                                             dialled digits, strings of them, a minute
    python -m recipes.speech --task isolated --data-dir DIR              DIR/DIGIT_SPEAKER_TAKE.wav, one digit each
    python -m recipes.speech --data-dir DIR --method attention           strings of these, an encoder and a decoder

docs/speech.md tells what to look at. Run the same command again and an interrupted run goes on where it stopped.
"""

import dataclasses
import pathlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from keras_seq import cli, data, experiment, export, layers, losses, metrics, models, optimizers, scores, tasks, text
from keras_seq.cli import option
from keras_seq.experiment import Result
from keras_seq.inspection import plots
from keras_seq.inspection.speech_alignment import speech_alignment

from .public import free_spoken_digits
from .synthetic import dial_tones

# What a flag that is not given means, for the dialled digits and for files.
GENERATED = {"architecture": "gru", "units": 64, "num_layers": 1, "dropout": 0.1, "epochs": 12, "learning_rate": 1e-2}
# CTC needs some hundred updates before it says anything but the blank; a hidden tone leaves several digits possible.
GENERATED |= {"strings": 600, "seconds_per_batch": 8.0, "num_masks": 0, "feature_normalization": "recording"}
FILES = {"architecture": "lstm", "units": 128, "num_layers": 2, "dropout": 0.2, "epochs": 20, "learning_rate": 3e-3}
FILES |= {"strings": 6_000, "seconds_per_batch": 60.0, "num_masks": 2, "feature_normalization": "batch"}

# A take that is heard once more is another take: speed, loudness and noise are not what it says.
VARIED = data.AudioAugmentation(speeds=(0.85, 1.15), decibels=(-20.0, 10.0), noise=(-80.0, -35.0))
VARIED_TONES = data.AudioAugmentation(
    decibels=(-12.0, 6.0), noise=(-80.0, -45.0)
)  # another pitch is another digit there
PAUSES = (0.0, 0.3)  # seconds of silence before each digit of a string
ALONE = 0.1  # the most before and after one that stands alone, in training: files begin and end as they like
HIDDEN_FRAMES = 8  # at most in a stretch: longer ones would hide whole digits
HELD_OUT = {"valid": 300, "test": 500}  # strings at most; of validation a quarter of the training strings
LONG = 100  # strings twice as long as any in training


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores, explains and exports a recognizer of spoken digits."""

    data_dir: pathlib.Path | None = option(None, "folder with DIGIT_SPEAKER_TAKE.wav; by default digits are dialled")
    download: bool = option(False, "fetch the Free Spoken Digit Dataset, once")
    task: Literal["isolated", "connected"] = option("connected", "one digit, or strings of them")
    method: Literal["ctc", "attention"] = option("ctc", "for strings: labels of frames, or an encoder and a decoder")
    sampling_rate: int = option(free_spoken_digits.RATE, "samples a second, which files are converted to")
    takes: int = option(400, "training takes, where they are generated")
    strings: int | None = option(None, "training strings that are made of the takes (default: 600; 6000 for files)")
    copies: int = option(4, "of each training take for --task isolated, each of another speed, loudness and noise")
    max_digits: int = option(7, "in a string")
    max_seconds: float = option(30.0, "of a training recording; longer ones are dropped and counted")

    architecture: Literal[*layers.ARCHITECTURES] | None = option(None, "the model (default: gru; lstm for files)")
    attention: Literal["additive", "dot", "general", "scaled_dot", "location"] = option(
        "location", "of a recurrent model that attends"
    )
    units: int | None = option(None, "width (default: 64; 128 for files)")
    num_layers: int | None = option(None, "above the convolutions (default: 1; 2 for files)")
    num_heads: int = option(4, "attention heads of a transformer")
    num_mel_bins: int = option(40, "bands of frequency")
    feature_normalization: Literal["recording", "batch", "none"] | None = option(
        None, "of each band, by the recording or by all that train (default: recording; batch for files)"
    )
    num_masks: int | None = option(
        None, "stretches of time, and of frequency, that are hidden in training (default: 0; 2 for files)"
    )
    dropout: float | None = option(None, "rate (default: 0.1; 0.2 for files)")
    label_smoothing: float = option(0.1, "of --method attention")

    epochs: int | None = option(None, "at most (default: 12; 20 for files)")
    seconds_per_batch: float | None = option(None, "rows x the longest (default: 8; 60 for files)")
    learning_rate: float | None = option(None, "at its peak (default: 0.01; 0.003 for files)")


def main(options: Options) -> None:
    scope = experiment.setup(options)
    folder = experiment.data_folder(options.data_dir, options.download, "fsdd")
    options = experiment.with_defaults(
        dataclasses.replace(options, data_dir=folder), GENERATED if folder is None else FILES
    )
    takes = read(options)
    run = experiment.run_folder(options, scope, takes)

    # Data
    connected = options.task == "connected"
    vocabulary = experiment.vocabulary(run, scope, dial_tones.NAMES, "words") if connected else None
    if scope.chief and not connected:
        text.save_labels(run.vocabulary / "labels.txt", dial_tones.NAMES)
    parts = recordings(options, takes)
    train, valid, epoch_aware = experiment.batches(
        *(examples(options, parts[part], vocabulary) for part in ("train", "valid")),
        tokens_per_batch=int(options.seconds_per_batch * options.sampling_rate),
        max_length=int(options.max_seconds * options.sampling_rate),
        seed=options.seed,
        replicas=scope.replicas,
        axes=("S", None),  # what a batch costs is its sound
        finish=data.teacher_forcing(vocabulary.start_id) if attends(options) else lambda batches: batches,
    )

    # Model
    with scope:
        model = build(options, vocabulary)
        rate = experiment.learning_rate(options, int(train.cardinality()))
        model.compile(
            optimizers.Adam(rate, global_clipnorm=1.0),
            jit_compile=False,  # a compilation for each shape takes longer than it saves
            **goal(options),
        )
    experiment.initialize(options, model, run, {"": vocabulary} if connected else {})

    # Fit
    fitting = {"monitor": "val_accuracy", "mode": "max"}
    if connected:
        task = transcription(options, model, vocabulary)
        transcribe = task

        def validate():
            found = transcribe(parts["valid"].waveforms)
            return {"val_word_error_rate": scores.word_error_rate(found, texts(parts["valid"]))}

        fitting = {"monitor": "val_word_error_rate", "validate": validate}
    if not experiment.fit(options, model, train, valid, run, scope, epoch_aware=epoch_aware, **fitting):
        return

    # Evaluate
    if connected:
        report_strings(options, run, parts, transcribe)
        draw_alignment(model, vocabulary, parts["test"], transcribe, run)
    else:
        report_classes(options, run, parts["test"], classified(model, parts["test"]))
        task = tasks.Classification(model, None, list(dial_tones.NAMES))

    # Export
    task.save(run)
    export.saved_model(task, options.export, samples=parts["test"].waveforms[:5])
    experiment.finish(options, run, scope)


def read(options: Options) -> dict[str, data.Audio]:
    """The takes of "train", "valid" and "test"."""
    if options.data_dir is not None:
        return free_spoken_digits.takes(options.data_dir, options.sampling_rate)
    if options.sampling_rate != dial_tones.RATE:
        raise ValueError(f"--sampling-rate is for files: digits are dialled at {dial_tones.RATE:,} samples a second.")
    return dial_tones.takes(options.takes, min(100, options.takes), options.seed)


def attends(options: Options) -> bool:
    return options.task == "connected" and options.method == "attention"


def recordings(options: Options, takes: dict[str, data.Audio]) -> dict[str, data.Audio]:
    """What is heard in "train", "valid", "test" and, for strings, "long": each made of the takes of one part alone."""
    augmentation = VARIED_TONES if options.data_dir is None else VARIED
    if options.task == "isolated":
        counts = [1] * (options.copies * len(takes["train"]))
        pauses = {"pauses": (0.0, ALONE), "end_pause": ALONE}
        train = data.concatenate_recordings(
            takes["train"], counts, seed=options.seed, augmentation=augmentation, **pauses
        )
        return takes | {"train": dataclasses.replace(train, labels=[label for (label,) in train.labels])}
    random = np.random.default_rng(options.seed)
    valid, test = min(HELD_OUT["valid"], max(1, options.strings // 4)), min(HELD_OUT["test"], options.strings)
    sizes = {"train": options.strings, "valid": valid, "test": test}
    counts = {part: random.integers(1, options.max_digits + 1, size) for part, size in sizes.items()}
    counts["long"] = np.full(min(LONG, options.strings), 2 * options.max_digits)
    found = {}
    for number, part in enumerate(counts):
        own = {"augmentation": augmentation} if part == "train" else {}
        source = takes["test" if part == "long" else part]
        found[part] = data.concatenate_recordings(
            source, counts[part], seed=options.seed + number, pauses=PAUSES, **own
        )
    return found


def texts(audio: data.Audio) -> list[str]:
    return [" ".join(dial_tones.NAMES[digit] for digit in label) for label in audio.labels]


def examples(options: Options, audio: data.Audio, vocabulary) -> tf.data.Dataset:
    """`(waveform, label)`: a class, or ids, with the end token where a decoder has to say it."""
    if options.task == "connected":
        ids = vocabulary.tokenize(list(dial_tones.NAMES)).to_list()
        end = [vocabulary.end_id] if attends(options) else []
        labels = [[id for digit in label for id in ids[digit]] + end for label in audio.labels]
        audio = dataclasses.replace(audio, labels=labels)
    return audio.dataset()


def build(options: Options, vocabulary) -> keras.Model:
    shape = {"units": options.units, "num_layers": options.num_layers, "dropout": options.dropout}
    front_end = models.audio_front_end(
        options.units,
        sampling_rate=options.sampling_rate,
        num_mel_bins=options.num_mel_bins,
        feature_normalization=None if options.feature_normalization == "none" else options.feature_normalization,
        num_masks=options.num_masks,
        time_mask_width=HIDDEN_FRAMES,
        dropout=options.dropout,
    )
    if not attends(options):
        head, size = ("classes", len(dial_tones.NAMES)) if options.task == "isolated" else ("ctc", vocabulary.size)
        own = {"head": head, "architecture": options.architecture, "num_heads": options.num_heads}
        return models.recognizer(size, front_end=front_end, **own, **shape)
    own = {"source_front_end": front_end, **shape}
    if options.architecture == "transformer":
        wide = {"num_heads": options.num_heads, "intermediate_dim": 2 * options.units}
        return models.Transformer(None, vocabulary.size, **wide, **own)
    return models.Seq2Seq(None, vocabulary.size, cell=options.architecture, attention=options.attention, **own)


def goal(options: Options) -> dict:
    """What `compile` is told to minimize and to measure."""
    if options.task == "isolated":
        return {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}
    if options.method == "ctc":
        return {"loss": losses.CTCLoss()}
    loss = losses.TokenCrossentropy(options.label_smoothing)
    return {"loss": loss, "weighted_metrics": [metrics.TokenAccuracy()]}


def transcription(options: Options, model, vocabulary) -> tasks.Transcription:
    # Whatever it hears, a decoder comes to an end.
    return tasks.Transcription(model, vocabulary, max_length=4 * options.max_digits, search="greedy")


def classified(model: keras.Model, audio: data.Audio) -> np.ndarray:
    """The number of the likeliest class of each recording, `(N,)`."""
    return np.concatenate(experiment.predict_batches(model, audio.dataset().padded_batch(64))).argmax(axis=1)


def common(options: Options) -> dict[str, str]:
    name = "dialled digits" if options.data_dir is None else options.data_dir.name
    architecture = options.architecture
    if options.task == "connected":
        architecture += ", CTC" if options.method == "ctc" else ", attention"
    return {"task": f"{options.task} digits", "data": name, "architecture": architecture}


def report_classes(options: Options, run, test: data.Audio, predicted: np.ndarray) -> None:
    accuracy = float(np.mean(predicted == np.array(test.labels)))
    result = Result("accuracy", accuracy, note=f"{int((predicted != np.array(test.labels)).sum())} wrong")
    experiment.report(options, run, [result], title=f"Test, {len(test):,} recordings", **common(options))
    experiment.confusions(run, test.labels, predicted, dial_tones.NAMES)
    names = [sound.path.name for sound in test.files] or [f"take {number}" for number in range(len(test))]
    rows = zip(names, test.labels, predicted, strict=True)
    said = [f"{name}\t{dial_tones.NAMES[label]}\t{dial_tones.NAMES[found]}\n" for name, label, found in rows]
    run.write("test.txt", "".join(said))


def report_strings(options: Options, run, parts: dict[str, data.Audio], transcribe) -> None:
    """Prints error rates and samples, and writes them down in the run folder."""
    results = []
    for part, split in (("test", "test"), ("long", f"test, {2 * options.max_digits} digits")):
        references, found = texts(parts[part]), transcribe(parts[part].waveforms)
        words = sum(len(label) for label in parts[part].labels)
        error = scores.word_error_rate(found, references)
        note = f"{round(error * words):,} of {words:,} words"
        results += [Result("word error rate", error, note=note, split=split)]
        results += [Result("exact match", scores.exact_match(found, references), split=split)]
        lines = zip(references, found, strict=True)
        run.write(f"{part}.txt", "".join("\t".join(line) + "\n" for line in lines))
        if part == "test":
            experiment.samples({"said": references, "heard": found})
    title = f"Test, {len(parts['test']):,} strings, and {len(parts['long']):,} twice as long as any in training"
    experiment.report(options, run, results, title=title, **common(options))


def draw_alignment(model, vocabulary, test: data.Audio, transcribe, run) -> None:
    """Draws where the model hears what, for the first string of four digits or more."""
    row = next((row for row, label in enumerate(test.labels) if len(label) >= 4), 0)
    waveform = test.waveforms[row]
    (heard,) = transcribe([waveform])
    features, weights, names, blank = speech_alignment(model, waveform, vocabulary, heard)
    path = run.plots / "alignment.png"
    plots.speech_alignment(waveform, test.sampling_rate, features, weights, names, path, blank=blank)


if __name__ == "__main__":
    cli.run(main, Options)
