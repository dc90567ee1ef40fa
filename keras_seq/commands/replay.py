"""`keras-seq replay`: a training step that was NaN or infinite, once more, layer by layer."""

import dataclasses
import json
import pathlib
import sys
from typing import Any

from keras_seq.cli import option
from keras_seq.commands.output import Writer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """Repeats a training step that a run has saved, and shows the layer and the operation where its first NaN or
    infinity arose. The exit code is 1 if there is one, 0 if the step is finite."""

    step: pathlib.Path = option(help="folder nan-step-N of a run, or a file in it", positional=True)
    import_: tuple[str, ...] = option(
        (), "module that registers classes of the model with Keras, repeated for several", repeated=True
    )
    json: bool = option(False, "JSON output, one object and nothing else")


def replay(options: Replay) -> None:
    if options.import_:
        sys.path.insert(0, str(pathlib.Path.cwd()))  # as `python -m` does
    from keras_seq import training
    from keras_seq.training.gradient_monitor import shown_facts

    step = training.load_step(options.step, options.import_)
    diagnosis = step.diagnose()
    known = shown_facts(step.facts) if "norms" in step.facts else []
    with Writer() as writer:
        if options.json:
            writer.record(**_record(diagnosis, step.facts))
        else:
            heading = f"Step {step.facts['step']:,} of {options.step}, a batch of {_rows(step.batch)} rows"
            for line in [heading, *str(diagnosis).splitlines(), *known]:
                writer(line)
    found = diagnosis.origin is not None or diagnosis.error or diagnosis.bad_optimizer
    sys.exit(int(bool(found)))


def _rows(batch: Any) -> str:
    import keras

    return f"{len(keras.tree.flatten(batch)[0]):,}"


def _record(diagnosis: Any, facts: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({**facts, **dataclasses.asdict(diagnosis)}))
