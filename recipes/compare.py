"""Compare: trains every architecture on the task of another recipe, and shows how they differ.

    python -m recipes.compare                                            memory: how long each remembers
    python -m recipes.compare sentiment --data-dir DIR                   classes of sentences
    python -m recipes.compare tagging --architectures rnn lstm gru       some architectures
    python -m recipes.compare sentiment --equal seconds                  equal time in place of equal tokens

All models have about as many parameters, and are trained on as many tokens. Each architecture is judged at its best
learning rate of a grid, by the mean over the seeds. Times and memory are measured after the training. docs/compare.md
explains the results. Run the same command again to resume an interrupted comparison.
"""

import functools
import importlib
import sys

from keras_seq import cli
from keras_seq.commands.compare import compare, compare_options


def main(argv: list[str] | None = None) -> None:
    """Compares the architectures of the recipe that the first argument names, or of memory."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv.pop(0) if argv and not argv[0].startswith("-") else "memory"
    recipe = importlib.import_module(f".{name}", __package__)
    cli.run(functools.partial(compare, module=recipe), compare_options(recipe), argv, prog=f"recipes.compare {name}")


if __name__ == "__main__":
    main()
