"""Reports of a recipe: a table of results, samples, and where the outputs are."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq import distribution, export, tasks, training
from keras_seq.cli import in_one_line, table
from keras_seq.experiment.options import Options
from keras_seq.experiment.results import Result
from keras_seq.inspection import plots
from keras_seq.scores import SpanScore


def report(
    options: Options,
    run: training.Run,
    results: Sequence[Result],
    *,
    title: str,
    task: str,
    data: str,
    architecture: str,
) -> None:
    """Prints a table of results and adds them to the run's `metrics.json`.

    Args:
        options, run: options and run of the recipe.
        results: results in the order of the table.
        title: title of the table, such as "Test, 1,000 sentences, beam 5".
        task, data, architecture: defaults for the results.
    """
    entries = record(options, run, results, task=task, data=data, architecture=architecture)
    print(f"\n{title}")
    # A column with the same value in all rows is left out.
    names = ("task", "architecture", "split", "metric")
    varying = [name for name in names if name == "metric" or len({entry[name] for entry in entries}) > 1]
    rows = zip(*([str(entry[name]) for entry in entries] for name in varying), strict=True)
    labels = table(list(rows), numbers=False)
    width = max(len(format(result.value, result.form)) for result in results)
    for label, result in zip(labels, results, strict=True):
        print(f"  {label:{max(map(len, labels))}}  {result.value:>{width}{result.form}}  {result.note}".rstrip())


def record(
    options: Options, run: training.Run, results: Sequence[Result], *, task: str, data: str, architecture: str
) -> list[dict[str, Any]]:
    """Adds results to the run's `metrics.json` without printing them. `report` does both.

    Returns:
        The entries of the file: recipe, data, seed, task, architecture, split, metric and value of each result.
    """
    common = {"recipe": options.recipe, "data": data, "seed": options.seed}
    entries = [
        {
            **common,
            "task": result.task or task,
            "architecture": result.architecture or architecture,
            "split": result.split,
            "metric": result.metric,
            "value": result.value,
        }
        for result in results
    ]
    run.add_metrics(entries)
    return entries


def confusions(run: training.Run, labels: Sequence[int], predicted: Sequence[int], names: Sequence[str]) -> np.ndarray:
    """Prints and draws (`plots/confusion.png`) the confusion matrix.

    Args:
        run: run of the recipe.
        labels, predicted: class numbers of each example, true and predicted.
        names: names of the classes.
    Returns:
        The counts, ints `(N, N)`: a row for each true class, a column for each predicted one.
    """
    counts = tf.math.confusion_matrix(labels, predicted, len(names)).numpy()
    plots.confusion_matrix(counts, names, run.plots / "confusion.png")
    rows = [("true, and predicted as", *names)]
    rows += [(name, *(f"{count:,}" for count in row)) for name, row in zip(names, counts, strict=True)]
    print("\n" + "\n".join(f"  {line}" for line in table(rows)))
    return counts


def report_by_label(run: training.Run, what: str, found: Mapping[str, SpanScore]) -> None:
    """Prints precision, recall and F1 of each tag, span or other label, and writes them to `by_WHAT.tsv`.

    Args:
        run: run of the recipe.
        what: name of the kind of label, such as "tag" or "span".
        found: scores by label.
    """
    rows = [(what, "true", "found", "precision", "recall", "F1")]
    for kind, score in found.items():
        shares = (f"{share:.1%}" for share in score[:3])
        rows.append((kind, f"{score.true:,}", f"{score.found:,}", *shares))
    print("\n" + "\n".join(f"  {line}" for line in table(rows)))
    run.write(f"by_{what}.tsv", "".join("\t".join(row) + "\n" for row in rows))


def samples(columns: Mapping[str, Sequence[Any]], limit: int = 5) -> None:
    """Prints the first examples, a line for each column.

    Args:
        columns: columns of equal length: `{"source": [...], "reference": [...], "translation": [...]}`.
        limit: number of examples to print.
    """
    width = max(map(len, columns))
    for row in itertools.islice(zip(*columns.values(), strict=True), limit):
        print("\n" + "\n".join(f"  {name:{width}} {value}" for name, value in zip(columns, row, strict=True)))
    print()


def write_rows(run: training.Run, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes a table into the run folder: a row for each example, tabs between the columns, no header.

    Args:
        run: run of the recipe.
        name: name of the file.
        columns: columns of equal length. Tabs and line ends in them become spaces.
    """
    rows = zip(*columns.values(), strict=True)
    cells = ([in_one_line(str(cell)).replace("\t", " ") for cell in row] for row in rows)
    run.write(name, "".join("\t".join(row) + "\n" for row in cells))


def finish(
    options: Options, run: training.Run, scope: distribution.scope, task: "tasks.Task", samples: Sequence[Any]
) -> None:
    """Saves the task into the run folder, exports it, and releases the other workers.

    Args:
        options, run, scope: options, run and scope of the recipe.
        task: task with the trained model.
        samples: inputs for the check of the export in a fresh process.
    """
    task.save(run)
    export.saved_model(task, options.export, samples=samples, run=run.path)
    print(f"Run folder: {run.path}. SavedModel, checked in a fresh process: {options.export}")
    scope.any_worker(False)


def data_name(options: Options, synthetic: str) -> str:
    """The name of the data for a report: the name of the data folder, or `synthetic` without a folder."""
    return synthetic if options.data_dir is None else options.data_dir.name
