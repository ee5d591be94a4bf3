"""How to build and run the project: the exact commands, and the README that goes with it."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgekit.xcode.project import APP
from edgekit.xcode.scheme import COMPUTE_UNITS

_RESULT = "Result.xcresult"


def commands(artifact: Path, directory: Path) -> tuple[str, ...]:
    """What to type on the Mac, in order; UDID stands for the phone's."""
    common = f"-project {APP}.xcodeproj -scheme {APP} -destination id=UDID -derivedDataPath DerivedData"
    return (
        f"cd {shlex.quote(str(directory))}",
        f"xcodebuild build-for-testing {common} -allowProvisioningUpdates",
        f"xcodebuild test-without-building {common} -resultBundlePath {_RESULT}",
        f"xcrun xcresulttool get test-results metrics --path {_RESULT} --compact > {_RESULT}.json",
        f"edgekit ingest {_RESULT}.json --artifact {shlex.quote(str(artifact.absolute()))} --output results.json",
    )


def readme(model: str, steps: tuple[str, ...]) -> str:
    """The project's README.md."""
    listed = "\n".join(steps)
    units = ", ".join(f"`{name}`" for name in COMPUTE_UNITS)
    return f"""# {model} on an iPhone

Written by `edgekit xcode`. Unverified on hardware: no Mac has built this project yet.

A Mac with Xcode 16.3 or later, an iPhone with Developer Mode on (Settings, Privacy & Security), paired, unlocked, cool and not
in Low Power Mode. `xcrun devicectl list devices` lists the phones; `xcrun xctrace list devices` has their UDIDs.
Signing takes a team: `edgekit xcode --team ID`, or append `DEVELOPMENT_TEAM=ID` to the first two commands.

```
{listed}
```
`{_RESULT}` must not be there yet. The tests run once on each choice of compute units ({units}: the test plan's
configurations); `-only-test-configuration cpuAndNeuralEngine` in the third command runs them on one.

- `testParity`: the model's outputs on this phone against PyTorch's for the reference inputs, at the manifest's bound. If it
  fails, nothing is timed and `xcodebuild` fails.
- `testLoad`: opening the compiled model again, which the phone has specialised for its compute units and cached before.
- `testPredict`: one prediction a sample. `testPredict20InARow`: twenty without a pause a sample, as in a stream of frames;
  XCTest's bookkeeping lets the clocks drop between samples.

Each is measured in wall time, CPU time and memory. `xcrun xcresulttool export attachments --path {_RESULT} --output-path notes`
has the thermal state before and after each test, and the parity in dB.
"""
