"""Speech: trains a recognizer on recordings of digits or digit strings and exports a SavedModel that transcribes them.

    python -m recipes.speech                                             strings of dialled digits, a minute
    python -m recipes.speech --task isolated --data-dir DIR              DIR/DIGIT_SPEAKER_TAKE.wav, one digit each
    python -m recipes.speech --data-dir DIR --method attention           strings of these, an encoder and a decoder

docs/speech.md explains the results. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

from keras_seq import cli, experiment
from keras_seq.architectures import ARCHITECTURES
from keras_seq.cli import option
from keras_seq.experiment import Result, preset
from keras_seq.lazy import data, keras, losses, metrics, models, optimizers, scores, tasks, text, tf, tuning

from . import digit_strings
from .public import free_spoken_digits
from .synthetic import dial_tones

HIDDEN_FRAMES = 8  # greatest width of a time mask: wider ones would mask whole digits


@dataclasses.dataclass(frozen=True)
class Options(experiment.Options):
    """Trains, scores and exports a recognizer of spoken digits, and draws an alignment."""

    data_dir: pathlib.Path | None = option(
        None, "folder with DIGIT_SPEAKER_TAKE.wav (default: synthetic dialled digits)"
    )
    download: bool = option(False, "download of the Free Spoken Digit Dataset, once")
    task: Literal["isolated", "connected"] = option("connected", "single digits, or digit strings")
    method: Literal["ctc", "attention"] = option("ctc", "method for strings: labels of frames, or encoder and decoder")
    sampling_rate: int = option(free_spoken_digits.RATE, "sampling rate in Hz that files are converted to")
    takes: int = option(400, "number of generated training takes")
    # CTC needs some hundred updates before it outputs anything but the blank.
    strings: int | None = preset(600, "number of training strings made from the takes", files=6_000)
    copies: int = option(4, "isolated: number of copies of each training take, with other speed, loudness and noise")
    max_digits: int = option(7, "greatest number of digits in a string")
    max_seconds: float = option(30.0, "longest training recording in seconds (longer ones are dropped and counted)")

    architecture: Literal[*ARCHITECTURES] | None = preset("gru", "architecture of the model", files="lstm")
    attention: Literal["additive", "dot", "general", "scaled_dot", "location"] = option(
        "location", "attention of a recurrent decoder"
    )
    units: int | None = preset(64, "width", files=128)
    num_layers: int | None = preset(1, "number of layers above the convolutions", files=2)
    num_heads: int = option(4, "number of attention heads of a transformer")
    num_mel_bins: int = option(40, "number of mel frequency bands")
    feature_normalization: Literal["recording", "batch", "none"] | None = preset(
        "recording", "normalization of each band, by the recording or by all training batches", files="batch"
    )
    # A dialled digit is ambiguous without one of its tones, so none is masked.
    num_masks: int | None = preset(0, "number of time masks, and of frequency masks, in training", files=2)
    dropout: float | None = preset(0.1, "dropout rate", files=0.2)
    label_smoothing: float = option(0.1, "label smoothing of --method attention")

    epochs: int | None = preset(12, "greatest number of epochs", files=20)
    seconds_per_batch: float | None = preset(8.0, "size of a batch in seconds: rows x the longest", files=60.0)
    learning_rate: float | None = preset(1e-2, "peak learning rate", files=3e-3)


def main(options: Options) -> None:
    scope = experiment.setup(options)
    options = with_defaults(options)
    parts = read(options)
    run = experiment.run_folder(options, scope, parts)
    task = train(options, parts, run, scope)
    if not scope.chief:
        return

    # Evaluate
    if options.task == "connected":
        report_strings(options, run, parts, task)
        row = next((row for row, label in enumerate(parts["test"].labels) if len(label) >= 4), 0)
        experiment.draw_alignment(task, parts["test"].waveforms[row], run.plots / "alignment.png")
    else:
        report_classes(options, run, parts["test"], task)

    # Export
    experiment.finish(options, run, scope, task, samples=parts["test"].waveforms[:5])


def with_defaults(options: Options) -> Options:
    return experiment.with_data(options, "fsdd")


def read(options: Options) -> dict[str, data.Audio]:
    """The recordings of "train", "valid", "test" and, for strings, "long"."""
    return recordings(options, read_takes(options))


def recordings(options: Options, takes: dict[str, data.Audio]) -> dict[str, data.Audio]:
    """The recordings of each split, each from the takes of a single split."""
    varied = digit_strings.TONES if options.data_dir is None else digit_strings.SPEECH
    augmentation = data.AudioAugmentation(**varied)
    if options.task == "isolated":
        train = digit_strings.copies(takes["train"], options.copies, options.seed, augmentation)
        return takes | {"train": train}
    return digit_strings.strings(takes, options.strings, options.max_digits, options.seed, augmentation)


def read_takes(options: Options) -> dict[str, data.Audio]:
    """The takes of "train", "valid" and "test"."""
    if options.data_dir is not None:
        return free_spoken_digits.takes(options.data_dir, options.sampling_rate)
    if options.sampling_rate != dial_tones.RATE:
        raise ValueError(f"--sampling-rate requires files: digits are dialled at {dial_tones.RATE:,} samples a second.")
    return dial_tones.takes(options.takes, min(100, options.takes), options.seed)


def train(
    options: Options, parts: dict[str, data.Audio], run, scope, callbacks=()
) -> tasks.Transcription | tasks.Classification:
    """Trains a recognizer."""
    # Data
    connected = options.task == "connected"
    vocabulary = experiment.vocabulary(run, scope, dial_tones.NAMES, "words") if connected else None
    if scope.chief and not connected:
        text.save_labels(run.vocabulary / "labels.txt", dial_tones.NAMES)
    batches, valid = experiment.batches(
        options,
        *(examples(options, parts[part], vocabulary) for part in ("train", "valid")),
        tokens_per_batch=int(options.seconds_per_batch * options.sampling_rate),
        max_length=int(options.max_seconds * options.sampling_rate),
        replicas=scope.replicas,
        axes=("S", None),  # the source, audio, determines the cost of a batch
        finish=data.teacher_forcing(vocabulary.start_id) if attends(options) else lambda batches: batches,
    )

    # Model
    with scope:
        model = build(options, vocabulary)
        rate = experiment.learning_rate(options, batches)
        model.compile(
            optimizers.Adam(rate, global_clipnorm=1.0),
            jit_compile=False,  # compiling each shape takes longer than it saves
            **goal(options),
        )
    experiment.initialize(options, model, run, {"": vocabulary} if connected else {})

    # Fit
    task = task_of(options, model, vocabulary)

    def validate():
        error = scores.word_error_rate(task(parts["valid"].waveforms), texts(parts["valid"]))
        return {"val_word_error_rate": error}

    name, mode = monitor(options, parts)
    fitting = {"monitor": name, "mode": mode, "watching": callbacks} | ({"validate": validate} if connected else {})
    experiment.fit(options, model, batches, valid, run, scope, **fitting)
    return task


def monitor(options: Options, parts: dict[str, data.Audio]) -> tuple[str, str]:
    """The validation score that chooses the best epoch, and whether the largest or smallest is best."""
    return ("val_word_error_rate", "min") if options.task == "connected" else ("val_accuracy", "max")


def search_space() -> tuning.Space:
    """The options that `keras-seq tune speech` searches. The defaults are those of the recipe."""
    return (
        tuning.Space()
        .choice("architecture", ["gru", "lstm", "transformer"])
        .choice("units", [64, 128, 256])
        .choice("num_layers", [1, 2, 3])
        .choice("num_heads", [2, 4], when={"architecture": "transformer"})
        .choice("num_mel_bins", [40, 80])
        .float("dropout", 0.0, 0.4)
        .float("learning_rate", 5e-4, 2e-2, log=True)
        .choice("seconds_per_batch", [30.0, 60.0, 120.0])
    )


def attends(options: Options) -> bool:
    return options.task == "connected" and options.method == "attention"


def texts(audio: data.Audio) -> list[str]:
    return [" ".join(dial_tones.NAMES[digit] for digit in label) for label in audio.labels]


def examples(options: Options, audio: data.Audio, vocabulary) -> tf.data.Dataset:
    """Examples `(waveform, label)`. A label is a class, or ids, which end with the end token for a decoder."""
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
        encoder = {"head": head, "architecture": options.architecture, "num_heads": options.num_heads}
        return models.recognizer(size, front_end=front_end, **encoder, **shape)
    shape = {"source_front_end": front_end, **shape}
    if options.architecture == "transformer":
        wide = {"num_heads": options.num_heads, "intermediate_dim": 2 * options.units}
        return models.Transformer(None, vocabulary.size, **wide, **shape)
    return models.Seq2Seq(None, vocabulary.size, cell=options.architecture, attention=options.attention, **shape)


def goal(options: Options) -> dict:
    """The loss and the metrics for `compile`."""
    if options.task == "isolated":
        return {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}
    if options.method == "ctc":
        return {"loss": losses.CTCLoss()}
    loss = losses.TokenCrossentropy(options.label_smoothing)
    return {"loss": loss, "weighted_metrics": [metrics.TokenAccuracy()]}


def task_of(options: Options, model: keras.Model, vocabulary) -> tasks.Transcription | tasks.Classification:
    if options.task == "isolated":
        return tasks.Classification(model, None, list(dial_tones.NAMES))
    # The decoder must stop on any recording.
    return tasks.Transcription(model, vocabulary, max_length=4 * options.max_digits, search="greedy")


def common(options: Options) -> dict[str, str]:
    architecture = options.architecture
    if options.task == "connected":
        architecture += ", CTC" if options.method == "ctc" else ", attention"
    return {
        "task": f"{options.task} digits",
        "data": experiment.data_name(options, "dialled digits"),
        "architecture": architecture,
    }


def report_classes(options: Options, run, test: data.Audio, task: tasks.Classification) -> None:
    """Prints accuracy and confusions, and writes them into the run folder."""
    labels, predicted = [dial_tones.NAMES[label] for label in test.labels], task(test.waveforms)
    wrong = sum(label != other for label, other in zip(labels, predicted, strict=True))
    result = Result("accuracy", 1 - wrong / len(test), note=f"{wrong} wrong")
    experiment.report(options, run, [result], title=f"Test, {len(test):,} recordings", **common(options))
    experiment.confusions(run, test.labels, [dial_tones.NAMES.index(name) for name in predicted], dial_tones.NAMES)
    names = [sound.path.name for sound in test.files] or [f"take {number}" for number in range(len(test))]
    experiment.write_rows(run, "test.txt", {"recording": names, "label": labels, "predicted": predicted})


def report_strings(options: Options, run, parts: dict[str, data.Audio], task: tasks.Transcription) -> None:
    """Prints error rates and samples, and writes them into the run folder."""
    results = []
    for part, split in (("test", "test"), ("long", f"test, {2 * options.max_digits} digits")):
        references, transcripts = texts(parts[part]), task(parts[part].waveforms)
        words = sum(len(label) for label in parts[part].labels)
        error = scores.word_error_rate(transcripts, references)
        note = f"{round(error * words):,} of {words:,} words"
        results += [Result("word error rate", error, note=note, split=split)]
        results += [Result("exact match", scores.exact_match(transcripts, references), split=split)]
        columns = {"reference": references, "transcript": transcripts}
        experiment.write_rows(run, f"{part}.txt", columns)
        if part == "test":
            experiment.samples(columns)
    title = f"Test, {len(parts['test']):,} strings, and {len(parts['long']):,} twice as long as any in training"
    experiment.report(options, run, results, title=title, **common(options))


if __name__ == "__main__":
    cli.run(main, Options)
