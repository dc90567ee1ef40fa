"""Base class of layers that consist of other layers."""

import inspect

import keras


def spec_of_call(layer, *args, **kwargs):
    """The symbolic outputs of a layer, from its `call`.

    Keras (3.15) uses `compute_output_shape` instead if a layer has one. Then parts that `call` builds are not built,
    and all outputs have the layer's dtype.
    """
    return keras.Operation.compute_output_spec(layer, *args, **kwargs)


class CompositeLayer(keras.layers.Layer):
    """A layer whose weights all belong to sublayers, each built when `call` first reaches it.

    Within a call `build` builds nothing. Otherwise Keras would run `call` once more before the first call, only to
    build, and again for each composite layer inside: eight passes instead of one for the layers of a Transformer.
    Called directly, or by a wrapper such as `keras.layers.TimeDistributed`, `build(shape)` creates the weights: see
    `build_parts`.

    A saved file has no input shape for `build`. A loaded layer is also built by its first call.
    """

    input_kind = None  # the dtype of the input in `build`, or None for the layer's dtype

    def build(self, input_shape=None):
        if input_shape is not None and not self._called:
            self.build_parts(input_shape)
        self.built = True

    def build_parts(self, input_shape):
        """Builds the sublayers with a symbolic call. Layers that are called with more than x override it."""
        spec_of_call(self, keras.KerasTensor(input_shape, self.input_kind or self.compute_dtype))

    def refuse_to_build(self, input_shape):
        raise ValueError(
            f"`build` does not receive the width of the memory. {type(self).__name__} is built by its call, and its "
            f"layers for the memory by `project_memory(value)`. Received: build({input_shape})"
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
                "`keras.layers.Bidirectional` takes one recurrent layer, such as an LSTM. For a stack, use "
                f"`RecurrentStack(..., bidirectional=True)`. Received: {cls.__name__}"
            )
        return cls(**config)
