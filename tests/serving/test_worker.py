"""The loop of a model's process, with messages and answers of the test."""

import io
import threading
import types

import pytest

from keras_seq.serving import worker
from keras_seq.serving.wire import Message, packed


class Channel:
    """Gives the worker the messages of the test, which may be made while it answers."""

    def __init__(self, messages):
        self._messages, self.sent, self.news = iter(messages), [], threading.Condition()

    def receive(self):
        fields = next(self._messages, None)
        return None if fields is None else Message(fields, [])

    def send(self, **fields):
        with self.news:
            self.sent.append(fields)
            self.news.notify_all()

    def wait_for(self, fields):
        with self.news:
            assert self.news.wait_for(lambda: fields in self.sent, 30), self.sent


class Echo:
    """Stands for `Answers`."""

    def __init__(self, task=None):
        self.task, self.go_on = task, threading.Event()

    def details(self, fields, blobs):
        raise {"bad": ValueError, "lost": KeyError}[fields["input"]](f"no {fields['input']} in /srv/models/a.txt")

    def call(self, fields, blobs):
        return {"answers": [fields["input"], len(blobs)]}

    def stream(self, fields, blobs):
        for piece in fields["input"].split():
            if piece == "wait":
                assert self.go_on.wait(30)
            elif piece == "bad":
                raise ValueError("a bad piece")
            else:
                yield piece


def served(messages, answers=None):
    channel = Channel(messages)
    worker.serve(channel, answers or Echo())
    return channel.sent


def test_each_message_gets_its_answer_or_the_error(capsys):
    messages = [
        {"id": 1, "do": "call", "input": "a"},
        {"id": 2, "do": "details", "input": "bad"},
        {"id": 3, "do": "details", "input": "lost"},
        {"id": 4, "do": "stop"},  # of a stream that has ended
    ]
    assert served(messages) == [
        {"id": 1, "answers": ["a", 0]},
        {"id": 2, "error": "no bad in a.txt", "bad": True},
        {"id": 3, "error": "'no lost in a.txt'", "bad": False},
    ]
    printed = capsys.readouterr().err  # where the program failed, and no text of the request
    assert "in details" in printed and printed.endswith("KeyError\n") and "no lost" not in printed


def test_a_stream_runs_beside_other_messages_until_it_is_stopped():
    answers = Echo()

    def messages():
        yield {"id": 1, "do": "stream", "input": "a wait b c"}
        channel.wait_for({"id": 1, "piece": "a"})
        yield {"id": 2, "do": "call", "input": "x"}
        yield {"id": 1, "do": "stop"}
        answers.go_on.set()
        channel.wait_for({"id": 1, "end": True})
        yield {"id": 3, "do": "stream", "input": "d bad"}
        channel.wait_for({"id": 3, "end": True, "error": "a bad piece", "bad": True})
        yield {"id": 4, "do": "stream", "input": "e"}
        channel.wait_for({"id": 4, "end": True})

    channel = Channel(messages())
    worker.serve(channel, answers)
    assert channel.sent == [
        {"id": 1, "piece": "a"},
        {"id": 2, "answers": ["x", 0]},
        {"id": 1, "end": True},
        {"id": 3, "piece": "d"},
        {"id": 3, "end": True, "error": "a bad piece", "bad": True},
        {"id": 4, "piece": "e"},
        {"id": 4, "end": True},
    ]


@pytest.fixture
def main(monkeypatch):
    """`main(load, *messages)` is what `worker.main` sends, with another function to load and `Echo` for `Answers`."""

    def run(load, *messages):
        channel = Channel(messages)
        monkeypatch.setattr(worker, "Channel", lambda: channel)
        for name in ("start_quietly", "start_quickly"):
            monkeypatch.setattr(worker, name, lambda: None)
        monkeypatch.setattr("keras_seq.serving.loading.load", load)
        monkeypatch.setattr("keras_seq.serving.answering.Answers", Echo)
        monkeypatch.setattr("keras_seq.serving.describing.description", lambda task: {"task": task})
        worker.main("folder")
        return channel.sent

    return run


def test_the_task_is_described_before_the_first_answer(main):
    sent = main(lambda folder: f"task of {folder}", {"id": 1, "do": "call", "input": "a"})
    assert sent == [{"id": 0, "task": "task of folder"}, {"id": 1, "answers": ["a", 0]}]


@pytest.mark.parametrize(
    "error, printed", [(ValueError, False), (OSError, False), (ImportError, False), (IndexError, True)]
)
def test_a_model_that_cannot_be_loaded_is_the_only_answer(main, capsys, error, printed):
    """The stack is shown of an error that only a fault of the program raises."""

    def load(folder):
        raise error(f"{folder} is damaged")

    assert main(load, {"id": 1, "do": "call", "input": "a"}) == [{"id": 0, "error": "folder is damaged"}]
    assert ("Traceback" in capsys.readouterr().err) == printed


def test_the_channel_keeps_other_prints_out_of_the_answers(monkeypatch):
    """Its answers go to a copy of stdout, which is stderr from then on."""
    calls, files = [], {10: io.BytesIO(packed({"id": 1}, [b"sound"])), 11: io.BytesIO()}

    def dup(number):
        calls.append(f"dup {number}")
        return number + 10

    dup2 = lambda one, other: calls.append(f"{other} is {one}")  # noqa: E731
    fake = types.SimpleNamespace(dup=dup, dup2=dup2, fdopen=lambda number, mode: files[number])
    monkeypatch.setattr(worker, "os", fake)
    channel = worker.Channel()
    assert calls.index("dup 1") < calls.index("1 is 2") and "dup 0" in calls
    assert channel.receive() == Message({"id": 1}, [b"sound"]) and channel.receive() is None
    channel.send(id=1, piece="a")
    assert files[11].getvalue() == packed({"id": 1, "piece": "a"})
