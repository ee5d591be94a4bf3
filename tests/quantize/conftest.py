"""Fixtures for tests of quantization."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Modules that a test makes have the same weights each time."""
    torch.manual_seed(0)
