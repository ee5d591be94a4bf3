"""The operators of quantized graphs: PyTorch's own, which PyTorch executes, and which every target's converter reads."""

from __future__ import annotations

import torch
from torch.ao.quantization.fx import _decomposed  # noqa: F401  it registers the operators

decomposed = torch.ops.quantized_decomposed
