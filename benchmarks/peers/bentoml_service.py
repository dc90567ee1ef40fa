"""The SavedModel behind BentoML, with its adaptive batching: `bentoml serve bentoml_service:Served`."""

import os

import bentoml
from served import Translator


@bentoml.service(workers=1, traffic={"timeout": 120, "max_concurrency": 1000})
class Served:
    def __init__(self):
        self.translator = Translator()

    @bentoml.api(batchable=True, max_batch_size=int(os.environ["ROWS"]), max_latency_ms=60_000)
    def translate(self, texts: list[str]) -> list[str]:
        return self.translator(texts)
