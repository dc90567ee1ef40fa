"""A model of a training step on many workers, and what it says of many hosts."""

import dataclasses

from benchmarks import timing
from keras_seq.cli import option


@dataclasses.dataclass(frozen=True)
class GPUs:
    """What `estimate` assumes."""

    hosts: int = option(64, "machines")
    gpus_per_host: int = option(8, "GPUs of each")
    tokens_per_gpu: int = option(8192, "tokens in each GPU's part of a batch")
    weights: tuple[int, ...] = option((65_000_000, 213_000_000), "sizes of models; Transformer Base and Big")
    gpu_flops: float = option(100e12, "FLOP/s that a GPU sustains; a third of an A100's peak in bfloat16")
    gpu_fixed: float = option(0.010, "seconds of a step that no other GPU shares: launches, optimizer")
    host_bandwidth: float = option(200e9, "NCCL's bus bandwidth within a host, bytes/s; NVLink of an A100")
    network_bandwidth: float = option(10e9, "NCCL's bus bandwidth between hosts, bytes/s; a 100 Gb/s card")
    hop: float = option(5e-6, "seconds that one hop of the ring takes, whatever the bytes")
    gradient_bytes: int = option(4, "bytes of a weight's gradient on the wire")


@dataclasses.dataclass(frozen=True)
class StepModel:
    """Seconds of one worker's step, in a synchronous training with a ring all-reduce that overlaps with nothing.

    Attributes:
        compute: of the whole batch on one worker; N workers have 1/N of it each.
        fixed: what each worker does whatever its part: the optimizer, the launches.
        gradient_bytes: of all gradients. In a ring of N each worker sends 2 (N - 1) / N of them.
        per_byte: 1 / bandwidth.
        hop: what one of the 2 (N - 1) steps around the ring takes, whatever the bytes.
    """

    compute: float
    fixed: float
    gradient_bytes: float
    per_byte: float
    hop: float = 0.0

    def seconds(self, workers: int) -> float:
        sent = 2 * (workers - 1) / workers * self.gradient_bytes
        around = 2 * 2 * (workers - 1)  # once with the tokens, once with the gradients
        return self.compute / workers + self.fixed + sent * self.per_byte + around * self.hop


def fitted(whole: float, half: float, two: float, gradient_bytes: float) -> StepModel:
    """The model through three measurements.

    One worker alone says what depends on the rows and what does not, by half of each batch; the rest is the sending.

    Args:
        whole, half: a step of one worker on whole batches and on their halves.
        two: what both of two workers take together, whole batches divided among them.
        gradient_bytes: of all gradients.
    """
    compute = 2 * (whole - half)
    fixed = whole - compute
    return StepModel(compute, fixed, gradient_bytes, (two - compute - 2 * fixed) / (2 * gradient_bytes))


def estimate(options: GPUs) -> None:
    """No measurement: the model of a step with the figures that are assumed."""
    print(
        f"**An estimate for {options.hosts} hosts of {options.gpus_per_host} GPUs**, by the same model of a step. "
        f"Assumed, not measured: {options.tokens_per_gpu:,} tokens a GPU, 6 FLOP per weight and token; a GPU sustains "
        f"{options.gpu_flops / 1e12:,.0f} TFLOP/s, and {options.gpu_fixed * 1e3:.0f} ms of a step do not depend on the "
        f"tokens; a ring all-reduce of the gradients, {options.gradient_bytes} bytes a weight, and one of the tokens, "
        f"neither overlapping with anything; NCCL's bus bandwidth {options.host_bandwidth / 1e9:,.0f} GB/s within a "
        f"host and {options.network_bandwidth / 1e9:,.0f} GB/s between hosts; {options.hop * 1e6:.0f} microseconds a "
        "hop.\n"
    )
    counts = {1: options.host_bandwidth, options.gpus_per_host: options.host_bandwidth}
    if options.hosts > 1:
        counts[options.hosts * options.gpus_per_host] = options.network_bandwidth
    rows = []
    for weights in options.weights:
        for gpus, bandwidth in counts.items():
            compute = 6 * weights * options.tokens_per_gpu / options.gpu_flops
            gradient_bytes = options.gradient_bytes * weights
            model = StepModel(compute * gpus, options.gpu_fixed, gradient_bytes, 1 / bandwidth, options.hop)
            seconds, alone = model.seconds(gpus), compute + options.gpu_fixed
            tokens = 2 * (gpus - 1) * options.hop
            parts = [alone, seconds - alone - tokens, tokens, seconds]
            row = [f"{weights / 1e6:,.0f} M", f"{gpus:,}", *(f"{part * 1e3:,.1f}" for part in parts)]
            rows.append([*row, f"{gpus * options.tokens_per_gpu / seconds:,.0f}", f"{alone / seconds:.0%}"])
    head = ["weights", "GPUs", "compute and fixed part, ms", "gradients, ms", "tokens, ms", "a step, ms"]
    print(timing.table([*head, "tokens per second", "of perfect scaling"], rows))
