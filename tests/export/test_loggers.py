import logging

import pytest

from keras_seq.export.loggers import errors_only


def test_within_the_block_only_errors_are_passed_on(caplog):
    logger = logging.getLogger("a converter")
    with errors_only("a converter", "another one"):
        logger.warning("chatter")
        logger.error("trouble")
    with pytest.raises(KeyError), errors_only("a converter"):
        raise KeyError
    logger.warning("afterwards")
    assert caplog.messages == ["trouble", "afterwards"]
