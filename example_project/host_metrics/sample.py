from dataclasses import dataclass


@dataclass
class Sample:
    """What a machine does in one second."""

    at: float
    cpu_percent: float
    memory_percent: float
    memory_used_bytes: int
    memory_total_bytes: int
    received_bytes_per_s: int
    sent_bytes_per_s: int
    host: str
    process: int
