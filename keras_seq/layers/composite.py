"""What layers share that are made of other layers."""

import keras


class CompositeLayer(keras.layers.Layer):
    """A layer whose weights all belong to layers of its own, which are built as its `call` first comes to them.

    Without a `build` Keras would run `call` once more before the first call, for the sake of building; and within that
    run the same for each composite layer inside: of a Transformer's layers that is eight passes for one.

    A file keeps no shape to call it with: what is loaded is built by its first call too.
    """

    def build(self, input_shape=None):
        self.built = True

    def get_build_config(self):
        return None
