"""Models of no family that a verb knows, from run folders."""

import pathlib
from typing import Any


class Mapper:
    """A model from tensors to tensors, from a run folder that names nothing of what these are.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path, model: Any):
        self.folder, self.file, self.model = folder, file, model

    def task(self) -> Any:
        """What it is exported for.

        Raises:
            ValueError: if the model does not know what it takes.
        """
        from keras_seq.export import Tensors

        if not getattr(self.model, "inputs", None):
            raise ValueError(
                f"{self.file} is a {type(self.model).__name__}, which does not tell what it takes. Export it in "
                "Python, with an example: export.saved_model(model, folder, export.Tensors(example))."
            )
        return Tensors()
