"""A checkpoint is loaded whole or refused with the keys, their number and the likeliest cause."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit import checkpoint, models, weights
from edgekit.checkpoint import Checkpoint
from edgekit.errors import WeightsError
from edgekit.models import Variant

_VARIANT = models.find("lsnet_t")
_State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return models.build(_VARIANT)


@pytest.fixture(scope="module")
def state(module: nn.Module) -> _State:
    return {name: torch.full_like(tensor, 0.5) for name, tensor in module.state_dict().items()}


def _refusal(module: nn.Module, path: Path, state: _State, variant: Variant = _VARIANT) -> WeightsError:
    torch.save(state, path)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        weights.load_into(module, checkpoint.read(path), variant)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items()), "nothing half-loaded"
    assert f"{path} does not fit lsnet_t" in caught.value.what
    return caught.value


def test_every_weight_of_a_fitting_checkpoint_arrives(tmp_path: Path, state: _State) -> None:
    module = models.build(_VARIANT)
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "w.pth")
    weights.load_into(module, checkpoint.read(tmp_path / "w.pth"), _VARIANT)
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items() if name not in counters)


def test_batchnorm_s_counters_may_be_missing(tmp_path: Path, state: _State) -> None:
    older = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    assert len(older) < len(state)
    torch.save(older, tmp_path / "w.pth")
    weights.load_into(models.build(_VARIANT), checkpoint.read(tmp_path / "w.pth"), _VARIANT)


def test_missing_unexpected_and_misshaped_keys_are_counted_and_named(tmp_path: Path, module: nn.Module, state: _State) -> None:
    broken = dict(state)
    for name in ("head.l.bias", "head.bn.weight"):
        del broken[name]
    broken |= {f"surprise.{n}": torch.ones(1) for n in range(5)}
    broken["head.l.weight"] = torch.ones(7, 384)
    error = _refusal(module, tmp_path / "w.pth", broken)
    assert "2 missing (head.bn.weight, head.l.bias)" in error.what
    assert "5 unexpected (surprise.0, surprise.1, surprise.2, ...)" in error.what
    assert "1 of another shape (head.l.weight)" in error.what
    assert "changed or partial copy" in error.cause
    assert error.next_step


def test_a_checkpoint_of_another_variant_says_which(tmp_path: Path, module: nn.Module) -> None:
    error = _refusal(module, tmp_path / "w.pth", models.build(models.find("lsnet_t_distill")).state_dict())
    assert error.cause == "these are the weights of lsnet_t_distill"
    assert "export lsnet_t_distill instead" in error.next_step


@pytest.mark.parametrize("name", ["lsnet_t", "lsnet_t_distill", "casvit_xs", "affnet_et", "spartan_s"])
def test_a_checkpoint_s_classes_are_its_variant_s(tmp_path: Path, name: str) -> None:
    published = models.find(name)
    ours = published.with_classes(10)
    torch.save(models.build(ours).state_dict(), tmp_path / "w.pth")
    loaded = checkpoint.read(tmp_path / "w.pth")
    found = weights.with_classes_of(loaded, published)
    assert found == ours
    assert found.labels is None, "its classes are not ImageNet's"
    weights.load_into(models.build(found), loaded, found)


def test_a_checkpoint_of_the_published_classes_keeps_their_names(module: nn.Module) -> None:
    assert weights.with_classes_of(Checkpoint(Path("w.pth"), module.state_dict(), None), _VARIANT) is _VARIANT


def test_a_checkpoint_without_one_number_of_classes_changes_nothing(state: _State) -> None:
    changes: list[_State] = [
        {"head.l.bias": torch.ones(10)},
        {"head.l.bias": torch.tensor(1.0), "head.l.weight": torch.tensor(1.0)},
    ]
    for change in changes:
        assert weights.with_classes_of(Checkpoint(Path("w.pth"), {**state, **change}, None), _VARIANT) is _VARIANT
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("head")}
    assert weights.with_classes_of(Checkpoint(Path("w.pth"), headless, None), _VARIANT) is _VARIANT


def _normalised(width: int, momentum: float | None = 0.1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width, momentum=momentum), nn.Dropout(0.5)).eval()


def test_initialising_is_deterministic_by_name_and_shape() -> None:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module = _normalised(4)
        weights.initialise(module, (1, 3, 8, 8))
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    other = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    weights.initialise(other, (1, 3, 8, 8))
    assert torch.equal(other.state_dict()["0.weight"], states[0]["0.weight"])


def test_initialising_switches_nothing_off_and_leaves_the_module_as_it_was() -> None:
    module = _normalised(4, momentum=0.3)
    weights.initialise(module, (1, 3, 8, 8))
    assert all((tensor != 0).all() for name, tensor in module.state_dict().items() if "num_batches" not in name)
    assert all(tensor.dtype == torch.float32 for tensor in module.parameters())
    assert not any(part.training for part in module.modules())
    assert module[1].momentum == 0.3


def test_initialised_activations_keep_their_size_through_depth() -> None:
    module = nn.Sequential(*(_normalised(3) for _ in range(3)))
    weights.initialise(module, (1, 3, 32, 32))
    spread = module(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))).std()
    assert 0.01 < float(spread.detach()) < 10
