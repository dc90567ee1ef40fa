"""Two warnings of Keras's `fit` that every dataset of batches by length would cause."""

import warnings

# `fit` warns of its default, `shuffle=True`, for each `tf.data.Dataset`; and of the end of the first epoch where the
# number of batches is not known beforehand, which is how it learns that number.
_MESSAGES = (
    r"`shuffle=True` was passed, but will be ignored since the data `x` was provided as a tf\.data\.Dataset",
    r"Your input ran out of data; interrupting training\.",
)


def ignore_keras_warnings() -> None:
    """Leaves out both. The progress bar shows an epoch that ends before its `steps_per_epoch`: 3/10."""
    for message in _MESSAGES:
        warnings.filterwarnings("ignore", message, UserWarning, module=r"keras\.src\.trainers")
