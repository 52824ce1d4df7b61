"""Who reads which lanes, and in how many steps: from the manifest alone, before any batch.

No TensorFlow here: what does not fit is said at once, and every rank comes to the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.dataset.manifest import Manifest, Shard


def check_sharing(manifest: Manifest, *, size: int, global_batch_size: int) -> None:
    """Nothing, if so many workers can share such batches of this data set.

    Raises ValueError that names the nearest values that work.
    """
    lanes = manifest.num_lanes
    if size < 1 or lanes % size:
        fitting = [n for n in range(1, lanes + 1) if lanes % n == 0]
        raise ValueError(
            f"{size} workers do not divide the {lanes} lanes of this data set: some would read "
            f"more than others. Use {_nearest(size, fitting)} workers, or run "
            f"pipeline/preprocess.py with --num-lanes {-(-lanes // max(size, 1)) * max(size, 1)}"
        )
    if global_batch_size < 1 or global_batch_size % lanes:
        below = max(global_batch_size, 0) // lanes * lanes
        fitting = [n for n in (below, below + lanes) if n > 0]
        raise ValueError(
            f"a global batch of {global_batch_size} cannot be shared equally by {lanes} lanes. "
            f"Use --global-batch-size {_nearest(global_batch_size, fitting)}"
        )


def check_fit(
    manifest: Manifest,
    *,
    size: int,
    global_batch_size: int,
    sequence_length: int,
    whole_pieces: bool = False,
) -> None:
    """Nothing, if these workers can train like this on this data set. From the manifest alone.

    Raises ValueError that names what would work.
    """
    check_sharing(manifest, size=size, global_batch_size=global_batch_size)
    longest = manifest.longest("train")
    if whole_pieces:
        if sequence_length < (needed := room_for_pieces(manifest)):
            raise ValueError(
                f"sequence length {sequence_length} does not hold whole pieces: the longest has "
                f"{needed} tokens. Use --sequence-length auto, or --windows stream"
            )
    elif not 1 <= sequence_length <= longest:
        raise ValueError(
            f"sequence length {sequence_length} does not fit: the longest train piece has "
            f"{longest} tokens. Use --sequence-length auto, or 1 to {longest}"
        )
    empty = [lane for lane, shards in enumerate(manifest.lanes("train")) if not _tokens_in(shards)]
    if empty:
        raise ValueError(
            f"{len(empty)} of {manifest.num_lanes} lanes hold no train piece (the first: lane "
            f"{empty[0]}); the split has {manifest.num_pieces('train')} pieces. Run "
            "pipeline/preprocess.py with a smaller --num-lanes, or on more scores"
        )


def room_for_pieces(manifest: Manifest) -> int:
    """Tokens of the longest piece that a training meets."""
    return max(manifest.longest(split) for split in ("train", "valid"))


def tokens_per_step(
    manifest: Manifest, *, sequence_length: int, global_batch_size: int, whole_pieces: bool
) -> int:
    """Tokens of the global batch; where windows are whole pieces, on average."""
    if whole_pieces:
        mean = manifest.num_tokens("train") / manifest.num_pieces("train")
        return round(global_batch_size * mean)
    return global_batch_size * sequence_length


def steps_per_epoch(
    manifest: Manifest,
    *,
    sequence_length: int,
    global_batch_size: int,
    whole_pieces: bool = False,
) -> int:
    """Steps in which as many targets, or whole pieces, pass as the train split has, rounded down.

    From the manifest alone, so it is known before step 0 and equal on all ranks. Raises ValueError
    where the batch or the sequence length does not fit the data set.
    """
    check_fit(
        manifest,
        size=1,
        global_batch_size=global_batch_size,
        sequence_length=sequence_length,
        whole_pieces=whole_pieces,
    )
    if whole_pieces:
        pieces = manifest.num_pieces("train")
        if pieces < global_batch_size:
            raise ValueError(
                f"{pieces} train pieces are less than one step of {global_batch_size}. Use "
                f"--global-batch-size {pieces // manifest.num_lanes * manifest.num_lanes} or less, "
                "or preprocess more scores"
            )
        return pieces // global_batch_size
    tokens = manifest.num_tokens("train")
    steps = tokens // (sequence_length * global_batch_size)
    if not steps:
        lanes = manifest.num_lanes
        largest = tokens // sequence_length // lanes * lanes
        advice = (
            f"Use --global-batch-size {largest} or less"
            if largest
            else f"Use --sequence-length {tokens // lanes} or less with a batch of {lanes}"
        )
        raise ValueError(
            f"{tokens} train tokens are less than one step of {global_batch_size} windows x "
            f"{sequence_length} tokens. {advice}, or preprocess more scores"
        )
    return steps


def local_lanes(num_lanes: int, *, rank: int, size: int) -> range:
    """The lanes that a worker holds, in the order of its batch's rows."""
    return range(rank, num_lanes, size)


def evaluation_steps(
    manifest: Manifest,
    split: str,
    *,
    sequence_length: int,
    global_batch_size: int,
    whole_pieces: bool = False,
) -> int:
    """Batches of `evaluation_batches`: as many as the longest lane needs, equal on all ranks."""
    rows = global_batch_size // manifest.num_lanes
    if whole_pieces:
        largest_lane = max(sum(shard.num_pieces for shard in x) for x in manifest.lanes(split))
        return -(-largest_lane // rows)
    longest_lane = max(_tokens_in(shards) for shards in manifest.lanes(split))
    return -(-longest_lane // (rows * sequence_length))


def _tokens_in(shards: Sequence[Shard]) -> int:
    return sum(shard.num_tokens for shard in shards)


def _nearest(wanted: int, fitting: Sequence[int]) -> str:
    """The fitting values below and above the wanted one: '16 or 32'."""
    below = [n for n in fitting if n < wanted][-1:]
    above = [n for n in fitting if n > wanted][:1]
    return " or ".join(str(n) for n in below + above)
