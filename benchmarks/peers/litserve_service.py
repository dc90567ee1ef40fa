"""The SavedModel behind LitServe, with its batching: `python litserve_service.py`."""

import os

import litserve
from served import Translator


class Served(litserve.LitAPI):
    def setup(self, device):
        self.translator = Translator()

    def decode_request(self, request):
        return request["texts"][0]

    def batch(self, inputs):
        return list(inputs)

    def predict(self, batch):  # a text alone if a batch has one row
        return self.translator([batch])[0] if isinstance(batch, str) else self.translator(batch)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return [output]


if __name__ == "__main__":
    api = Served(max_batch_size=int(os.environ["ROWS"]), batch_timeout=0.005, api_path="/translate")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
