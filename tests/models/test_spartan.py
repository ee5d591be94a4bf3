"""SpaRTAN has the published cost."""

from __future__ import annotations

import published
import pytest
import torch

from edgekit.models import spartan

SMALLEST = spartan.VARIANTS["spartan_s"]


def test_parameters_are_the_published_ones_to_one_decimal() -> None:
    assert round(published.parameters(SMALLEST) / 1e6, 1) == SMALLEST.published_params / 1e6


def test_macs_are_within_five_percent() -> None:
    assert published.macs(SMALLEST) == pytest.approx(SMALLEST.published_macs, rel=0.05)


def test_each_pixel_adds_the_wave_of_its_strongest_channel() -> None:
    """By hand, with real numbers: what the complex form of the channel mixer means."""
    torch.manual_seed(0)
    mixer, x = spartan.ChannelMixer(8, 2, early=True).eval(), published.noise(1, 8, 4, 4)
    seen: list[torch.Tensor] = []
    mixer.conv.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        mixer(x)
        waves = mixer.proj(x) * torch.nn.functional.gelu(mixer.theta(x))
        for row, column in torch.cartesian_prod(torch.arange(4), torch.arange(4)):
            own = waves[0, :, row, column]
            real, imag = (own + own[x[0, :, row, column].argmax()]).unflatten(0, (-1, 2)).unbind(1)
            a, b = mixer.complex[0, 0, 0].unbind(1)
            turned = torch.stack([a * real - b * imag, a * imag + b * real], dim=1).flatten()
            torch.testing.assert_close(seen[0][0, :, row, column], turned)
