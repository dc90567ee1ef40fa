"""Refuses Keras's `class_weight` with labels of steps, which Keras misinterprets."""

import keras
from keras import ops
from keras.src.trainers.data_adapters import data_adapter_utils


def refuse_for_steps() -> None:
    """Patches Keras to refuse `class_weight` for whole-number labels that are not one-hot.

    Keras (3.15) reads labels of steps, `(B, T)`, as one-hot rows: a row would get the weight of the class whose number
    is the place of the row's largest label.
    """
    message = (
        "`class_weight` needs one label or one one-hot row for each example. Keras would read labels of steps, (B, T), "
        "as one-hot rows. Give each step its weight: sample_weight=np.vectorize(class_weight.get)(labels)."
    )
    of_arrays = data_adapter_utils.class_weight_to_sample_weights

    def class_weight_to_sample_weights(y, class_weight):
        labels = ops.convert_to_numpy(y)
        whole = labels.ndim > 1 and labels.shape[-1] != 1 and (labels == labels.astype("int64")).all()
        if whole and not (labels.sum(-1) == 1).all():
            raise ValueError(message)
        return of_arrays(y, class_weight)

    data_adapter_utils.class_weight_to_sample_weights = class_weight_to_sample_weights
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf
    from keras.src.trainers.data_adapters import tf_dataset_adapter

    of_datasets = tf_dataset_adapter.make_class_weight_map_fn

    def make_class_weight_map_fn(class_weight):
        weighted = of_datasets(class_weight)

        def map_fn(*data):
            _, y, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
            checks = []
            if not keras.tree.is_nested(y) and y.shape.rank and y.shape.rank > 1 and y.shape[-1] != 1:
                one_hot = tf.reduce_all(tf.reduce_sum(y, axis=-1) == tf.cast(1, y.dtype))
                parts = tf.reduce_any(tf.cast(tf.cast(y, tf.int64), y.dtype) != y)  # soft labels
                checks = [tf.debugging.Assert(one_hot | parts, [message])]
            with tf.control_dependencies(checks):
                return tf.nest.map_structure(tf.identity, weighted(*data))

        return map_fn

    tf_dataset_adapter.make_class_weight_map_fn = make_class_weight_map_fn
