"""Named hardware, and the speed that its peak and its bandwidth allow a model."""

import dataclasses
from collections.abc import Mapping

from keras_seq.inspection.cost import Cost

__all__ = ["HARDWARE", "Hardware", "expected_seconds", "tokens_per_second"]


@dataclasses.dataclass(frozen=True)
class Hardware:
    """A device.

    Attributes:
        name: its name.
        peak: largest FLOP per second, by the dtype of the numbers.
        bandwidth: bytes per second between memory and processor.
        efficiency: share of both that programs reach.
        source: origin of the figures.
    """

    name: str
    peak: Mapping[str, float]
    bandwidth: float
    efficiency: float = 0.5
    source: str = ""

    def __post_init__(self):
        if not self.peak or min(self.peak.values()) <= 0 or self.bandwidth <= 0 or not 0 < self.efficiency <= 1:
            raise ValueError(
                "`peak` and `bandwidth` must be positive, `efficiency` above 0 and at most 1. Received: "
                f"{dict(self.peak)}, {self.bandwidth}, {self.efficiency}"
            )


# Cores: base clock, two FMA units of 8 (Zen 4) or 16 (AVX-512) float32 numbers, 2 FLOP each. The bandwidth is that of
# the socket divided by its cores. Graphics: dense products on tensor cores. TensorFlow computes float32 products on an
# A100 and an H100 in TF32.
HARDWARE = {
    "epyc core": Hardware(
        "a core of an AMD EPYC 9654",
        {"float32": 2.4e9 * 2 * 8 * 2},
        460.8e9 / 96,
        source="AMD EPYC 9004 data sheet: 96 cores, 2.4 GHz, 460.8 GB/s",
    ),
    "xeon core": Hardware(
        "a core of an Intel Xeon Platinum 8480+",
        {"float32": 2.0e9 * 2 * 16 * 2},
        307.2e9 / 56,
        source="Intel ARK: 56 cores, 2.0 GHz, 2 AVX-512 FMA units, 8 channels of DDR5-4800",
    ),
    "t4": Hardware(
        "NVIDIA T4", {"float32": 8.1e12, "float16": 65e12}, 320e9, source="NVIDIA T4 product brief PB-09256-001"
    ),
    "v100": Hardware(
        "NVIDIA V100 SXM2", {"float32": 15.7e12, "float16": 125e12}, 900e9, source="NVIDIA V100 data sheet"
    ),
    "a100": Hardware(
        "NVIDIA A100 SXM 40GB",
        {"float32": 156e12, "float16": 312e12, "bfloat16": 312e12},
        1555e9,
        source="NVIDIA A100 data sheet",
    ),
    "h100": Hardware(
        "NVIDIA H100 SXM",
        {"float32": 494.7e12, "float16": 989.4e12, "bfloat16": 989.4e12},
        3350e9,
        source="NVIDIA H100 data sheet, without sparsity",
    ),
}


def expected_seconds(found: Cost, hardware: Hardware | str, training: bool = False, dtype: str = "float32") -> float:
    """The time of a call of the model, or of a training step, by the roofline model.

        seconds = sum over layers of max(FLOP / peak, bytes / bandwidth) / efficiency

    The layers run one after another, each limited by arithmetic or by memory. Not included: the start of each kernel,
    which dominates recurrent layers of small batches on graphics cards, and caches, which hold small activations.

    Args:
        found: the result of `cost`.
        hardware: a `Hardware`, or a name of `HARDWARE`.
        training: whether to return the time of a training step.
        dtype: dtype of the products.
    Raises:
        ValueError: if the hardware is unknown or has no peak for the dtype.
    Source: Williams et al. 2009, "Roofline", doi:10.1145/1498765.1498785.
    """
    if isinstance(hardware, str):
        if hardware not in HARDWARE:
            raise ValueError(f"`hardware` must be a `Hardware` or one of {tuple(HARDWARE)}. Received: {hardware!r}")
        hardware = HARDWARE[hardware]
    if dtype not in hardware.peak:
        raise ValueError(f"`dtype` must be one of {tuple(hardware.peak)} on {hardware.name}. Received: {dtype!r}")
    peak = hardware.peak[dtype]
    seconds = sum(
        max(
            (row.training_flop if training else row.flop) / peak,
            row.bytes * (3 if training else 1) / hardware.bandwidth,
        )
        for row in found.rows
    )
    if training:
        update = found.optimizer
        seconds += max(update.training_flop / peak, update.bytes / hardware.bandwidth)
    return seconds / hardware.efficiency


def tokens_per_second(found: Cost, hardware: Hardware | str, training: bool = False, dtype: str = "float32") -> float:
    """Tokens per second, by `expected_seconds`, whose arguments it has. For other inputs, steps or samples."""
    return found.tokens / expected_seconds(found, hardware, training, dtype)
