"""Errors of the collective libraries, in one line."""

from __future__ import annotations

import re

# Of TensorFlow and Horovod, where another rank or the network is the cause; any other error of
# theirs is one of this program, and keeps its traceback.
OF_OTHERS = ("UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError")
OF_HOROVOD = ("HorovodInternalError",)
NODE = re.compile(r"\[*\{\{(function_node|node) [^}]*\}\}\]*\s*")
GRAPH_TRACE = re.compile(
    r"Graph execution error:|Detected at node .*|The error could be from .*|  .*|\[Op:\w+\]|"
    r"Additional GRPC error information .*|:UNKNOWN:Error received from peer .*"
)


def without_nodes(text: str) -> str:
    """A text without TensorFlow's names of graph nodes, such as {{function_node __wrapped__X}}."""
    return NODE.sub("", text)


def first_line(error: BaseException) -> str:
    """The first line of TensorFlow's error, which says what failed, without names of nodes."""
    return without_nodes(str(error)).strip().partition("\n")[0]


def collective_failure(error: BaseException) -> str:
    """A collective's error in one line; empty for an error of any other kind."""
    name, text = type(error).__name__, str(error)
    is_collective = name in OF_OTHERS + OF_HOROVOD or (
        name in ("UnknownError", "InternalError") and "orovod" in text
    )
    if not is_collective:
        return ""
    lines = (GRAPH_TRACE.sub("", without_nodes(line)) for line in text.splitlines())
    return f"a collective failed ({name}): " + " ".join(" ".join(lines).split())
