"""ExecuTorch programs, run: what the partitioner and the lowering of this version disagree on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgekit import metrics, passes, profiles
from edgekit.program import capture, load
from edgekit.quiet import quiet
from edgekit.runtimes import executorch as runtime
from edgekit.targets import executorch

PROFILE = profiles.for_target(profiles.load("host"), "executorch")


class Maxima(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = torch.relu(x)
        return torch.max(y, 1)[0], y.amax(1, keepdim=True) + y, y.amax(3), torch.max(y, 2, keepdim=True)[0], y.amax()


class Halves(nn.Module):
    """Two buffers in one storage."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.arange(16.0)
        self.register_buffer("low", whole[:8])
        self.register_buffer("high", whole[8:])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x * self.low) + x * self.high


class SoftmaxOfMaps(nn.Module):
    """Along rows of maps that a convolution made: alone, and as the weights of attention over their columns."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.taken = nn.Conv2d(4, 12, 1), nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.made(x).chunk(3, 1)
        attended = (q @ k.transpose(-2, -1) * 0.3).softmax(-1) @ v
        rows = torch.relu(self.made(x)).softmax(-1)
        return self.taken(attended + x), rows[:, 2:] * rows[:, :-2] + rows.softmax(3)[:, 1:-1]


@pytest.mark.parametrize("kind", [Maxima, Halves, SoftmaxOfMaps])
def test_it_computes_what_the_module_does(kind: type[nn.Module], tmp_path: Path) -> None:
    program = capture(kind(), {"x": torch.randn(1, 4, 6, 8)})
    expected = program.functions["forward"].run(program.functions["forward"].example_inputs)
    passes.run(program, PROFILE)
    program.save(tmp_path)
    with quiet():
        (file,) = executorch.lower(load(tmp_path), PROFILE, tmp_path)
    with runtime.open(file) as session:
        found = session.execute([program.functions["forward"].example_inputs["x"].numpy()])
    for reference, other in zip(expected.values(), found, strict=True):
        assert metrics.sqnr_db(reference.numpy(), other) > 120
