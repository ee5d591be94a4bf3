"""GELU by the hyperbolic tangent in place of the error function (Hendrycks and Gimpel, 1606.08415, section 2):

    gelu(x) = x P(X < x)  ~  x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))

at most 4.8e-4 away, anywhere. The operator stays one, in the form that runtimes have a kernel for.
"""

from __future__ import annotations

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, argument, aten, calls, replace
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

APPROXIMATE = True
MAX_ERROR = 4.8e-4
"""The largest distance from the exact GELU."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Give every exact GELU its approximate form."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.gelu.default):
            if argument(node, 1, "approximate", "none") == "none":
                replace(node, add_call(node, aten.gelu.default, node.args[0], approximate="tanh"))
                changes.changed += 1
    return changes
