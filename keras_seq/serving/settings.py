"""The numbers that a server keeps to."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits of batches, requests and processes. `keras-seq serve --help` describes each."""

    batch_tokens: int = 2048
    max_wait_ms: float = 5.0
    width_ratio: float = 1.25
    max_queue: int = 512
    max_streams: int = 4
    max_body: int = 4_000_000
    max_items: int = 128
    max_tokens: int = 1000
    max_output_tokens: int = 1000
    deadline: float = 60.0
    batch_seconds: float = 120.0
    workers: int = 1
    threads: int | None = None
    poll_seconds: float = 2.0
    token: str | None = None
    hosts: tuple[str, ...] = ()
    log_inputs: bool = False
