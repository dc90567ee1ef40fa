"""The names of the architectures, and the stack of layers that each stands for."""

from keras_seq.layers.recurrent_stack import RecurrentStack
from keras_seq.layers.transformer_stack import TransformerStack


def sequence_backbone(
    architecture,
    units,
    num_layers=1,
    *,
    bidirectional=False,
    dropout=0.0,
    num_heads=4,
    architecture_options=None,
    **kwargs,
):
    """The stack of layers that an architecture's name stands for.

        x, state = sequence_backbone("gru", units=128)(x)
        model = models.LanguageModel(65, sequence_backbone("transformer", units=128, num_layers=4))

    Args:
        architecture: "transformer"; or, for a `RecurrentStack`, a name of `CELLS` or what else it takes for a cell.
        units: width of the output, D; of a Transformer's input too.
        num_layers: how many layers.
        bidirectional: whether each step knows those after it; a language model's must not.
        dropout: rate, where the stack has it.
        num_heads: of a Transformer.
        architecture_options: more arguments of `RecurrentStack` or `TransformerStack`, such as `{"layer_norm": True}`.
        kwargs: `name`, `dtype`.
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
