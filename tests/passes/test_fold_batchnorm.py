"""BatchNorm folds into the layer before it, or into those after it, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, randomise, rewrite
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE = (2, 4, 7, 7)


def _sequence(*layers: nn.Module) -> nn.Module:
    return randomise(nn.Sequential(*layers))


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), IMAGE),
        (nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6, affine=False), IMAGE),
        (nn.Conv2d(4, 4, 3, stride=2, groups=4), nn.BatchNorm2d(4), IMAGE),
        (nn.Conv2d(4, 6, 3, dilation=2, groups=2), nn.BatchNorm2d(6, eps=0.1), IMAGE),
        (nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), (2, 4, 9)),
        (nn.Conv3d(4, 2, 2), nn.BatchNorm3d(2), (1, 4, 3, 3, 3)),
        (nn.Linear(4, 6), nn.BatchNorm1d(6), (3, 4)),
    ],
    ids=["conv", "no bias, no affine", "depthwise", "grouped", "conv1d", "conv3d", "linear"],
)
def test_case_1_folds_into_the_layer_before_it(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    done = rewrite("fold_batchnorm", _sequence(layer, norm), noise(*shape))
    assert done.changed == 1
    assert done.calls == [call for call in done.calls_before if call != "batch_norm"]


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(4, 6, 1), nn.BatchNorm2d(4), IMAGE),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(4), IMAGE),
        (nn.Linear(4, 6), nn.BatchNorm1d(4), (3, 4)),
    ],
    ids=["1x1", "grouped, no padding", "linear"],
)
def test_case_2_folds_into_the_layer_after_it(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> None:
    done = rewrite("fold_batchnorm", _sequence(norm, layer), noise(*shape))
    assert done.changed == 1
    assert "batch_norm" not in done.calls


def test_case_2_folds_into_every_layer_after_it() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        normed = net.norm(x)
        return net.point(normed) + net.depthwise(normed).sum()

    net = Net(forward, norm=nn.BatchNorm2d(4), point=nn.Conv2d(4, 3, 1), depthwise=nn.Conv2d(4, 4, 3, groups=4))
    done = rewrite("fold_batchnorm", randomise(net), noise(*IMAGE))
    assert done.changed == 1
    assert done.calls == ["conv2d", "conv2d", "sum", "add"]


@pytest.mark.parametrize("keepdim", [False, True])
def test_case_3_folds_through_a_spatial_mean_into_the_classifier(keepdim: bool) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.head(net.norm(x).mean((2, 3), keepdim=keepdim).flatten(1))

    net = Net(forward, norm=nn.BatchNorm2d(4), head=nn.Linear(4, 3))
    done = rewrite("fold_batchnorm", randomise(net), noise(*IMAGE))
    assert done.changed == 1
    assert "batch_norm" not in done.calls


def test_case_3_takes_pooling_before_a_convolution_too() -> None:
    module = _sequence(nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1))
    assert rewrite("fold_batchnorm", module, noise(*IMAGE)).changed == 1


def test_a_mean_over_the_channels_is_refused() -> None:
    net = Net(lambda net, x: net.head(net.norm(x).mean((1, 3))), norm=nn.BatchNorm2d(4), head=nn.Linear(7, 3))
    rewrite("fold_batchnorm", randomise(net), noise(*IMAGE)).assert_refused("after it is no layer to fold into")


def test_pooling_that_takes_the_channels_for_rows_is_refused() -> None:
    module = _sequence(nn.BatchNorm1d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(1, 3))
    rewrite("fold_batchnorm", module, noise(2, 4, 5)).assert_refused("after it is no layer to fold into")


def test_a_padded_depthwise_convolution_after_it_is_refused() -> None:
    done = rewrite("fold_batchnorm", _sequence(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1, groups=4)), noise(*IMAGE))
    done.assert_refused("the depthwise convolution conv2d (1) after it pads with zeros, which its shift would have to fill")


def test_a_padded_convolution_takes_a_batchnorm_that_does_not_shift() -> None:
    module = _sequence(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1))
    norm = module[0]
    norm.bias.data = norm.weight.data * norm.running_mean * (norm.running_var + norm.eps).rsqrt()
    assert rewrite("fold_batchnorm", module, noise(*IMAGE)).changed == 1


def test_a_layer_that_something_else_reads_too_keeps_its_batchnorm() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        made = net.conv(x)
        return made, net.norm(made)

    done = rewrite("fold_batchnorm", randomise(Net(forward, conv=nn.Conv2d(4, 4, 1), norm=nn.BatchNorm2d(4))), noise(*IMAGE))
    done.assert_refused("the layer before it has other users, and output after it is no layer to fold into")


@pytest.mark.parametrize(
    ("before", "shape", "reason"),
    [
        (nn.Linear(4, 6), (2, 5, 4), "it normalises axis 1, the linear before it makes axis 2"),
        (nn.ConvTranspose1d(4, 5, 3), (2, 4, 6), "no convolution or linear feeds it"),
        (nn.Conv1d(5, 5, 1), (5, 5), "no convolution or linear feeds it"),
        (nn.ReLU(), (2, 5, 4), "no convolution or linear feeds it"),
    ],
    ids=["linear on three axes", "transposed convolution", "convolution without a batch axis", "activation"],
)
def test_a_layer_with_other_channels_is_refused(before: nn.Module, shape: tuple[int, ...], reason: str) -> None:
    rewrite("fold_batchnorm", _sequence(before, nn.BatchNorm1d(5)), noise(*shape)).assert_refused(reason)


def test_a_linear_over_another_axis_after_it_is_refused() -> None:
    done = rewrite("fold_batchnorm", _sequence(nn.BatchNorm1d(4), nn.Linear(4, 3)), noise(2, 4, 4))
    done.assert_refused("the linear linear (1) after it takes another axis than that of the channels")


@pytest.mark.parametrize(
    "norm",
    [
        lambda net, x: net.untracked(x),
        lambda net, x: F.batch_norm(x, net.mean, net.variance, training=True),
        lambda net, x: F.batch_norm(x, x.mean((0, 2, 3)), x.var((0, 2, 3))),
    ],
    ids=["untracked", "left in training", "computed"],
)
def test_statistics_of_the_batch_are_refused(norm: object) -> None:
    parts = {"untracked": nn.BatchNorm2d(4, track_running_stats=False), "mean": noise(4), "variance": noise(4).abs()}
    net = randomise(Net(lambda net, x: norm(net, net.conv(x)), conv=nn.Conv2d(4, 4, 1), **parts))
    rewrite("fold_batchnorm", net, noise(*IMAGE)).assert_refused("its statistics are not constants")


def test_layers_that_share_a_weight_keep_their_own_folded_one() -> None:
    conv = nn.Conv2d(4, 4, 1)
    done = rewrite("fold_batchnorm", _sequence(conv, nn.BatchNorm2d(4), nn.ReLU(), conv, nn.BatchNorm2d(4)), noise(*IMAGE))
    assert done.changed == 2
    assert done.program.parameter_count() == 2 * (4 * 4 + 4)


def test_a_weight_that_goes_by_two_names_goes_with_both() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.b(F.linear(net.a(F.linear(x, net.first)).relu(), net.second))

    weight = nn.Parameter(noise(4, 4))
    done = rewrite(
        "fold_batchnorm",
        randomise(Net(forward, first=weight, second=weight, a=nn.BatchNorm1d(4), b=nn.BatchNorm1d(4))),
        noise(3, 4),
    )
    assert done.changed == 2
    assert done.program.parameter_count() == 2 * (4 * 4 + 4)


@given(st.data())
def test_random_layers_and_batchnorms_keep_their_outputs(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    groups = data.draw(st.integers(1, 3))
    inputs, outputs = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](
        inputs,
        outputs,
        kernel_size=data.draw(st.integers(1, 3)),
        stride=data.draw(st.integers(1, 2)),
        padding=data.draw(st.integers(0, 1)),
        dilation=data.draw(st.integers(1, 2)),
        groups=groups,
        bias=data.draw(st.booleans()),
    )
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    affine, eps = data.draw(st.booleans()), data.draw(st.sampled_from([1e-5, 0.3]))
    sides = data.draw(st.sampled_from(["before", "after", "both"]))
    layers: list[nn.Module] = [conv]
    if sides != "after":
        layers.insert(0, norm(inputs, eps, affine=affine))
    if sides != "before":
        layers.append(norm(outputs, eps, affine=affine))
    module = randomise(nn.Sequential(*layers), data.draw(st.integers(0, 99)))
    done = rewrite("fold_batchnorm", module, noise(2, inputs, *[6] * dims))
    assert done.changed + len(done.reasons) == len(layers) - 1
