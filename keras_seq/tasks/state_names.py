"""The state of a decoding model as named tensors, for formats in which the caller keeps it."""

import keras


class StateNames:
    """Names for the tensors of a state: `state_layers_0_1` is `state["layers"][0][1]`.

    Args:
        state: a nest of tensors, or of their specs. Entries that are None have no name.
    Raises:
        ValueError: if two tensors would have the same name.
    """

    def __init__(self, state):
        self.structure = keras.tree.map_structure(lambda x: x is not None, state)
        paths = [path for path, there in keras.tree.flatten_with_path(self.structure) if there]
        self.names = ["_".join(map(str, ("state", *path))) for path in paths]
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"The tensors of a state must have different names. Received twice: {twice}")

    def flat(self, state) -> dict:
        """Nest -> tensors by name."""
        keras.tree.assert_same_structure(self.structure, state)
        return dict(zip(self.names, (x for x in keras.tree.flatten(state) if x is not None), strict=True))

    def nest(self, tensors):
        """Tensors by name, possibly among others -> nest."""
        names = iter(self.names)
        leaves = [tensors[next(names)] if there else None for there in keras.tree.flatten(self.structure)]
        return keras.tree.pack_sequence_as(self.structure, leaves)
