"""The process of a model: `python -m keras_seq.serving.worker FOLDER`, with messages on stdin and stdout.

A message has an `id` and names in `do` a method of `Answers`. Its answer has the same id. A stream has an answer for
each piece, and one with `end`. A stream runs beside the batches, in a thread of its own, until `stop` names its id.
"""

import os
import sys
import threading
import traceback
from typing import Any

from keras_seq.quiet import start_quickly, start_quietly
from keras_seq.serving.wire import Message, packed, read


class Channel:
    """stdin and stdout of the process. What else it prints goes to stderr."""

    def __init__(self):
        self._answers = os.fdopen(os.dup(1), "wb")
        self._messages = os.fdopen(os.dup(0), "rb")
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def receive(self) -> Message | None:
        return read(self._messages)

    def send(self, **fields: Any) -> None:
        with self._lock:
            self._answers.write(packed(fields))
            self._answers.flush()


def main(folder: str) -> None:
    """Loads the model and answers until stdin ends."""
    channel = Channel()
    start_quietly()
    start_quickly()
    try:
        from keras_seq.serving.answering import Answers
        from keras_seq.serving.describing import description
        from keras_seq.serving.loading import load

        task = load(folder)
        answers = Answers(task)
        described = description(task)
    except Exception as error:
        if not isinstance(error, ValueError | OSError | ImportError):
            traceback.print_exc()
        channel.send(id=0, error=f"{error}")
        return
    channel.send(id=0, **described)
    serve(channel, answers)


def serve(channel: Any, answers: Any) -> None:
    """Answers the messages of a channel, until it ends."""
    stops: dict[int, threading.Event] = {}
    while (message := channel.receive()) is not None:
        fields, number = message.fields, message.fields["id"]
        if fields["do"] == "stop":
            if (stop := stops.get(number)) is not None:  # the thread of the stream removes it
                stop.set()
        elif fields["do"] == "stream":
            stops[number] = threading.Event()
            threading.Thread(target=_stream, args=(channel, answers, message, stops), daemon=True).start()
        else:
            channel.send(id=number, **_answer(getattr(answers, fields["do"]), message))


def _answer(method: Any, message: Message) -> dict[str, Any]:
    try:
        return method(message.fields, message.blobs)
    except Exception as error:
        return _refusal(error)


def _refusal(error: Exception) -> dict[str, Any]:
    """The error as an answer: of the request (`bad`), or of the program."""
    from keras_seq.serving.plain import reason_of

    bad = isinstance(error, ValueError | TypeError) or _of_tensorflow(error)
    if not bad:  # without the message, which may have texts of the request
        print("".join(traceback.format_tb(error.__traceback__)), type(error).__name__, file=sys.stderr)
    return {"error": reason_of(error), "bad": bad}


def _of_tensorflow(error: Exception) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.InvalidArgumentError)


def _stream(channel: Any, answers: Any, message: Message, stops: dict[int, threading.Event]) -> None:
    number = message.fields["id"]
    try:
        for piece in answers.stream(message.fields, message.blobs):
            if stops[number].is_set():
                break
            channel.send(id=number, piece=piece)
        channel.send(id=number, end=True)
    except Exception as error:
        channel.send(id=number, end=True, **_refusal(error))
    finally:
        del stops[number]


if __name__ == "__main__":
    main(sys.argv[1])
