"""The names of the architectures, for options: this module loads neither Keras nor TensorFlow."""

ARCHITECTURES = ("rnn", "gru", "lstm", "mingru", "minlstm", "rglru", "transformer")
