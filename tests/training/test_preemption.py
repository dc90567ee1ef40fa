import gc
import os
import signal
import threading

import pytest

from keras_seq.training import Preemption


@pytest.fixture
def received():
    """The signals that reach the handler which was there before."""
    numbers, before = [], {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_are_noted_inside_the_block_only(received):
    with Preemption((signal.SIGTERM, signal.SIGUSR1)) as preemption:
        assert preemption.requested is None
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested == "SIGUSR1" and received == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.requested == "SIGUSR1" and received == [signal.SIGTERM]


def test_other_signals_are_left_alone(received):
    with Preemption() as preemption:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert preemption.requested is None and received == [signal.SIGUSR1]


def test_one_that_was_never_ended_ends_with_its_owner(received):
    preemption = Preemption()
    preemption.__enter__()
    del preemption
    gc.collect()
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_in_another_thread_nothing_is_changed(received):
    found = []

    def run():
        with Preemption() as preemption:
            found.append((preemption.requested, signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(None, before)]
