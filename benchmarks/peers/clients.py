"""Clients of a served translator, for locust. TEXTS is a file with a text a line, URL_PATH and FIELD the request.

RATE is the number of requests a second of all clients together. They come at random moments, and no client waits for an
answer before its next request (open loop). With 0 each client sends its next request after an answer (closed loop).
All servers get the same texts at the same moments. Each request is a line of the file TIMES: the moment at which it was
sent, its seconds, and whether it failed.
"""

import itertools
import json
import os
import pathlib
import random

from gevent.pool import Group
from locust import FastHttpUser, events, task

TEXTS = pathlib.Path(os.environ["TEXTS"]).read_text(encoding="utf-8").splitlines()
RATE, CLIENTS = float(os.environ["RATE"]), int(os.environ["CLIENTS"])
NUMBERS = itertools.count()


@events.request.add_listener
def note(start_time, response_time, exception, **_):
    with open(os.environ["TIMES"], "a", encoding="utf-8") as file:
        print(json.dumps([start_time, response_time / 1000, exception is not None]), file=file)


class Client(FastHttpUser):
    connection_timeout = network_timeout = 60.0
    concurrency = 1000  # connections of one client

    def __init__(self, *args):
        super().__init__(*args)
        self.random, self.asked = random.Random(next(NUMBERS)), Group()

    def wait_time(self):
        return self.random.expovariate(RATE / CLIENTS) if RATE else 0

    def on_start(self):
        if RATE:
            self.wait()

    @task
    def translate(self):
        text = self.random.choice(TEXTS)
        if RATE:
            self.asked.spawn(self.ask, text)
        else:
            self.ask(text)

    def ask(self, text):
        self.client.post(os.environ["URL_PATH"], json={os.environ["FIELD"]: [text]})

    def on_stop(self):
        self.asked.join()
