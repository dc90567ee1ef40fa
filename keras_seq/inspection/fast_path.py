"""Which kernel each layer takes, and why not a faster one.

The reasons are those by which the layers, Keras and the optimizers decide: `fast_loop_obstacles`, `cudnn_obstacles` and
`one_kernel_obstacles`.
"""

import dataclasses
from typing import Any

import keras
from keras.src.trainers import trainer

from keras_seq import layers
from keras_seq.inspection.calls import paths, recorded
from keras_seq.layers.attention import MemoryAttention
from keras_seq.layers.kernels import Obstacle, cudnn_mask_error, cudnn_obstacles
from keras_seq.layers.parallel_recurrent import scans_step_by_step

__all__ = ["Kernel", "Reason", "explain_fast_path", "shown"]

FAST_LOOP, KERAS_LOOP, CUDNN = "keras_seq's loop", "Keras's loop", "cuDNN"
STEPWISE_SCAN, PARALLEL_SCAN = "step-by-step scan", "parallel scan"
PRODUCTS, STEPWISE = "products and softmax", "Keras's scan"
ONE_KERNEL, KERAS_UPDATE = "one kernel a weight", "Keras's operations"
SOFTMAX, KERAS_LOSS = "one softmax", "Keras's loss"
XLA, TENSORFLOW = "XLA", "separate kernels"
RECURRENT = {"SimpleRNN": layers.SimpleRNN, "GRU": layers.GRU, "LSTM": layers.LSTM}


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a layer does not take a faster kernel.

    Attributes:
        device: "CPU", "GPU", or "" for both.
        cause: an option and its value, or a fact.
        remedy: what would change it, or empty.
    """

    device: str
    cause: str
    remedy: str = ""

    def __str__(self):
        where = f"{self.device}: " if self.device else ""
        return f"{where}{self.cause}" + (f" (remedy: {self.remedy})" if self.remedy else "")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The kernel of a layer, of the loss, of the optimizer, or of the whole program.

    Attributes:
        path, layer: path and type.
        cpu, gpu: kernel on a CPU, and on a GPU.
        reasons: why it is not a faster one.
        limits: limits of the kernel on a CPU.
    """

    path: str
    layer: str
    cpu: str
    gpu: str
    reasons: tuple[Reason, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def here(self) -> str:
        """The kernel on this machine."""
        return self.gpu if _has_gpu() else self.cpu


def explain_fast_path(model: keras.Model, batch: Any = None) -> list[Kernel]:
    """Lists the kernels of a model's layers, with the reasons where a faster one exists and is not taken.

    Only layers with a choice are listed: recurrent layers, attention, and, for a compiled model, the loss, the
    optimizer and `jit_compile`. A GPU is not needed.

    Args:
        model: a built model.
        batch: inputs of the model as arrays, whose masks are checked against the rules of cuDNN. None: not checked.
    Returns:
        a `Kernel` for each layer, in the order of the model.
    Raises:
        ValueError: if the model is not built.
    """
    if not model.built:
        raise ValueError(f"`model` must be built, so that its options are final. Received: {model.name!r}, not built")
    masks: dict[int, Any] = {}
    for call in [] if batch is None else recorded(model, batch, (keras.layers.RNN,)):
        if call.masked:
            masks.setdefault(id(call.layer), call.mask)
    found = []
    for key, (path, layer) in paths(model).items():
        kernel = _kernel(path, layer, masks.get(key)) if isinstance(layer, keras.Layer) else None
        if kernel is not None:
            found.append(kernel)
    return found + (_compiled(model, found) if getattr(model, "compiled", False) else [])


def shown(kernels: list[Kernel]) -> str:
    """The table as text, with the reasons below."""
    lines = [("layer", "type", "here", "on a GPU")]
    lines += [(each.path, each.layer, each.here, each.gpu) for each in kernels]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    places: dict[str, list[str]] = {}
    for each in kernels:
        for text in (*map(str, each.reasons), *each.limits):
            places.setdefault(text, []).append(each.path)
    return "\n".join([*table, *(f"\n{text}\n  {', '.join(where)}" for text, where in places.items())])


def _has_gpu() -> bool:
    return keras.backend.backend() == "tensorflow" and not scans_step_by_step()


def _kernel(path, layer, mask):
    """The kernel of a layer, or None if it has no choice."""
    name = type(layer).__name__
    if isinstance(layer, (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)):
        cpu, slow = _cpu_loop(layer)
        gpu, slower = _gpu_loop(layer, mask)
        limits = (
            ("CPU: second-order gradients are refused. Those of keras.layers are not.",) if cpu == FAST_LOOP else ()
        )
        return Kernel(path, name, cpu, gpu, (*slow, *slower), limits)
    if isinstance(layer, layers.ParallelRecurrent):
        cpu = STEPWISE_SCAN if keras.backend.backend() == "tensorflow" else PARALLEL_SCAN
        return Kernel(path, name, cpu, PARALLEL_SCAN, (), ("Second-order gradients are refused.",))
    if isinstance(layer, keras.layers.Bidirectional):
        inside = _kernel(path, layer.forward_layer, mask)
        return None if inside is None else Kernel(path, name, inside.cpu, inside.gpu, inside.reasons)
    if isinstance(layer, keras.layers.ConvLSTM2D):
        cause = "neither TensorFlow nor cuDNN has a kernel for recurrence over feature maps"
        return Kernel(path, name, KERAS_LOOP, KERAS_LOOP, (Reason("", cause, "FrameCNN and a recurrent layer"),))
    if isinstance(layer, keras.layers.RNN):
        cell = type(layer.cell).__name__
        ours = cell.removesuffix("Cell")
        remedy = f"keras_seq.layers.{ours}" if ours in RECURRENT else "one of the cells of RecurrentStack"
        return Kernel(
            path, name, KERAS_LOOP, KERAS_LOOP, (Reason("", f"cell={cell} has no kernel of its own", remedy),)
        )
    if isinstance(layer, layers.LocationSensitiveAttention):
        cause = "the weights of a step depend on those of the steps before"
        return Kernel(path, name, STEPWISE, STEPWISE, (Reason("", cause, "additive attention"),))
    attention = (layers.MultiHeadAttention, MemoryAttention, keras.layers.MultiHeadAttention)
    if isinstance(layer, (*attention, keras.layers.Attention, keras.layers.GroupQueryAttention)):
        return Kernel(path, name, PRODUCTS, PRODUCTS, (_without_flash(layer),))
    return None


def _reasons(device, obstacles: list[Obstacle]):
    return [Reason(device, str(each), f"{each.option}={each.remedy}") for each in obstacles]


def _cpu_loop(layer):
    """The loop of a recurrent layer on a CPU, and the reasons against the fast one."""
    name, kind = next((each.__name__, each) for each in type(layer).__mro__ if each.__name__ in RECURRENT)
    ours, reasons = RECURRENT[name], []
    if isinstance(layer, ours):
        obstacles = layer.fast_loop_obstacles()
        if type(layer).inner_loop is not ours.inner_loop:
            reasons.append(Reason("CPU", f"{type(layer).__name__} overrides `inner_loop`"))
    elif type(layer) is kind:
        cause, remedy = f"keras.layers.{name} has Keras's loop", "layers.with_fast_recurrent_layers(model)"
        reasons.append(Reason("CPU", cause, remedy))
        obstacles = ours.from_config(layer.get_config()).fast_loop_obstacles()
    else:
        cause = f"{type(layer).__name__} is derived from keras.layers.{name}"
        reasons.append(Reason("CPU", cause, f"keras_seq.layers.{name} as its base"))
        obstacles = []
    reasons += _reasons("CPU", [each for each in obstacles if each.option != "device"])
    if getattr(layer, "use_cudnn", "auto") is True:  # Keras refuses to run it then
        return f"{KERAS_LOOP}, with an error", reasons
    return (KERAS_LOOP if reasons else FAST_LOOP), reasons


def _gpu_loop(layer, mask):
    """The loop of a recurrent layer on a GPU, and the reasons against cuDNN."""
    if isinstance(layer, keras.layers.SimpleRNN):
        return KERAS_LOOP, [Reason("GPU", "Keras has no cuDNN kernel for a SimpleRNN", "GRU, LSTM or MinGRU")]
    obstacles = cudnn_obstacles(layer)
    if obstacles:
        return KERAS_LOOP, _reasons("GPU", obstacles)
    error = None if mask is None else cudnn_mask_error(mask)
    if error:
        return f"{CUDNN}, with an error", [Reason("GPU", error, "padding on the right alone, or use_cudnn=False")]
    return CUDNN, []


def _without_flash(layer):
    if keras.backend.backend() == "tensorflow":
        return Reason("GPU", "Keras has no flash attention on TensorFlow", "keras.layers.MultiHeadAttention on JAX")
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        cause = f"{type(layer).__name__} of keras_seq computes its weights"
        return Reason("GPU", cause, "keras.layers.MultiHeadAttention, keras.config.enable_flash_attention()")
    return Reason("GPU", f"flash_attention={layer._flash_attention}", "keras.config.enable_flash_attention()")


def _compiled(model, kernels):
    """The kernels of the loss, of the optimizer, and of the program."""
    return [kernel for kernel in (_loss(model), _optimizer(model), _program(model, kernels)) if kernel is not None]


def _loss(model):
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    words = name.replace("_", "").lower()
    if words == "tokencrossentropy":
        return Kernel("loss", name, SOFTMAX, SOFTMAX)
    if words != "sparsecategoricalcrossentropy":
        return None
    cause = "TensorFlow's cross-entropy is compiled without the instructions that its softmax has"
    reasons = [Reason("CPU", cause, "losses.TokenCrossentropy()")]
    if not getattr(loss, "from_logits", False):
        reasons.append(Reason("", "from_logits=False", "a model that returns logits, and from_logits=True"))
    return Kernel("loss", name, KERAS_LOSS, KERAS_LOSS, tuple(reasons))


def _optimizer(model):
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a LossScaleOptimizer
    name = type(optimizer).__name__
    if name not in ("Adam", "AdamW"):
        return None
    if not hasattr(optimizer, "one_kernel_obstacles"):
        cause, remedy = f"keras.optimizers.{name} has some forty operations a weight", f"keras_seq.optimizers.{name}"
        return Kernel("optimizer", name, KERAS_UPDATE, KERAS_UPDATE, (Reason("", cause, remedy),))
    reasons = tuple(_reasons("", [Obstacle(*each) for each in optimizer.one_kernel_obstacles()]))
    kernel = KERAS_UPDATE if reasons else ONE_KERNEL
    return Kernel("optimizer", name, kernel, kernel, reasons)


def _program(model, kernels):
    """Whether XLA compiles the training step, by the rules of `keras.Model.compile`. On a GPU, with "auto"."""
    refused = sorted({type(layer).__name__ for layer in model._flatten_layers() if not layer.supports_jit})
    on_cudnn = [each.path for each in kernels if each.gpu.startswith(CUDNN)]
    name, reasons = type(model).__name__, []
    if refused:
        reasons.append(Reason("", f"XLA does not support {', '.join(refused)}", "a model without it"))
    elif not trainer.model_supports_jit(model):
        cause = "XLA is not deterministic, which tf.config.experimental.enable_op_determinism() demands"
        reasons.append(Reason("", cause, "a process without it"))
    elif on_cudnn:
        reasons.append(
            Reason("GPU", f"XLA does not support cuDNN, which {', '.join(on_cudnn)} takes", "use_cudnn=False")
        )
    if not model.jit_compile:
        reasons.append(Reason("CPU", "jit_compile=False, which 'auto' becomes without a GPU", "jit_compile=True"))
    cpu = XLA if model.jit_compile else TENSORFLOW
    gpu = cpu if _has_gpu() else TENSORFLOW if on_cudnn or not trainer.model_supports_jit(model) else XLA
    return Kernel("training step", name, cpu, gpu, tuple(reasons))
