"""Trains the models of the findings, resuming what was interrupted, and writes what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from keras_seq import comparison, training
from keras_seq.comparison.processes import cores, train_all
from keras_seq.comparison.progress import Progress
from keras_seq.inspection import cost
from keras_seq.training.run_folder import command_line, hardware, versions

from . import (
    NAMES,
    by_sentence,
    clipping,
    depth,
    ensembles,
    minibatches,
    rescoring,
    reversal,
    sentence_vectors,
    successors,
)
from .finding import Finding
from .members import VARIANTS, Member, folder_of, timed, trainer
from .systems import Systems

TRACED, STEPS = 4, 20  # training steps before those that are timed for the estimate, and number of these


class Check(NamedTuple):
    """The members that a finding needs, from the options, and its check."""

    needed: Callable[[Any], list[Member]]
    check: Callable[[Systems], Finding]


FINDINGS: Mapping[str, Check] = {
    "reversal": Check(reversal.needed, reversal.check),
    "ensembles": Check(ensembles.needed, ensembles.check),
    "depth": Check(depth.needed, depth.check),
    "minibatches": Check(minibatches.needed, minibatches.check),
    "rescoring": Check(rescoring.needed, rescoring.check),
    "lengths": Check(by_sentence.needed, by_sentence.check_lengths),
    "ranks": Check(by_sentence.needed, by_sentence.check_ranks),
    "sentence_vectors": Check(sentence_vectors.needed, sentence_vectors.check),
    "clipping": Check(clipping.needed, clipping.check),
    "successors": Check(successors.needed, successors.check),
}


def check_findings(options: Any, parts: Mapping[str, Any], run: training.Run) -> list[Finding]:
    """Checks the findings of the options, and writes `findings.md`, `findings.json` and plots into the run folder.

    Args:
        options: options of the recipe, with all defaults.
        parts: the data by split.
        run: run folder of the findings, in which the members have theirs.
    Returns:
        the findings.
    """
    names = NAMES if "all" in options.findings else options.findings
    if options.overwrite:  # the run folder has removed its own files
        for path in (run.path / name for name in ("outputs", "locks", *map(folder_of, VARIANTS))):
            shutil.rmtree(path, ignore_errors=True)
    needed = dict.fromkeys(member for name in names for member in FINDINGS[name].needed(options))
    _train(options, parts, run, list(needed))
    systems, found = Systems(options, parts), []
    _check_ended(systems, needed)
    for name in names:
        finding = FINDINGS[name].check(systems)
        found.append(finding)
        print("\n" + "\n".join(finding.lines()), flush=True)
        _write(options, run, found)
    print(f"\nFindings: {run.path / 'findings.md'}")
    return found


def _check_ended(systems: Systems, members: Iterable[Member]) -> None:
    """Raises `ValueError` if a model has no score. Only without a limit on the gradient that is a finding."""
    for member in members:
        record = systems.record(member)
        if record.status != "done" and member.variant != "unclipped":
            folder = systems.folder / member.folder
            raise ValueError(f"{member}: {record.status}: {record.reason}. Remove {folder} to train it again.")


def _train(options: Any, parts: Mapping[str, Any], run: training.Run, members: Sequence[Member]) -> None:
    """Trains the members that have not ended, in several processes."""
    ended = sum(comparison.read_cell(run.path / member.folder).ended for member in members)
    left = len(members) - ended
    print(f"{len(members)} models, {ended} of them trained before.", flush=True)
    if not left:
        return
    workers = min(options.workers or cores(), left)
    waiting = [member for member in members if not comparison.read_cell(run.path / member.folder).ended]
    minutes = expected_seconds(options, parts, waiting) / workers / 60
    print(f"Training of {left} models, {workers} at a time: about {math.ceil(minutes):,} minutes.", flush=True)
    progress = Progress(len(members), ended, "perplexity")
    with contextlib.closing(progress):
        train_all(functools.partial(trainer, _of_members(options)), members, run.path, workers, progress)


def _of_members(options: Any) -> Any:
    """The options of the members, which do not depend on what is asked of them."""
    fields = {field.name: field.default for field in dataclasses.fields(options)}
    return dataclasses.replace(
        options, **{name: fields[name] for name in ("findings", "seeds", "workers", "num_beams")}
    )


def expected_seconds(options: Any, parts: Mapping[str, Any], members: Sequence[Member]) -> float:
    """Seconds of training the members one after the other on one core.

    Steps of the paper's model are timed. Those of a variant take as much more time as they take more FLOP.
    """
    from .. import sutskever2014 as recipe

    words, model = timed(options, parts["train"])
    _, batches, tokens = recipe.batched(options, parts["train"], *words, shuffle=True)
    some = list(batches.take(TRACED + STEPS))
    for number, batch in enumerate(some):
        if number == TRACED:
            begun = time.process_time()
        model.train_on_batch(*batch)
    each = (time.process_time() - begun) / sum(float(weights.numpy().sum()) for *_, weights in some[TRACED:])

    shape = {"source": (options.batch_size, 12), "target": (options.batch_size, 12)}
    flop = {}
    for member in {member.variant: member for member in members}.values():
        variant = recipe.build(dataclasses.replace(options, **member.values), *(side.size for side in words))
        flop[member.variant] = cost.cost(variant, shape).training_flop
    usual = cost.cost(model, shape).training_flop
    return sum(options.epochs * tokens * each * flop[member.variant] / usual for member in members)


def _write(options: Any, run: training.Run, found: Sequence[Finding]) -> None:
    head = f"# Findings of Sutskever et al. 2014 on {options.source}-{options.target}\n\n`{command_line()}`\n\n"
    run.write("findings.md", head + "\n".join(finding.markdown() for finding in found))
    record = {"command": command_line(), "hardware": hardware(), "versions": versions()}
    record["findings"] = [dataclasses.asdict(finding) for finding in found]
    training.write_json(run.path / "findings.json", record)
