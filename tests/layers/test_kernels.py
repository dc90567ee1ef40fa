"""On another backend no kernel of TensorFlow's is asked for."""

import keras

from keras_seq.layers import GRU
from keras_seq.layers.kernels import Obstacle, cudnn_obstacles


def test_another_backend_is_the_only_obstacle(monkeypatch):
    layer = GRU(2, unroll=True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    obstacle = Obstacle("backend", "torch", "tensorflow")
    assert cudnn_obstacles(layer) == [obstacle] == layer.fast_loop_obstacles()
