"""What layers share that are made of other layers."""

import keras


class CompositeLayer(keras.layers.Layer):
    """A layer whose weights all belong to layers of its own, which Keras builds as it first calls them.

    So there is no `build`, and a file keeps no shape to call it with: what is loaded is built by its first call too.
    """

    def get_build_config(self):
        return None
