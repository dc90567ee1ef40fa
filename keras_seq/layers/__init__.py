"""Layers that plug into any Keras model."""

from typing import TYPE_CHECKING

from keras_seq.architectures import ARCHITECTURES
from keras_seq.layers.attention import (
    ATTENTIONS,
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    LocationSensitiveAttention,
    ScaledDotAttention,
)
from keras_seq.layers.audio import ConvSubsampling, LogMel, SpecAugment
from keras_seq.layers.autoregressive import AutoregressiveDecoder
from keras_seq.layers.backbones import sequence_backbone
from keras_seq.layers.bridges import Bridge
from keras_seq.layers.character_encoder import CharacterEncoder
from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.convolution import MaskedConv1D
from keras_seq.layers.crf import CRF, CRFLoss, ViterbiAccuracy, ViterbiDecoder, viterbi
from keras_seq.layers.ctc import BlankPadding
from keras_seq.layers.dense import Dense
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.frames import ConvLSTM2D, FrameCNN, FrameConvolution, FrameDecoder, FramePairs, FramePatches
from keras_seq.layers.initializers import ChronoBias, chrono_options
from keras_seq.layers.masks import (
    JoinFeatures,
    TrailingPaddingMask,
    causal_mask,
    get_keras_mask,
    masked_softmax,
    padding_mask,
    reverse_tokens,
    sliding_window_mask,
)
from keras_seq.layers.multi_head_attention import MultiHeadAttention, create_cache, update_cache
from keras_seq.layers.ngrams import Affixes, NgramScores
from keras_seq.layers.parallel_recurrent import RGLRU, MinGRU, MinLSTM, ParallelRecurrent, linear_scan
from keras_seq.layers.pooling import POOLINGS, AttentionPooling, LastPooling, MaxPooling, MeanPooling
from keras_seq.layers.positions import LearnedPositions, distance_bias, positions_from, rotate, sinusoidal_positions
from keras_seq.layers.recurrent import GRU, LSTM, SimpleRNN, with_fast_recurrent_layers
from keras_seq.layers.recurrent_stack import CELLS, RecurrentStack, cell_name
from keras_seq.layers.scheduled_sampling import ScheduledSampling
from keras_seq.layers.time_series import LastSteps, MovingAverage, Patches, QuantileOffsets, ReversibleNormalization
from keras_seq.layers.transformer import TransformerDecoderLayer, TransformerEncoderLayer
from keras_seq.layers.transformer_stack import TransformerStack

__all__ = [
    "ARCHITECTURES",
    "ATTENTIONS",
    "AdditiveAttention",
    "Affixes",
    "AttentionPooling",
    "BlankPadding",
    "Bridge",
    "CELLS",
    "CRF",
    "CRFLoss",
    "CharacterEncoder",
    "ChronoBias",
    "ConvLSTM2D",
    "CompositeLayer",
    "ConvSubsampling",
    "Dense",
    "DotAttention",
    "TrailingPaddingMask",
    "AutoregressiveDecoder",
    "FrameCNN",
    "FrameConvolution",
    "FrameDecoder",
    "FramePairs",
    "GRU",
    "GeneralAttention",
    "JoinFeatures",
    "LSTM",
    "LastPooling",
    "LastSteps",
    "LearnedPositions",
    "LocationSensitiveAttention",
    "LogMel",
    "MaskedConv1D",
    "MaxPooling",
    "MeanPooling",
    "MinGRU",
    "MinLSTM",
    "MovingAverage",
    "MultiHeadAttention",
    "POOLINGS",
    "NgramScores",
    "ParallelRecurrent",
    "Patches",
    "FramePatches",
    "QuantileOffsets",
    "RGLRU",
    "RecurrentStack",
    "ReversibleNormalization",
    "ScaledDotAttention",
    "ScheduledSampling",
    "SimpleRNN",
    "SpecAugment",
    "TokenEmbedding",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "TransformerStack",
    "ViterbiAccuracy",
    "ViterbiDecoder",
    "with_fast_recurrent_layers",
    "causal_mask",
    "cell_name",
    "chrono_options",
    "distance_bias",
    "create_cache",
    "update_cache",
    "linear_scan",
    "get_keras_mask",
    "masked_softmax",
    "padding_mask",
    "positions_from",
    "reverse_tokens",
    "rotate",
    "sequence_backbone",
    "sinusoidal_positions",
    "sliding_window_mask",
    "viterbi",
]

_INSTEAD = {  # names of other libraries and of the literature
    "Attention": "DotAttention, GeneralAttention or ScaledDotAttention",
    "BahdanauAttention": "AdditiveAttention",
    "Bidirectional": "RecurrentStack(..., bidirectional=True), or keras.layers.Bidirectional around one layer",
    "Embedding": "TokenEmbedding",
    "GlobalAveragePooling1D": "MeanPooling",
    "GlobalMaxPooling1D": "MaxPooling",
    "LuongAttention": "DotAttention or GeneralAttention",
    "PositionEmbedding": "LearnedPositions",
    "RNN": "SimpleRNN, RecurrentStack, or keras.layers.RNN around a cell",
    "TokenAndPositionEmbedding": "TokenEmbedding and LearnedPositions",
    "TransformerDecoder": "TransformerDecoderLayer",
    "TransformerEncoder": "TransformerStack, or TransformerEncoderLayer for one layer",
}

if not TYPE_CHECKING:  # for which a wrong name is an error

    def __getattr__(name):
        advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
