"""Schedules that Keras lacks, for a learning rate or another number.

For a warm-up followed by a cosine use Keras's `CosineDecay`, for a linear rise its `PolynomialDecay`.
"""

import math

import keras
from keras import ops


class _Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to the peak, which is reached at update number `warmup_steps`. Updates are counted from 1."""

    def __init__(self, peak_learning_rate: float, warmup_steps: int):
        super().__init__()
        if peak_learning_rate <= 0:
            raise ValueError(f"`peak_learning_rate` must be positive. Received: {peak_learning_rate}")
        if warmup_steps < 1:
            raise ValueError(f"`warmup_steps` must be at least 1. Received: {warmup_steps}")
        self.peak_learning_rate = peak_learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        # Keras counts from 0, which would waste the first update on a rate of zero.
        update = ops.cast(step, "float32") + 1.0
        return self.peak_learning_rate * ops.minimum(update / self.warmup_steps, self.after_warmup(update))

    def after_warmup(self, update):
        """The share of the peak at an update after the warm-up. Before it, at least the share of the warm-up."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_seq")
class InverseSquareRoot(_Warmup):
    """Linear warm-up, then decay with the inverse square root of the update's number.

        rate(n) = peak_learning_rate * min(n / warmup_steps, sqrt(warmup_steps / n)),   n = 1, 2, ...

    The same curve under its other parametrization, `factor * units ** -0.5 * min(n ** -0.5, n * warmup ** -1.5)`
    ("noam"), has the peak `factor / sqrt(units * warmup)`.

    Args:
        peak_learning_rate: the highest rate, reached at update `warmup_steps`.
        warmup_steps: length of the warm-up in updates.
    Raises:
        ValueError: if one of them is not positive.
    Example:
        >>> rate = schedules.InverseSquareRoot(1e-3, warmup_steps=100)
        >>> [f"{float(rate(update - 1)):.1e}" for update in (50, 100, 400)]
        ['5.0e-04', '1.0e-03', '5.0e-04']
    Source: Vaswani et al. 2017, section 5.3, arXiv:1706.03762.
    """

    def after_warmup(self, update):
        return ops.sqrt(self.warmup_steps / update)

    def get_config(self):
        return {"peak_learning_rate": self.peak_learning_rate, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("keras_seq")
class LinearDecay(_Warmup):
    """Linear warm-up, then linear decay to zero at the end of training.

        rate(n) = peak_learning_rate * min(n / warmup_steps, (total_steps - n) / (total_steps - warmup_steps)),  >= 0

    Args:
        peak_learning_rate: the highest rate, reached at update `warmup_steps`.
        warmup_steps: length of the warm-up in updates.
        total_steps: number of the update from which on the rate is zero.
    Raises:
        ValueError: if one of them is not positive, or `warmup_steps` is not below `total_steps`.
    Example:
        >>> rate = schedules.LinearDecay(1e-3, warmup_steps=100, total_steps=300)
        >>> [f"{float(rate(update - 1)):.1e}" for update in (50, 100, 200, 300)]
        ['5.0e-04', '1.0e-03', '5.0e-04', '0.0e+00']
    Source: Devlin et al. 2019, appendix A.2, arXiv:1810.04805.
    """

    def __init__(self, peak_learning_rate: float, warmup_steps: int, total_steps: int):
        super().__init__(peak_learning_rate, warmup_steps)
        if total_steps <= warmup_steps:
            raise ValueError(f"`total_steps` must exceed `warmup_steps`={warmup_steps}. Received: {total_steps}")
        self.total_steps = total_steps

    def after_warmup(self, update):
        return ops.maximum((self.total_steps - update) / (self.total_steps - self.warmup_steps), 0.0)

    def get_config(self):
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


@keras.saving.register_keras_serializable("keras_seq")
class InverseSigmoid(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from nearly zero along a sigmoid, for `layers.ScheduledSampling`.

        rate(n) = peak * (1 - k / (k + exp(n / k))),   n = 0, 1, ...

    Args:
        peak: limit that the rate approaches.
        k: slowness of the rise: half the peak is reached at n = k log k.
    Raises:
        ValueError: if `peak` is not from 0 to 1, or `k` is below 1.
    Example:
        >>> rate = schedules.InverseSigmoid(0.5, k=100)
        >>> print(f"{float(rate(0)):.3f} {float(rate(100 * np.log(100))):.3f} {float(rate(2000)):.3f}")
        0.005 0.250 0.500
    Source: Bengio et al. 2015, section 2.4, arXiv:1506.03099, where the share of true tokens falls instead.
    """

    def __init__(self, peak: float, k: float):
        super().__init__()
        if not 0 <= peak <= 1:
            raise ValueError(f"`peak` must be from 0 to 1. Received: {peak}")
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: {k}")
        self.peak = peak
        self.k = k

    def __call__(self, step):
        # k / (k + e^x) is the sigmoid of log k - x.
        return self.peak * ops.sigmoid(ops.cast(step, "float32") / self.k - math.log(self.k))

    def get_config(self):
        return {"peak": self.peak, "k": self.k}


@keras.saving.register_keras_serializable("keras_seq")
class Progress(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the share of the training that is done, for training whose number of updates is not known before.

        rate = Progress(LinearDecay(1e-3, warmup_steps=50, total_steps=1000), total_steps=1000)
        rate.progress.assign(0.4)       # by a callback: from now on, the rate of step 400

    Args:
        schedule: schedule of steps from 0 to `total_steps`.
        total_steps: number of the step at which the training is complete.
    Attributes:
        progress: variable, the share that is done, from 0 to 1.
    Example:
        >>> rate = schedules.Progress(schedules.LinearDecay(1e-3, warmup_steps=10, total_steps=110), total_steps=110)
        >>> _ = rate.progress.assign(0.5)
        >>> print(f"{float(rate(0)):.2e}")
        5.40e-04
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, total_steps: int):
        super().__init__()
        self.schedule = schedule
        self.total_steps = total_steps
        self.progress = keras.Variable(0.0, dtype="float32", trainable=False, name="progress")

    def __call__(self, step):
        return self.schedule(self.progress * self.total_steps)

    def get_config(self):
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "total_steps": self.total_steps}

    @classmethod
    def from_config(cls, config):
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["total_steps"])
