"""The report of a full record, written once: its ten figures take some seconds."""

import pytest

from keras_seq.comparison import report
from tests.comparison.records import full


@pytest.fixture(scope="session")
def folder(made_once):
    return made_once("report of a comparison", lambda folder: report.write(full(), folder))
