import keras
import pytest

from keras_seq.distribution import check, check_distributed
from tests.distribution.bucketed import batches, compiled, small


@pytest.mark.long
def test_a_good_model_is_the_same_everywhere(two_devices):
    report = check_distributed(lambda: compiled(small(), keras.optimizers.SGD(0.1, momentum=0.9)), batches(21), steps=2)
    assert report.same, str(report)
    assert [difference.way for difference in report.differences] == ["2 replicas", "2 accumulated parts"]
    assert str(report).endswith("The same.")


def test_not_a_number_is_never_the_same():
    found = check.Difference("2 replicas", 0.0, "a", float("nan"), "b", 0.0, 0.0, 0.0)
    report = check.DistributedReport(1, 1e-4, (found,))
    assert not report.same
    assert "Later steps differ, most in b" in str(report)


@pytest.mark.long
def test_batch_normalization_parts_and_is_named(two_devices):
    def build():
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(30, 8, name="tokens")(tokens)
        x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(x))
        model = keras.Model(tokens, keras.layers.Dense(30)(x))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    dataset = batches().map(lambda inputs, labels, weights: (inputs["source"], inputs["source"]))
    report = check_distributed(build, dataset, steps=3)
    assert not report.same
    assert report.differences[0].gradient > 1e-3
    assert "The first step differs already, most in the gradient of" in str(report)


def test_dropout_is_refused(two_devices):
    def build():
        model = keras.Sequential([keras.layers.Embedding(30, 8), keras.layers.Dropout(0.5, name="drops")])
        model.compile("sgd", "mse")
        return model

    dataset = batches().map(lambda inputs, labels, weights: (inputs["source"], labels[..., None]))
    with pytest.raises(ValueError, match=r"drops \(rate=0.5\)"):
        check_distributed(build, dataset)


def test_an_empty_dataset_is_refused(two_devices):
    with pytest.raises(ValueError, match="empty"):
        check_distributed(lambda: compiled(small()), batches().take(0))
