"""What layers share that are made of other layers."""

import inspect

import keras


def spec_of_call(layer, *args, **kwargs):
    """The symbolic outputs of a layer by its `call`.

    Keras (3.15) takes `compute_output_shape` in place of it where a layer has one: then nothing is built whose parts
    are built as `call` comes to them, and all outputs have the layer's own dtype.
    """
    return keras.Operation.compute_output_spec(layer, *args, **kwargs)


class CompositeLayer(keras.layers.Layer):
    """A layer whose weights all belong to layers of its own, which are built as its `call` first comes to them.

    Within a call `build` builds nothing. Otherwise Keras would run `call` once more before the first call, for the sake
    of building; and within that run the same for each composite layer inside: of a Transformer's layers that is eight
    passes for one. Called by hand, or by a wrapper such as `keras.layers.TimeDistributed`, `build(shape)` makes the
    weights: see `build_parts`.

    A file keeps no shape to call it with: what is loaded is built by its first call too.
    """

    input_kind = None  # the dtype of what `build` calls the layer with; None: the layer's own

    def build(self, input_shape=None):
        if input_shape is not None and not self._called:
            self.build_parts(input_shape)
        self.built = True

    def build_parts(self, input_shape):
        """Builds the layers within, by a symbolic call. A layer that is called with more than x says what it needs."""
        spec_of_call(self, keras.KerasTensor(input_shape, self.input_kind or self.compute_dtype))

    def refuse_to_build(self, input_shape):
        raise ValueError(
            f"A shape does not give the width of the memory. {type(self).__name__} is built by its call, and its "
            f"projections of the memory by `project_memory(value)`. Received: build({input_shape})"
        )

    def get_build_config(self):
        return None

    def compute_output_spec(self, *args, **kwargs):
        if type(self).build is not CompositeLayer.build:  # it is built already
            return super().compute_output_spec(*args, **kwargs)
        return spec_of_call(self, *args, **kwargs)

    @classmethod
    def from_config(cls, config):
        if "go_backwards" in config and "go_backwards" not in inspect.signature(cls.__init__).parameters:
            raise ValueError(
                "`keras.layers.Bidirectional` takes one recurrent layer, an LSTM say. A stack reads both ways with "
                f"`RecurrentStack(..., bidirectional=True)`. Received: {cls.__name__}"
            )
        return cls(**config)
