"""Registers the classes of keras_seq with Keras: `import keras_seq` is enough for `keras.models.load_model`.

Keras reads registered classes from the dict `keras.saving.get_custom_objects()`. A class is registered when its module
is imported, and the modules import Keras and TensorFlow. To keep `import keras_seq` instant, stand-ins are registered
under the names of the classes. The first use of a stand-in imports the module, which registers the class itself.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# The registered classes of each module. tests/test_serialization.py keeps the table complete.
CLASSES = {
    "decoding": "Ensemble",
    "layers": "AdditiveAttention Affixes AttentionPooling AutoregressiveDecoder BlankPadding Bridge CRF CRFLoss "
    "CharacterEncoder ChronoBias ConvLSTM2D ConvSubsampling Dense DotAttention FrameCNN FrameConvolution FrameDecoder "
    "FramePairs FramePatches GRU GeneralAttention JoinFeatures LSTM LastPooling LastSteps "
    "LearnedPositions LocationSensitiveAttention LogMel MaskedConv1D MaxPooling MeanPooling MinGRU "
    "MinLSTM MovingAverage MultiHeadAttention NgramScores Patches QuantileOffsets RGLRU RecurrentStack "
    "ReversibleNormalization ScaledDotAttention ScheduledSampling SimpleRNN SpecAugment TokenEmbedding "
    "TrailingPaddingMask TransformerDecoderLayer TransformerEncoderLayer TransformerStack ViterbiAccuracy "
    "ViterbiDecoder",
    "losses": "CTCLoss FrameCrossentropy QuantileLoss SequenceCrossentropy TokenCrossentropy",
    "metrics": "FrameLoss Perplexity TokenAccuracy TokenLoss",
    "models": "LanguageModel LikeliestTags Seq2Seq Transformer",
    "optimizers": "Adam AdamW SGD",
    "schedules": "InverseSigmoid InverseSquareRoot LinearDecay Progress",
}


def register_with_keras() -> None:
    """Registers a stand-in for each class: at once if Keras is imported already, else when it is."""
    if hasattr(sys.modules.get("keras"), "saving"):
        _register_stand_ins()
    elif not any(isinstance(finder, _KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _KerasFinder())


def _register_stand_ins() -> None:
    registered = sys.modules["keras"].saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names.split():
            registered.setdefault(f"keras_seq>{name}", _stand_in(f"keras_seq.{module}", name))


def _stand_in(module: str, name: str) -> type:
    """A class that Keras can call and build from a config. Both return an instance of the actual class."""

    def load_class() -> type:
        importlib.import_module(module)  # its decorators replace the stand-ins
        return sys.modules["keras"].saving.get_custom_objects()[f"keras_seq>{name}"]

    members = {
        "__module__": module,
        "__new__": lambda cls, *args, **kwargs: load_class()(*args, **kwargs),
        "from_config": classmethod(lambda cls, config: load_class().from_config(config)),
    }
    return type(name, (), members)


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Registers the stand-ins at the end of the first `import keras`."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "keras":
            return None
        sys.meta_path.remove(self)  # the other finders find it
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register_stand_ins()

            spec.loader.exec_module = execute_and_register
        return spec
