"""This machine as a device, and how devices are found."""

from __future__ import annotations

import pytest

from edgekit import devices, profiles
from edgekit.devices import host
from edgekit.devices.link.tape import Live
from edgekit.errors import UnknownName, Unsupported, UsageError
from edgekit.profiling import machine
from edgekit.profiling.settings import Settings


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> host.HostDevice:
    monkeypatch.setattr(machine, "usable", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(machine, "fastest_core", lambda: 3)
    return host.connect("host", "", Live())


def test_one_thread_is_pinned_to_the_fastest_core_and_more_are_not(four_cores: host.HostDevice) -> None:
    assert four_cores._cores(Settings()) == (3,)
    assert four_cores._cores(Settings(threads=2)) is None
    assert four_cores._cores(Settings(threads=2, cores=(0, 1))) == (0, 1)


def test_threads_and_cores_that_it_does_not_have_are_refused(four_cores: host.HostDevice) -> None:
    with pytest.raises(UsageError, match="with 5 threads") as caught:
        four_cores.check(Settings(threads=5))
    assert caught.value.next_step == "give a number of threads between 1 and 4"
    with pytest.raises(UsageError, match="on the cores 2, 9") as caught:
        four_cores.check(Settings(cores=(2, 9)))
    assert caught.value.cause == "this machine lets edgekit use 0, 1, 2, 3"


def test_it_says_what_it_is() -> None:
    facts = host.connect("host", "", Live()).facts()
    assert facts.os == machine.os_name()
    assert facts.cores == machine.usable_cores()
    assert host.connected()[0].name == "host"


def test_transports_are_found_by_name() -> None:
    assert devices.transport("host") is host
    assert "link" not in devices.transports()
    with pytest.raises(UnknownName, match="unknown transport 'hots'") as caught:
        devices.transport("hots")
    assert caught.value.next_step == "did you mean host?"


def test_every_shipped_profile_is_this_machine_or_refused_with_a_next_step() -> None:
    for name in profiles.names():
        if profiles.load(name).transport is not None:
            assert devices.connect(name, Live()).name == name
            continue
        if name in devices.transports():
            continue
        with pytest.raises(Unsupported) as caught:
            devices.connect(name, Live())
        assert name in caught.value.what
        assert "edgekit devices" in caught.value.next_step


def test_an_unknown_device_offers_the_near_names() -> None:
    with pytest.raises(UnknownName, match="unknown device 'hst'") as caught:
        devices.connect("hst", Live())
    assert "host" in caught.value.next_step
