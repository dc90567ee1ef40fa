"""`keras-seq inspect`: contents of a run folder or a SavedModel."""

import dataclasses
import json
import math
import pathlib
from typing import Any

from keras_seq.cli import flag, option, table
from keras_seq.commands.options import HELP
from keras_seq.commands.output import Writer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect:
    """Lists the contents of a run folder (configuration, vocabularies, layers, parameters, history, metrics) or of a
    SavedModel (signatures, variables)."""

    model: pathlib.Path = option(help=HELP)
    cost: bool = option(False, "FLOP, bytes and memory of each layer (run folder only)")
    fast_path: bool = option(False, "kernel of each layer, with the reasons for slow ones (run folder only)")
    batch_size: int = option(32, "number of rows for --cost")
    length: int = option(32, "number of steps of each input for --cost")
    plot: pathlib.Path | None = option(None, "image of the cost by layer (.png, .svg, .pdf)")
    json: bool = option(False, "JSON output, one object and nothing else")


def inspect(options: Inspect) -> None:
    from keras_seq.tasks.loading import load_run
    from keras_seq.tasks.run_folder import is_saved_model
    from keras_seq.tasks.saved_model import load_module

    if is_saved_model(options.model):
        asked = [flag(name) for name in ("cost", "fast_path", "plot") if getattr(options, name)]
        if asked:
            raise ValueError(f"{asked[0]} needs the layers of a run folder. Received a SavedModel: {options.model}")
        record = _saved_model(options.model, dict(load_module(options.model).signatures))
        page = _saved_model_page(record)
    else:
        from keras_seq.inspection import parameters

        task = load_run(options.model, "keras-seq inspect")
        rows = parameters.table(task.model)
        record = _run(task, rows)
        page = _run_page(record, parameters.shown(rows))
        if options.cost or options.plot:
            page += _cost(task.model, options, record)
        if options.fast_path:
            page += _fast_path(task.model, record)
    with Writer() as writer:
        if options.json:
            writer.record(**record)
        for line in [] if options.json else page:
            writer(line)


def _cost(model: Any, options: Inspect, record: dict[str, Any]) -> list[str]:
    """The lines about the cost. Adds it to the record, and draws the plot."""
    from keras_seq.inspection import cost, hardware, plots
    from keras_seq.inspection.shapes import example_shapes

    shapes = example_shapes(model, options.batch_size, options.length)
    found = cost.cost(model, shapes)
    speeds = {name: hardware.tokens_per_second(found, name, training=True) for name in hardware.HARDWARE}
    record["cost"] = {
        **{
            name: getattr(found, name)
            for name in ("tokens", "unit", "flop", "training_flop", "bytes", "training_bytes")
        },
        **{name: getattr(found, name) for name in ("memory", "activations", "unknown")},
        "shapes": shapes,
        "layers": [dataclasses.asdict(row) for row in found.rows],
        "expected_training_tokens_per_second": speeds,
    }
    if options.plot:
        shown = cost.grouped(found) if len(found.rows) > 24 else found
        rows = [row for row in shown.rows if row.training_flop or row.activations]
        values = zip(*((row.path, row.training_flop, row.activations) for row in rows), strict=True)
        plots.cost_by_layer(*values, options.plot, what="training step")
    rows = [(f"  {hardware.HARDWARE[name].name}", f"{speed:,.0f}") for name, speed in speeds.items()]
    expected = f"expected {found.unit}s a second in training, by the roofline at half of the peak"
    brief = cost.grouped(found) if len(found.rows) > 40 else found  # --json has them all
    lines = cost.shown(brief).split("\n") if options.cost else []
    return ["", f"cost of a forward pass of {json.dumps(shapes)}", *lines, "", expected, *table(rows)]


def _fast_path(model: Any, record: dict[str, Any]) -> list[str]:
    from keras_seq.inspection import fast_path

    found = fast_path.explain_fast_path(model)
    record["fast_path"] = [{"here": each.here, **dataclasses.asdict(each)} for each in found]
    return ["", "kernels", *fast_path.shown(found).split("\n")]


def _run(task: Any, rows: list) -> dict[str, Any]:
    from keras_seq.training import read_config, read_metrics

    folder, sides = task.folder, _vocabularies(task)
    labels = getattr(task, "labels", None)
    columns = dataclasses.asdict(task.columns) if task.name == "forecasting" else None
    details = {
        "labels": labels[""] if isinstance(labels, dict) else None,
        "tags": getattr(task, "tags", None),
        "sampling_rate": getattr(task, "sampling_rate", None),
        "columns": columns,
    }
    return {
        "kind": "run",
        "task": task.name,
        "path": str(task.file),
        "model": type(task.model).__name__,
        "parameters": sum(row.parameters for row in rows),
        "layers": [row._asdict() for row in rows],
        "vocabularies": {name: {"kind": type(v).__name__, "size": v.size} for name, v in sides.items()},
        **{name: value for name, value in details.items() if value is not None},
        "config": read_config(folder / "config.json"),
        "history": _history(folder / "history.csv"),
        "metrics": read_metrics(folder / "metrics.json"),
        "checkpoints": sorted(path.name for path in folder.glob("checkpoints/*.weights.h5")),
    }


def _vocabularies(task: Any) -> dict[str, Any]:
    """The vocabularies by their file names in the run folder."""
    from keras_seq.tasks.run_folder import load_vocabulary, vocabulary_files

    reads = getattr(task, "vocabulary", None) is not None  # otherwise the task has no text
    return {name: load_vocabulary(file) for name, file in vocabulary_files(task.folder).items()} if reads else {}


def _history(file: pathlib.Path) -> dict[str, Any]:
    """The number of epochs, and the best value and epoch of each validation figure: the minimum of a loss, a perplexity
    or an error, the maximum of all others."""
    from keras_seq.training import read_history

    rows, best = read_history(file), {}
    for name in dict.fromkeys(name for row in rows for name in row if name.startswith("val_")):
        least = any(word in name for word in ("loss", "perplexity", "error"))
        values = [(row[name], row["epoch"]) for row in rows if name in row]
        values = [pair for pair in values if not math.isnan(pair[0])] or values[:1]  # a run that diverged has both
        value, epoch = (min if least else max)(values, key=lambda pair: pair[0])
        best[name] = {"value": value, "epoch": epoch}
    return {"epochs": rows[-1]["epoch"] if rows else 0, "best": best}


def _run_page(record: dict[str, Any], layers: str) -> list[str]:
    rows = [("task", record["task"]), ("model", f"{record['model']}, {record['parameters']:,} parameters")]
    rows += [(f"vocabulary {name}", f"{v['kind']}, {v['size']:,} tokens") for name, v in record["vocabularies"].items()]
    rows += [(kind, ", ".join(record[kind])) for kind in ("labels", "tags") if kind in record]
    rows += [("sampling rate", f"{record['sampling_rate']:,} a second")] if "sampling_rate" in record else []
    for name, value in record.get("columns", {}).items():
        rows.append((name, ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)))
    history = record["history"]
    rows += [("epochs", f"{history['epochs']}")]
    rows += [(f"best {name}", f"{b['value']:.4g} after epoch {b['epoch']}") for name, b in history["best"].items()]
    for metric in record["metrics"]:
        value = metric.get("value")
        value = f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
        rows.append((" ".join(str(metric[name]) for name in ("split", "metric") if name in metric), value))
    rows += [("checkpoints", ", ".join(record["checkpoints"]) or "none")]
    lines = [record["path"], "", *table(rows, numbers=False), "", *layers.split("\n")]
    if record["config"]:
        settings = [(name, json.dumps(value, ensure_ascii=False)) for name, value in record["config"].items()]
        lines += ["", "configuration", *table([(f"  {name}", value) for name, value in settings], numbers=False)]
    return lines


def _saved_model(folder: pathlib.Path, signatures: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    from keras_seq.tasks.signatures import definitions

    def described(specs):
        return {name: f"{spec.dtype.name} {_shape(spec.shape)}" for name, spec in specs.items()}

    signatures_by_name = {
        name: {"inputs": described(f.structured_input_signature[1]), "outputs": described(f.structured_outputs)}
        for name, f in sorted(signatures.items())
    }
    for name, definition in definitions(folder).items():
        for key, value in definition.defaults.items():
            signatures_by_name[name]["inputs"][key] += f", {tf.make_ndarray(value).tolist():.6g} unless given"
    variables = tf.train.list_variables(str(folder / "variables" / "variables"))
    sizes = [tf.TensorShape(shape).num_elements() for name, shape in variables if ".ATTRIBUTES" in name and shape]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "kind": "saved_model",
        "path": str(folder),
        "signatures": signatures_by_name,
        "parameters": sum(sizes),
        "bytes": size,
    }


def _shape(shape) -> str:
    return "any shape" if shape.rank is None else str(tuple(shape.as_list())).replace("None", "?")


def _saved_model_page(record: dict[str, Any]) -> list[str]:
    size = f"{record['bytes'] / 2**20:,.1f} MiB"
    lines = [record["path"], "", f"SavedModel, {record['parameters']:,} parameters, {size}"]
    for name, signature in record["signatures"].items():
        rows = [("  takes", f"{key}: {spec}") for key, spec in signature["inputs"].items()]
        rows += [("  gives", f"{key}: {spec}") for key, spec in signature["outputs"].items()]
        lines += ["", f"signature {name}", *table(rows, numbers=False)]
    return lines
