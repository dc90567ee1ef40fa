"""The names of the architectures and their stacks of layers."""

from keras_seq.layers.recurrent_stack import RecurrentStack
from keras_seq.layers.transformer_stack import TransformerStack


def sequence_backbone(
    architecture: str | type,
    units,
    num_layers=1,
    *,
    bidirectional=False,
    dropout=0.0,
    num_heads=4,
    architecture_options=None,
    **kwargs,
):
    """Builds the stack of layers of an architecture, given by name.

        x, state = sequence_backbone("gru", units=128)(x)
        model = models.LanguageModel(65, sequence_backbone("transformer", units=128, num_layers=4))

    Args:
        architecture: "transformer", or any cell of `RecurrentStack`, such as a name of `CELLS`.
        units: width of the output, D, and of a Transformer's input.
        num_layers: number of layers.
        bidirectional: whether each step depends on later steps. Must be False for a language model.
        dropout: rate of dropout, where the stack has it.
        num_heads: number of attention heads of a Transformer.
        architecture_options: more arguments of `RecurrentStack` or `TransformerStack`, such as `{"layer_norm": True}`.
        kwargs: `name` and `dtype` of the layer.
    Returns:
        a layer, `call(x (B, T, Dx), initial_state, mask) -> (x (B, T, D), state)`.
    """
    options = {
        "num_layers": num_layers,
        "dropout": dropout,
        "bidirectional": bidirectional,
        **(architecture_options or {}),
        **kwargs,
    }
    if architecture == "transformer":
        return TransformerStack(units, num_heads, **options)
    return RecurrentStack(architecture, units, **options)
