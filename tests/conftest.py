"""What every test shares: a cache of its own, few threads, and hypothesis in a repeatable mode."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

hypothesis.settings.register_profile("edgekit", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("edgekit")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never read or write the user's cache."""
    before = os.environ.get("EDGEKIT_CACHE")
    os.environ["EDGEKIT_CACHE"] = str(tmp_path_factory.mktemp("edgekit_cache"))
    yield
    if before is None:
        del os.environ["EDGEKIT_CACHE"]
    else:
        os.environ["EDGEKIT_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """The suite runs in parallel processes: one must not take every core."""
    import torch

    torch.set_num_threads(1)
