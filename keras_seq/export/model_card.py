"""Model cards: the `README.md` of an exported folder, made of what the export and its run folder know."""

import importlib.metadata
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_seq.tasks.signatures import definitions
from keras_seq.training import read_config, read_history, read_metrics

CARD = "README.md"
LIBRARY = "library_name: keras_seq"  # in the first lines of each card
NOTES = "## Notes"
UNKNOWN = "unknown"
FIRST_NOTES = (
    "The next export to this folder keeps the license above and everything below this heading, and writes the rest "
    "again.\nPut what the software cannot know here: where the data is from, whom the model is for, what it must not "
    "be used for."
)
PURPOSES = {
    "translation": "Maps a text to another text, such as its translation.",
    "generation": "Continues a text.",
    "classification": "Gives the class of an input, with the probability of each class.",
    "tagging": "Gives a tag to each word of a sentence.",
    "transcription": "Writes down what is said in a recording.",
    "forecasting": "Forecasts the next values of a series from its past.",
    "tensors": "Maps tensors to tensors, without preprocessing and postprocessing.",
}
PIPELINES = {
    "translation": "translation",
    "generation": "text-generation",
    "tagging": "token-classification",
    "transcription": "automatic-speech-recognition",
    "forecasting": "time-series-forecasting",
}
LIMITS = {
    "translation": "It has no other knowledge than its training pairs. An output may be fluent and wrong.",
    "generation": "It continues texts like those of its training. What it writes may be wrong or offensive.",
    "classification": "Every input gets one of the classes, also one that belongs to none.",
    "tagging": "Every word gets a tag. Other tokenization than that of the training gives worse tags.",
    "transcription": "Other speakers, microphones, noise or words than those of the training give more errors.",
    "forecasting": "It expects the future to behave like the past of its training. It does not foresee a change.",
    "tensors": "It checks neither the range nor the meaning of its inputs.",
}


def is_card(path: Path) -> bool:
    """Whether a file is a model card of this package."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return LIBRARY in file.read(400).splitlines()


def card_at(path: Path) -> set[str]:
    """The name of the model card in a folder, if there is one. A `README.md` that is no card must not be replaced."""
    return {CARD} if is_card(path / CARD) else set()


def write_card(
    folder: Path,
    path: Path,
    *,
    kind: str,
    form: str,
    model: Any,
    usage: str,
    known: Mapping[str, Any] | None,
    has_text: bool = True,
) -> None:
    """Writes the card of an export.

    Args:
        folder: folder of the new export, to write into.
        path: place that it will be moved to. The license and the notes of a card there are kept.
        kind: name of the task, such as "translation".
        form: name of the format.
        model: the Keras model.
        usage: Markdown that shows how to call the export.
        known: what `read_run` returns.
        has_text: whether the inputs are texts.
    """
    license, notes = kept(path / CARD)
    parts = [
        front_matter(kind, has_text, license, known),
        f"# {path.name}",
        f"{PURPOSES.get(kind, PURPOSES['tensors'])} {form}, exported by keras_seq.",
        f"## Use\n\n{usage}",
        f"## Model\n\n{described(model, known)}",
        f"## Data\n\n{data_of(known)}",
        f"## Results\n\n{results(known)}",
        f"## Training\n\n{training(known)}",
        f"## Limits\n\n{limits(kind, known)}",
        f"{NOTES}\n\n{notes}",
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def kept(card: Path) -> tuple[str, str]:
    """The license and the notes of an existing card, or those of a first one."""
    if not is_card(card):
        return UNKNOWN, FIRST_NOTES
    content = card.read_text(encoding="utf-8", errors="replace")
    license = re.search(r"^license: *(.+?) *$", content, re.MULTILINE)
    notes = content.partition(f"\n{NOTES}\n")[2].strip()
    return license[1] if license else UNKNOWN, notes or FIRST_NOTES


def read_run(folder: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """What a run folder knows: its options, figures, digests of its data, and epochs. None without a folder.

    Raises:
        ValueError: if one of its files is damaged.
    """
    if folder is None:
        return None
    folder = Path(folder)
    return {
        "config": read_config(folder / "config.json"),
        "data": read_config(folder / "data.json"),
        "metrics": read_metrics(folder / "metrics.json"),
        "history": read_history(folder / "history.csv"),
    }


def front_matter(kind: str, has_text: bool, license: str, known: Mapping[str, Any] | None) -> str:
    """The fields that hubs of models read."""
    pipeline = PIPELINES.get(kind) or ("text-classification" if kind == "classification" and has_text else None)
    lines = [LIBRARY, f"license: {license}", *([f"pipeline_tag: {pipeline}"] if pipeline else [])]
    names = named(known, "data")
    if names:
        lines.append(f"datasets: {json.dumps(names, ensure_ascii=False)}")
    return "\n".join(["---", *lines, "tags: [keras, tensorflow]", "---"])


def named(known: Mapping[str, Any] | None, field: str) -> list[str]:
    """The values of a field in `metrics.json`."""
    return sorted({str(entry[field]) for entry in known["metrics"] if entry.get(field)}) if known else []


def described(model: Any, known: Mapping[str, Any] | None) -> str:
    count = sum(math.prod(weight.shape) for weight in model.weights)  # also of a model that is not built by itself
    rows = [("class", type(model).__name__), ("parameters", f"{count:,}")]
    architectures = named(known, "architecture")
    if architectures:
        rows.insert(0, ("architecture", ", ".join(architectures)))
    return table(("property", "value"), rows)


def data_of(known: Mapping[str, Any] | None) -> str:
    names = named(known, "data")
    text = f"Trained on: {', '.join(names)}." if names else "The export does not know the training data."
    if known and known["data"]:
        rows = [(part, f"`{str(digest)[:16]}`") for part, digest in known["data"].items()]
        text += "\n\n" + table(("part", "digest (first 16 characters)"), rows)
    return text


def results(known: Mapping[str, Any] | None) -> str:
    """A table of the figures in `metrics.json`. A column with one value in all rows is left out."""
    entries = known["metrics"] if known else []
    if not entries:
        return "No figures are known. Measure it on data of your own: `keras-seq evaluate`."
    varying = [
        name
        for name in ("task", "data", "architecture", "split", "metric")
        if name in ("split", "metric") or len({str(entry.get(name)) for entry in entries}) > 1
    ]
    rows = [(*(entry.get(name, "") for name in varying), shown(entry.get("value"))) for entry in entries]
    return table((*varying, "value"), rows)


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def training(known: Mapping[str, Any] | None) -> str:
    """Seed, command, time, hardware and versions of the run, and its options."""
    if known is None:
        versions = ", ".join(f"{name} {version(name)}" for name in ("keras-seq", "keras", "tensorflow"))
        return f"There is no run folder, so seed and command are not known. Exported with {versions}."
    last = known["metrics"][-1] if known["metrics"] else {}
    history, config = known["history"], known["config"]
    versions = last.get("versions") or {}
    rows = {
        "seed": last.get("seed", config.get("seed")),
        "command": f"`{last['command']}`" if last.get("command") else None,
        "epochs": len(history) or None,
        "seconds": f"{history[-1]['seconds']:,.0f}" if history and "seconds" in history[-1] else None,
        "hardware": last.get("hardware"),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items())
        if isinstance(versions, dict)
        else versions,
    }
    text = table(("property", "value"), [(name, value) for name, value in rows.items() if value not in (None, "")])
    if config:
        text += f"\n\nOptions of the run:\n\n```json\n{json.dumps(config, indent=1, ensure_ascii=False)}\n```"
    return text


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def limits(kind: str, known: Mapping[str, Any] | None) -> str:
    lines = [LIMITS.get(kind, LIMITS["tensors"])]
    if known and known["metrics"]:
        lines.append("The figures hold for the data that is named above. Other data gives other figures.")
    else:
        lines.append("Nothing is measured: its errors are not known.")
    lines.append("It repeats the errors and the bias of its training data.")
    return "\n".join(f"- {line}" for line in lines)


def saved_model_usage(folder: Path, path: Path, verb: str) -> str:
    """How a SavedModel is called, and its signatures.

    Args:
        folder: the SavedModel.
        path: place that it will be moved to.
        verb: name of the main signature of a task of texts.
    """
    found = definitions(folder)
    rows = [
        (f"`{name}`", tensors(definition.inputs), tensors(definition.outputs))
        for name, definition in sorted(found.items())
        if name != "serving_default" and not name.startswith("__")
    ]
    takes_text = verb in found and list(found[verb].inputs) == ["text"]
    call = f'["{verb}"](text=tf.constant(["a text"]))' if takes_text else ""
    program = (
        "import tensorflow as tf, tensorflow_text\n\n"
        f'model = tf.saved_model.load("{path.name}")\n'
        f"print(model.signatures{call})"
    )
    return f"```python\n{program}\n```\n\n{table(('signature', 'inputs', 'outputs'), rows)}"


def tensors(infos: Mapping[str, Any]) -> str:
    """Names, dtypes and shapes of tensors. A question mark is any size."""
    from tensorflow import as_dtype

    found = []
    for name, info in sorted(infos.items()):
        shape = ", ".join("?" if size.size < 0 else str(size.size) for size in info.tensor_shape.dim)
        found.append(f"`{name}` {as_dtype(info.dtype).name} ({shape})")
    return ", ".join(found) if len(found) <= 12 else f"{', '.join(found[:12])}, and {len(found) - 12} more"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
