"""One of two workers that train together until they are killed; the launcher starts it.

python -m tests.distribution.killed_worker FOLDER

It writes its process id into FOLDER/RANK.pid when it starts, and into FOLDER/RANK.training after its first step.
"""

import os
import pathlib
import sys

from keras_seq import distribution
from tests.training import killed


def main(folder: pathlib.Path) -> None:
    scope = distribution.scope("multi_worker_mirrored")
    rank = 0 if scope.chief else 1

    def note(kind):
        path = folder / f"{rank}.{kind}"
        path.with_suffix(".new").write_text(str(os.getpid()))
        path.with_suffix(".new").rename(path)

    note("pid")
    killed.train(str(folder / "run"), lambda step: step or note("training"), scope)
    scope.any_worker(False)  # nobody leaves before the chief has finished


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
