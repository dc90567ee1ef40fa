"""The SavedModel behind BentoML: `bentoml serve bentoml_service:Served`. With ROWS=1 without its adaptive batching."""

import os

import bentoml
from served import Translator

ROWS = int(os.environ["ROWS"])
BATCHES = {"batchable": True, "max_batch_size": ROWS, "max_latency_ms": 60_000} if ROWS > 1 else {}


@bentoml.service(workers=1, traffic={"timeout": 120, "max_concurrency": 1000})
class Served:
    def __init__(self):
        self.translator = Translator()

    @bentoml.api(**BATCHES)
    def translate(self, texts: list[str]) -> list[str]:
        return self.translator(texts)
