"""The ways in which workers may exchange what they learned, and those that are advised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exchange:
    """In what form the workers exchange what they learned, and after how many steps."""

    compression: str = "none"
    local_steps: int = 1

    @property
    def flags(self) -> str:
        """As flags of hpc/train.py."""
        of_steps = [f"--local-steps {self.local_steps}"] * (self.local_steps > 1)
        of_form = [f"--compression {self.compression}"]
        return " ".join(of_steps + of_form * (self.compression != "none" or not of_steps))


ADVISED = (  # the mildest first
    Exchange("none"),
    Exchange("fp16"),
    Exchange("powersgd:32"),
    Exchange("fp16", local_steps=20),
)
