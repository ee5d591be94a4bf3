"""What ONNX Runtime traces of a model: the graph that it made of the file, and how long each node of it took.

Boards run this file too: it takes no more than Python, numpy and the runtime. `operators/onnxruntime.py` reads what it gives.
"""

from __future__ import annotations

import base64
import collections
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.profiling import timing

if TYPE_CHECKING:
    from edgekit.runtimes import Array
    from edgekit.runtimes.onnxruntime import OnnxRuntimeSession

_SUFFIX = "_kernel_time"
_BESIDE = {
    "session.optimized_model_external_initializers_file_name": "weights.bin",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}
"""Keeps weights out of the graph's file: nobody reads them there."""


def of_nodes(session: OnnxRuntimeSession, model_file: Path, arrays: Sequence[Array]) -> dict[str, Any]:
    """A trace of `model_file`, run on `arrays` in a session like `session`, as JSON holds it: the `graph` that was executed, as
    an ONNX file in base64 without its weights; the `shapes` of the inputs by their names; how many `runs` there were; and by
    name its `nodes`, those of branches and loops among them: each its `operator`, its median `time_s` over the runs, and the
    types and shapes of what it was `given` and `gave` in the last.
    """
    feed = {spec.name: array for spec, array in zip(session.inputs, arrays, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.onnx")
        traced = session.fresh(
            model_file,
            _BESIDE,
            enable_profiling=True,
            profile_file_prefix=str(Path(folder, "trace")),
            optimized_model_filepath=str(executed),
        )
        runs = timing.repeated(lambda: traced.run(None, feed), clock=time.perf_counter)
        events = json.loads(Path(traced.end_profiling()).read_text(encoding="utf-8"))
        graph = base64.b64encode(executed.read_bytes()).decode()
    by_node: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            by_node[event["name"].removesuffix(_SUFFIX)].append(event)
    nodes = {name: _node(of_it[-runs:]) for name, of_it in by_node.items()}
    return {"graph": graph, "shapes": {name: array.shape for name, array in feed.items()}, "runs": runs, "nodes": nodes}


def _node(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told = events[-1]["args"]
    return {
        "operator": told["op_name"],
        "time_s": statistics.median(event["dur"] for event in events) / 1e6,
        "given": told["input_type_shape"],
        "gave": told["output_type_shape"],
    }
