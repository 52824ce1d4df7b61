"""Which windows form a batch, which worker reads them, and how many steps there are.

All of it follows from the manifest and a few numbers, before any batch is made and without
TensorFlow: a plan that does not fit is refused at once, and every rank comes to the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dataset.manifest import Manifest, Shard


@dataclass(frozen=True)
class BatchPlan:
    """How a data set is cut into batches, and which part of each batch one worker reads.

    Making one checks that it fits the data set: raises ValueError that names what would.
    """

    manifest: Manifest
    sequence_length: int  # targets in a window; with `whole_pieces`, of the longest one
    global_batch_size: int  # windows a step over all workers
    rank: int = 0
    size: int = 1  # number of workers
    whole_pieces: bool = False  # True: every window is one piece; False: a cut of the stream
    seed: int = 0  # decides order and keys of the train split
    max_transpose: int = 0  # semitones by which a train piece may move, up or down
    own_key: float = 0.0  # share of the passes in which a train piece does not move

    def __post_init__(self) -> None:
        check_sharing(self.manifest, size=self.size, global_batch_size=self.global_batch_size)
        self._check_length()
        self._check_lanes()
        if not self.steps_per_epoch:
            raise ValueError(self._why_no_step())

    @property
    def local_batch_size(self) -> int:
        """Windows a step of one worker."""
        return self.global_batch_size // self.size

    @property
    def rows_per_lane(self) -> int:
        """Windows a step of one lane."""
        return self.global_batch_size // self.manifest.num_lanes

    @property
    def local_lanes(self) -> range:
        """The lanes that this worker reads, in the order of its batch's rows."""
        return range(self.rank, self.manifest.num_lanes, self.size)

    @property
    def tokens_per_step(self) -> int:
        """Targets of the global batch; on average, where windows are whole pieces."""
        if self.whole_pieces:
            mean = self.manifest.num_tokens("train") / self.manifest.num_pieces("train")
            return round(self.global_batch_size * mean)
        return self.global_batch_size * self.sequence_length

    @property
    def steps_per_epoch(self) -> int:
        """Steps that hold as many targets (or pieces) as the train split has, rounded down."""
        if self.whole_pieces:
            return self.manifest.num_pieces("train") // self.global_batch_size
        return self.manifest.num_tokens("train") // (self.sequence_length * self.global_batch_size)

    def evaluation_steps(self, split: str) -> int:
        """Batches of one pass over a split: as many as its longest lane needs, on every rank."""
        lanes = self.manifest.lanes(split)
        if self.whole_pieces:
            most_pieces = max(sum(shard.num_pieces for shard in shards) for shards in lanes)
            return -(-most_pieces // self.rows_per_lane)
        most_tokens = max(_tokens_in(shards) for shards in lanes)
        return -(-most_tokens // (self.rows_per_lane * self.sequence_length))

    def _check_length(self) -> None:
        longest = self.manifest.longest("train")
        if self.whole_pieces:
            if self.sequence_length < (needed := room_for_pieces(self.manifest)):
                raise ValueError(
                    f"sequence length {self.sequence_length} does not hold whole pieces: the "
                    f"longest has {needed} tokens. Use --sequence-length auto, or --windows stream"
                )
        elif not 1 <= self.sequence_length <= longest:
            raise ValueError(
                f"sequence length {self.sequence_length} does not fit: the longest train piece has "
                f"{longest} tokens. Use --sequence-length auto, or 1 to {longest}"
            )

    def _check_lanes(self) -> None:
        manifest = self.manifest
        lanes = manifest.lanes("train")
        if empty := [lane for lane, shards in enumerate(lanes) if not _tokens_in(shards)]:
            raise ValueError(
                f"{len(empty)} of {manifest.num_lanes} lanes hold no train piece (the first: lane "
                f"{empty[0]}); the split has {manifest.num_pieces('train')} pieces. Run "
                "pipeline/preprocess.py with a smaller --num-lanes, or on more scores"
            )

    def _why_no_step(self) -> str:
        """The error of a train split that is smaller than one batch."""
        lanes = self.manifest.num_lanes
        if self.whole_pieces:
            pieces = self.manifest.num_pieces("train")
            return (
                f"{pieces} train pieces are less than one step of {self.global_batch_size}. Use "
                f"--global-batch-size {pieces // lanes * lanes} or less, or preprocess more scores"
            )
        tokens = self.manifest.num_tokens("train")
        largest = tokens // self.sequence_length // lanes * lanes
        advice = (
            f"Use --global-batch-size {largest} or less"
            if largest
            else f"Use --sequence-length {tokens // lanes} or less with a batch of {lanes}"
        )
        return (
            f"{tokens} train tokens are less than one step of {self.global_batch_size} windows x "
            f"{self.sequence_length} tokens. {advice}, or preprocess more scores"
        )


def check_sharing(manifest: Manifest, *, size: int, global_batch_size: int) -> None:
    """Raise ValueError unless the workers can share the lanes and the batch equally.

    The error names the nearest values that work.
    """
    lanes = manifest.num_lanes
    if size < 1 or lanes % size:
        fitting = [n for n in range(1, lanes + 1) if lanes % n == 0]
        needed = -(-lanes // max(size, 1)) * max(size, 1)
        raise ValueError(
            f"{size} workers do not divide the {lanes} lanes of this data set: some would read "
            f"more than others. Use {_nearest(size, fitting)} workers, or run "
            f"pipeline/preprocess.py with --num-lanes {needed} and train with a "
            f"--global-batch-size that {needed} divides"
        )
    if global_batch_size < 1 or global_batch_size % lanes:
        below = max(global_batch_size, 0) // lanes * lanes
        fitting = [n for n in (below, below + lanes) if n > 0]
        raise ValueError(
            f"a global batch of {global_batch_size} cannot be shared equally by {lanes} lanes. "
            f"Use --global-batch-size {_nearest(global_batch_size, fitting)}"
        )


def room_for_pieces(manifest: Manifest) -> int:
    """Tokens of the longest piece of the train and valid splits."""
    return max(manifest.longest(split) for split in ("train", "valid"))


def _tokens_in(shards: Sequence[Shard]) -> int:
    return sum(shard.num_tokens for shard in shards)


def _nearest(wanted: int, fitting: Sequence[int]) -> str:
    """The fitting values below and above the wanted one: '16 or 32'."""
    below = [n for n in fitting if n < wanted][-1:]
    above = [n for n in fitting if n > wanted][:1]
    return " or ".join(str(n) for n in below + above)
