"""The twin of a run in PyTorch: trains on what twin.py exported, and prints a JSON line a result.

Run with a Python that has PyTorch, which need not be the project's. Arguments: file, threads.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main() -> int:
    """Train; print the version, then step, loss (nats per token) and seconds of training."""
    import numpy as np
    import torch

    exported = np.load(sys.argv[1])
    settings: dict[str, Any] = json.loads(str(exported["settings"]))
    torch.set_num_threads(int(sys.argv[2]))
    torch.manual_seed(settings["seed"])
    print(json.dumps({"version": torch.__version__}), flush=True)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            size, units = settings["embedding_size"], settings["units"]
            layers, rate = settings["num_layers"], settings["dropout"]
            self.embedding = torch.nn.Embedding(settings["vocab_size"], size)
            between = rate if layers > 1 else 0.0
            self.lstm = torch.nn.LSTM(size, units, layers, batch_first=True, dropout=between)
            self.dropout = torch.nn.Dropout(rate)
            self.logits = torch.nn.Linear(units, settings["vocab_size"])

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.logits(self.dropout(self.lstm(self.embedding(tokens))[0]))

    network = Network()
    groups = [
        {
            "params": [p for n, p in network.named_parameters() if ("bias" in n) == is_bias],
            "weight_decay": 0.0 if is_bias else settings["weight_decay"],
        }
        for is_bias in (False, True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-7, fused=True)

    def nats(tokens: torch.Tensor) -> torch.Tensor:
        logits = network(tokens[:, :-1])
        flat = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
        )
        return flat.view(tokens.shape[0], -1)

    valid = torch.tensor(exported["valid"].astype(np.int64))
    weights = torch.tensor(exported["weights"])
    batch = exported["train"].shape[1]

    def evaluate() -> float:
        network.eval()
        with torch.no_grad():
            total = sum(
                float((nats(rows) * weight).sum())
                for rows, weight in zip(valid.split(batch), weights.split(batch), strict=True)
            )
        network.train()
        return total / float(weights.sum())

    rates = settings["learning_rates"]
    started = time.perf_counter()
    for step, (tokens, rate) in enumerate(zip(exported["train"], rates, strict=True), start=1):
        rows = torch.tensor(tokens.astype(np.int64))
        counts = (rows[:, 1:] > 1).float()  # not PAD, not START, which follows END always
        loss = (nats(rows) * counts).sum() / counts.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if step % settings["eval_every"] == 0 or step == len(rates):
            seconds = time.perf_counter() - started
            line = {"step": step, "loss": evaluate(), "seconds": seconds}
            print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
