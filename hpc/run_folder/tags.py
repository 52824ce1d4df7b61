"""The names under which TensorBoard shows what is measured in a run."""

from __future__ import annotations

# The tags of the scalars in metrics.jsonl, by SPLIT/NAME there. TensorBoard sorts the charts by
# their tags: the numbers put the loss first.
TAGS = {
    "train/loss": "1 loss/train",
    "valid/loss": "1 loss/valid",
    "train/perplexity": "2 perplexity/train",
    "valid/perplexity": "2 perplexity/valid",
    "train/tokens_per_second": "3 speed/tokens per second",
    "valid/tokens_per_second": "3 speed/tokens per second of an evaluation",
    "train/step_seconds": "4 seconds of a step/1 forward, backward, allreduce, update",
    "train/input_seconds": "4 seconds of a step/2 waiting for input",
    "train/evaluate_seconds": "4 seconds of a step/3 evaluating",
    "train/save_seconds": "4 seconds of a step/4 saving",
    "train/other_seconds": "4 seconds of a step/5 other",
    "train/learning_rate": "5 optimizer/learning rate",
    "train/gradient_norm": "5 optimizer/gradient norm",
    "train/host_busy_cores": "6 host of rank 0/busy cores",
    "train/host_memory_gigabytes": "6 host of rank 0/memory in use, GB",
    "train/own_memory_gigabytes": "6 host of rank 0/memory of this process, GB",
    "train/gpu_memory_gigabytes": "6 host of rank 0/GPU memory of this process, GB",
}
EVALUATED = frozenset(tag for name, tag in TAGS.items() if name.startswith("valid/"))
GROUP_OF_MUSIC = "7 music"  # of the samples
OLD_NAMES_OF_MUSIC = {"probability_of_real_token": "probability of a real token"}


def tag_of(name: str) -> str:
    """The tag of a scalar SPLIT/NAME of metrics.jsonl, which was its tag in older versions."""
    group, _, rest = name.partition("/")
    if group == "valid_music":
        return music_tag(OLD_NAMES_OF_MUSIC.get(rest, rest.replace("_", " ")))
    return TAGS.get(name, name)


def music_tag(name: str) -> str:
    """The tag of something that is measured, heard or seen of composed music."""
    return f"{GROUP_OF_MUSIC}/{name}"
