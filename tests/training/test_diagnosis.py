import functools

import numpy as np
import pytest

from keras_seq.training import diagnose
from tests.training.planted import MODELS, Planted

planted = functools.cache(Planted)


def check(name: str, seed: int, value: float = np.nan) -> None:
    """Plants a value in a random place of a model and asserts that the diagnosis names that place."""
    model, rng = planted(name), np.random.default_rng(seed)
    kinds = sorted({place.kind for place in model.places})
    kind = kinds[seed % len(kinds)]
    places = [place for place in model.places if place.kind == kind]
    place = places[rng.integers(len(places))]
    with model.planted(place, value, rng) as batch:
        found = diagnose(model.model, batch)
    assert found.origin is not None, (place, str(found))
    told = found.origin.name if kind == "weight" else found.origin.layer
    assert (found.origin.place, found.origin.kind) == (kind, "NaN" if np.isnan(value) else "Inf"), (place, str(found))
    assert told == place.name, (place, str(found))


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_nan_in_a_random_place_is_found_there(name):
    for seed in range(7):  # 105 places
        check(name, seed)
