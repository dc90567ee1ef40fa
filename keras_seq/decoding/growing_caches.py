"""Caches of keys and values that are as long as what they hold, not as what they may hold when a search ends."""

from typing import Any

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    from keras_seq.decoding import loops_tensorflow

FIRST_STEPS = 16  # steps of a search for which the first caches have room


class GrowingCaches:
    """Cuts the caches of a search's first state short, and doubles them when they are full.

    Each step of a search attends to the whole of a cache, and a beam search reorders it. With caches for all steps, the
    cost of a token would grow with `max_length`, however short the outputs are. The results are the same.

    Args:
        state: a nest of tensors. A dict in it with `"position"`, int `(N,)`, the number of steps of each row so far,
            may have `"caches"`, a nest of tensors `(N, H, L, D / H)` with room for all L steps. Where there are none,
            or tensors of a loop cannot grow, states stay as they are.
    """

    def __init__(self, state: Any):
        self._rooms = []

        def add(caches, used):
            self._rooms.append(_length(caches))
            return caches

        if _can_grow():
            _with_caches(state, add)
        if all(isinstance(room, int) and room <= FIRST_STEPS for room in self._rooms):
            self._rooms = []

    def cut(self, state: Any) -> Any:
        """The first state, with caches for what they hold and a few steps more."""
        return _with_caches(state, lambda caches, used: _cut(caches, used + FIRST_STEPS)) if self._rooms else state

    def grown(self, state: Any) -> Any:
        """A state, with room for one more step."""
        rooms = iter(self._rooms)
        return _with_caches(state, lambda *caches: _grown(*caches, next(rooms))) if self._rooms else state


def _can_grow() -> bool:
    return keras.backend.backend() == "tensorflow" and loops_tensorflow.sizes_may_change()


def _with_caches(state, change):
    """The state with `change(caches, used)` in place of each "caches". `used` is the step count of the fullest row."""
    if isinstance(state, dict):
        used = ops.max(state["position"], initial=0) if {"caches", "position"} <= set(state) else None
        return {
            name: _with_caches(part, change) if used is None or name != "caches" else change(part, used)
            for name, part in state.items()
        }
    if isinstance(state, (list, tuple)):
        return type(state)(_with_caches(part, change) for part in state)
    return state


def _length(caches):
    return ops.shape(keras.tree.flatten(caches)[0])[2]


def _cut(caches, length):
    return keras.tree.map_structure(lambda x: loops_tensorflow.of_unknown_size(x[:, :, :length], axis=2), caches)


def _grown(caches, used, room):
    """The caches, doubled if they have no room for one more step, but not longer than `room`."""
    length = _length(caches)

    def longer():
        more = ops.minimum(length, room - length)
        return keras.tree.map_structure(lambda x: ops.pad(x, [[0, 0], [0, 0], [0, more], [0, 0]]), caches)

    return ops.cond(ops.logical_and(used >= length, length < room), longer, lambda: caches)
