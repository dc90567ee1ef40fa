"""Clients of a served translator, for locust. TEXTS is a file with a text a line, URL_PATH and FIELD the request.

RATE is the number of requests a second of all clients (open loop), 0 for as many as are answered (closed loop).
"""

import os
import pathlib
import random

from locust import FastHttpUser, constant, constant_throughput, task

TEXTS = pathlib.Path(os.environ["TEXTS"]).read_text(encoding="utf-8").splitlines()
RATE = float(os.environ["RATE"])


class Client(FastHttpUser):
    wait_time = constant_throughput(RATE / int(os.environ["CLIENTS"])) if RATE else constant(0)
    connection_timeout = network_timeout = 120.0

    @task
    def translate(self):
        self.client.post(os.environ["URL_PATH"], json={os.environ["FIELD"]: [random.choice(TEXTS)]})
