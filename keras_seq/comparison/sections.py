"""The sections of a report, from the record of a comparison. A section without figures is left out."""

from collections.abc import Mapping

from keras_seq.comparison import figures, findings, lecture, measures
from keras_seq.comparison.charts import Charts, grid_cell, score_label
from keras_seq.comparison.document import Cell, Document, Images, Section, Table, Text
from keras_seq.comparison.feedforward_section import feedforward


def document(record: Mapping, charts: Charts) -> Document:
    """The report of a record, with the figures that `charts` draws."""
    parts = (method, the_lecture, quality, by_length, remembering, ease, cost, generation, feedforward, runs, versions)
    sections = [part(record, charts) for part in parts]
    title = f"{record.get('title', record.get('recipe', 'Comparison'))}: architectures compared"
    headline = findings.sentence(findings.quality(record)) or "No run has a score yet."
    return Document(title, headline, findings.in_short(record), [each for each in sections if each])


def method(record: Mapping, charts: Charts) -> Section:
    text = (
        "Which architecture suits this task, and at what cost? Every architecture is trained with each learning rate "
        f"and seed of a grid. {_equal(record)} Each is judged at its best learning rate, chosen by the mean "
        "validation score over the seeds."
    )
    grid = record.get("grid") or {}
    rows = [
        ("Data", str(record.get("data", "-"))),
        ("Learning rates", ", ".join(f"{rate:g}" for rate in grid.get("learning_rates", [])) or "-"),
        ("Seeds", ", ".join(map(str, grid.get("seeds", []))) or "-"),
        ("Score", f"{score_label(record)}; the {'greatest' if figures.sign(record) > 0 else 'least'} is best"),
        ("Converged", _converged_rule(record)),
        ("Hardware", str(record.get("hardware", "-"))),
        ("Duration", figures.duration(figures.number(record.get("seconds")))),
    ]
    table = Table("Rules of the comparison", ("Item", "Value"), rows)
    return Section("How it was measured", [Text(text, record.get("command", "")), table])


def _equal(record: Mapping) -> str:
    """The quantities that are equal for all architectures, as sentences."""
    equal, budget = record.get("equal") or {}, record.get("budget") or {}
    parts = []
    if figures.number(equal.get("parameters")):
        within = f", to {equal['tolerance']:.0%}" if figures.number(equal.get("tolerance")) else ""
        part = f" in the {equal['of']}" if equal.get("of") else ""
        parts.append(f"All have {equal['parameters']:,.0f} parameters{part}{within}.")
    if figures.number(budget.get("tokens")):
        parts.append(f"Each run sees {budget['tokens']:,.0f} tokens.")
    if figures.number(budget.get("seconds")):
        parts.append(f"Each run trains for {figures.duration(budget['seconds'])}.")
    return " ".join(parts)


def _converged_rule(record: Mapping) -> str:
    score = record.get("score") or {}
    rule, limit = score.get("converged_rule", ""), score.get("converged_at")
    if figures.number(limit) is None:
        return rule or "-"
    side = "at least" if figures.sign(record) > 0 else "at most"
    return f"a score of {side} {figures.score_text(record, limit)}" + (f": {rule}" if rule else "")


def the_lecture(record: Mapping, charts: Charts) -> Section:
    """The lecture's table and the statements of its text, each with a figure and a verdict."""
    rows = []
    for row in lecture.TABLE:
        judgments = row.judgments(record)
        cells = [_judged(judgments[name]) for name in lecture.COLUMNS]
        rows.append([Cell(row.topic, row.rule), *cells])
    columns = ("Parameter", *lecture.COLUMNS.values())
    table = Table("The table of the lecture: adjective, verdict and figure", columns, rows, stacked=True)
    names = lecture.COLUMNS | {"feedforward": "Feed-forward"}
    claims = []
    for claim in lecture.CLAIMS:
        judgment = claim.judgment(record)
        title = Cell(f"{names[claim.architecture]}: {claim.statement}", claim.rule)
        reason = ". ".join(filter(None, (judgment.figure and judgment.figure.text, judgment.reason)))
        claims.append([title, Cell("", "", judgment.verdict), reason or "-"])
    columns = ("Statement", "Verdict", "Figure")
    statements = Table("The statements of the lecture's text", columns, claims, stacked=True)
    caveat = ""
    if (record.get("equal") or {}).get("parameters"):
        caveat = (
            " All models have about as many parameters, so a simple layer is wider than a gated one. At equal width it "
            "would cost less than here."
        )
    return Section("The lecture, measured", [Text(f"{lecture.ABOUT} {lecture.TIES}{caveat}"), table, statements])


def _judged(judgment) -> Cell:
    figure = judgment.figure.text if judgment.figure else ""
    note = ". ".join(filter(None, (figure, judgment.reason)))
    return Cell(judgment.claim, note, judgment.verdict)


def quality(record: Mapping, charts: Charts) -> Section | None:
    scores = findings.by_score(record)
    if not scores:
        return None
    entries, names, rows = figures.architectures(record), figures.labels(record), []
    for name, score in scores.items():
        entry = entries[name]
        seeds = len(entry["best"].get("scores") or [])
        counts = [figures.count(figures.number(entry.get(k))) for k in ("units", "num_layers")]
        parameters = [figures.count(figures.number(entry.get(k))) for k in ("backbone_parameters", "parameters")]
        row = (names[name], score.text, f"{seeds}", f"{entry['best']['learning_rate']:g}", *counts, *parameters)
        rows.append(row)
    columns = ("Architecture", _score_name(record), "Seeds", "Learning rate", "Units", "Layers")
    columns += ("Backbone parameters", "All parameters")
    table = Table("Best score of each architecture: mean ± standard deviation over the seeds", columns, rows)
    return Section("Quality", [*_images(charts.quality(), charts.learning()), table])


def by_length(record: Mapping, charts: Charts) -> Section | None:
    entries = {n: e for n, e in figures.architectures(record).items() if e.get("quality_by_length")}
    if not entries:
        return None
    names, bins = figures.labels(record), max((e["quality_by_length"] for e in entries.values()), key=len)
    rows = []
    for name, entry in entries.items():
        found = {each["from"]: each["score"] for each in entry["quality_by_length"]}
        rows.append((names[name], *(figures.score_text(record, found.get(each["from"])) for each in bins)))
    columns = ("Architecture", *(f"{measures.bin_name(each)} ({each['rows']:,} texts)" for each in bins))
    table = Table(f"{_score_name(record)} by length of the text in tokens", columns, rows)
    return Section("Quality by length", [*_images(charts.by_length()), table])


def remembering(record: Mapping, charts: Charts) -> Section | None:
    memory, names = record.get("memory") or {}, figures.labels(record)
    scores = {name: values for name, values in (memory.get("scores") or {}).items() if name in names}
    if not scores:
        return None
    shown = {name: [figures.number(value) for value in values] for name, values in scores.items()}
    rows = [(names[n], *("-" if v is None else f"{v:.1%}" for v in values)) for n, values in shown.items()]
    columns = ("Architecture", *(f"{length} steps" for length in memory["lengths"]))
    table = Table(f"Score of {memory.get('task', 'the task')} by the number of steps to remember", columns, rows)
    return Section("Steps to remember", [*_images(charts.remembering()), table])


def ease(record: Mapping, charts: Charts) -> Section | None:
    image, names = charts.grid(), figures.labels(record)
    if image is None:
        return None
    entries, rows = figures.architectures(record), []
    rates = sorted({run["learning_rate"] for entry in entries.values() for run in entry.get("runs") or []})
    for name, entry in entries.items():
        share, runs = measures.converged(record, name), entry.get("runs") or []
        ended = [sum(run.get("status") == status for run in runs) for status in ("diverged", "failed")]
        cells = [grid_cell(record, entry, rate)[1] for rate in rates]
        rows.append((names[name], share.text if share else "-", *map(str, ended), *cells))
    columns = ("Architecture", "Converged", "Diverged", "Failed", *(f"{rate:g}" for rate in rates))
    table = Table("Runs that converge, and mean score by learning rate", columns, rows)
    return Section("Ease of training", [*_images(image), table])


def cost(record: Mapping, charts: Charts) -> Section | None:
    entries, names = figures.architectures(record), figures.labels(record)
    entries = {name: entry for name, entry in entries.items() if entry.get("cost")}
    if not entries:
        return None
    rows = []
    known = [key for key in _COSTS if any(figures.cost(record, name, key) is not None for name in entries)]
    for name in entries:
        rows.append((names[name], *(_COSTS[key][1](figures.cost(record, name, key)) for key in known)))
    table = Table("Cost of each architecture", ("Architecture", *(_COSTS[key][0] for key in known)), rows)
    parts = (findings.training_time, findings.memory, findings.parallelism, findings.threads)
    others = ("Time per token", "Memory", "Whole sequences", "Threads")
    titles = [part(record) or other for part, other in zip(parts, others, strict=True)]
    images = (
        charts.cost("time", titles[0], "time per token in training", measures.training_time, figures.time_unit),
        charts.cost("memory", titles[1], "peak memory of a training step", measures.memory_in_use, figures.size_unit),
        charts.cost("parallelism", titles[2], "speed-up over step by step", measures.whole_sequence_speedup),
        charts.cost("threads", titles[3], "speed-up of two threads", measures.threads_speedup),
    )
    text = (
        "Time and memory are those of training steps, measured one architecture after the other. Memory is the "
        "greatest use above that of the process before. Speed-ups: two threads against one, and the whole sequence in "
        "one call against a call for each step."
    )
    return Section("Cost", [Text(text), *_images(*images), table])


_COSTS = {
    "seconds_per_token": ("Time per token", figures.seconds),
    "processor_seconds_per_token": ("Processor time per token", figures.seconds),
    "first_step_seconds": ("First step", figures.seconds),
    "peak_bytes": ("Peak memory", figures.size),
    "activation_bytes": ("Activations", figures.size),
    "flop_per_token": ("FLOP per token", figures.count),
    "threads_speedup": ("Two threads", figures.times),
    "whole_sequence_speedup": ("Whole sequence", figures.times),
}


def generation(record: Mapping, charts: Charts) -> Section | None:
    growth, names = findings.growths(record), figures.labels(record)
    if not growth:
        return None
    costs = {name: figures.architectures(record)[name]["cost"]["generation"] for name in growth}
    lengths = sorted({point["length"] for points in costs.values() for point in points})
    rows = []
    for name, points in costs.items():
        found = {point["length"]: figures.number(point["seconds_per_token"]) for point in points}
        rows.append((names[name], *(figures.seconds(found.get(n)) for n in lengths), figures.times(growth[name])))
    columns = ("Architecture", *(f"{length} tokens" for length in lengths), "Growth")
    table = Table("Time per generated token by the length of the text so far", columns, rows)
    return Section("Generation", [*_images(charts.generation()), table])


def runs(record: Mapping, charts: Charts) -> Section | None:
    names, rows = figures.labels(record), []
    for name, entry in figures.architectures(record).items():
        best = measures.best_run(record, name)
        for run in entry.get("runs") or []:
            mark = " (best)" if run is best else ""
            tokens, seconds = (figures.number(run.get(key)) for key in ("tokens", "seconds"))
            text = figures.score_text(record, run.get("score"))
            row = (names[name] + mark, f"{run['learning_rate']:g}", str(run["seed"]), run.get("status", "done"), text)
            rows.append((*row, figures.count(tokens), figures.duration(seconds), run.get("reason") or "-"))
    if not rows:
        return None
    columns = ("Architecture", "Learning rate", "Seed", "Status", _score_name(record), "Tokens", "Time", "Reason")
    return Section("All runs", [Table(f"Every run of the grid ({len(rows)})", columns, rows, folded=True)])


def versions(record: Mapping, charts: Charts) -> Section | None:
    rows = [(name, str(version)) for name, version in (record.get("versions") or {}).items()]
    return Section("Versions", [Table("Packages", ("Package", "Version"), rows)]) if rows else None


def _score_name(record: Mapping) -> str:
    name = record.get("score", {}).get("name", "score")
    return name[:1].upper() + name[1:]


def _images(*images) -> list[Images]:
    found = [image for image in images if image is not None]
    return [Images(found)] if found else []
