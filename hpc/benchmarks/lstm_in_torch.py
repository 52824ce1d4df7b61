"""Steps of the same network in PyTorch, one for every line on stdin; prints the seconds of each.

Run by hpc/benchmarks/lstm.py with a Python that has PyTorch, which need not be the project's.
Arguments: vocabulary, units, layers, batch, time.
"""

from __future__ import annotations

import sys
import time


def main() -> int:
    """Print 'ready', then answer every line with the processor seconds of a training step."""
    import torch

    vocab_size, units, num_layers, batch, length = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    torch.manual_seed(1)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(vocab_size, units)
            self.lstm = torch.nn.LSTM(units, units, num_layers, batch_first=True)
            self.logits = torch.nn.Linear(units, vocab_size)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.logits(self.lstm(self.embedding(tokens))[0])

    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    tokens = torch.randint(0, vocab_size, (batch, length + 1))
    print("ready", torch.__version__, flush=True)
    for _ in sys.stdin:
        started = time.process_time()
        logits = network(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        print(time.process_time() - started, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
