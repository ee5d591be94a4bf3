"""What a Mac with an iPhone answers, for tests: stands on PATH as `xcrun`, `devicectl` and `xcodebuild`, in whose documented
JSON it answers. Behind it is an app that takes the requests that coremltools copies to it, and gives recorded outputs.

Its state is a folder, named in FAKE_IPHONE: `phone.json` says how the phone is, `container/` is the app's, `answers.json` and
`answers/` hold what the model gives.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_IPHONE"])
GONE = "ERROR: A connection to this device could not be established. (com.apple.dt.CoreDeviceError error 1)"
LOCKED = (
    "ERROR: The application failed to launch. (com.apple.dt.CoreDeviceError error 10002.)\n"
    'The request was denied by service delegate (SBMainWorkspace) for reason: Locked ("Unable to launch the app because the '
    'device was not, or could not be, unlocked").'
)


def phone():
    return json.loads((STATE / "phone.json").read_text())


def keep(**changes):
    (STATE / "phone.json").write_text(json.dumps({**phone(), **changes}))


def refuse(words):
    print(words, file=sys.stderr)
    sys.exit(1)


def after(arguments, *names):
    return arguments[next(arguments.index(name) for name in names if name in arguments) + 1]


def answer(arguments, result):
    content = {"info": {"commandType": "devicectl", "outcome": "success"}, "result": result}
    Path(after(arguments, "-j")).write_text(json.dumps(content))


def listing():
    now = phone()
    return {
        "devices": [
            {
                "identifier": "5F8E2A00-0000-0000-0000-000000000001",
                "connectionProperties": {
                    "pairingState": now["pairing"],
                    "transportType": "wired",
                    "tunnelState": now["tunnel"],
                },
                "deviceProperties": {
                    "name": "Messtelefon",
                    "osVersionNumber": "18.5",
                    "osBuildUpdate": "22F76",
                    "developerModeStatus": now["developer_mode"],
                    "bootState": "booted",
                    "ddiServicesAvailable": True,
                },
                "hardwareProperties": {
                    "deviceType": "iPhone",
                    "marketingName": "iPhone 16e",
                    "platform": "iOS",
                    "productType": "iPhone17,5",
                    "reality": "physical",
                    "udid": "00008140-0000000000000001",
                },
            },
            {
                "identifier": "5F8E2A00-0000-0000-0000-000000000002",
                "connectionProperties": {"pairingState": "paired", "tunnelState": "connected"},
                "deviceProperties": {"name": "Uhr", "osVersionNumber": "11.5"},
                "hardwareProperties": {"deviceType": "appleWatch", "udid": "00008310-0000000000000002"},
            },
        ]
    }


def app(message):
    """The app's answer to a request, and the file that goes with it."""
    asked, parameters = message["method"].partition(".")[2], message["params"]
    now, result = phone(), {"modelID": parameters["modelID"]}
    if asked == "Load":
        resources = STATE / "container/Documents/modelrunnerd/requests/resources" / message["id"]
        assert (resources / parameters["name"]).is_dir(), "the compiled model was sent"
        return {**result, "duration": now["load_ns"], "isCached": now["load_ns"] == 0}, None
    if asked == "Unload":
        return result, None
    assert asked == "Prediction", asked
    if now["fails_with"]:
        return None, now["fails_with"]
    recorded = json.loads((STATE / "answers.json").read_text())
    number = now["predictions"]
    keep(predictions=number + 1)
    outputs = recorded[number % len(recorded)]
    return {
        **result,
        "outputs": outputs,
        "duration": now["predict_ns"] + 1000 * number if now["predict_ns"] else 0,
    }, f"{number % len(recorded)}.bin"


def copy_to(arguments):
    now = phone()
    if now["gone_after"] is not None and now["predictions"] >= now["gone_after"]:
        keep(tunnel="unavailable")
        refuse(GONE)
    source, destination = Path(after(arguments, "--source")), after(arguments, "--destination")
    there = STATE / "container" / destination
    there.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, there)
    else:
        shutil.copy(source, there)
    if there.name == "message.json":
        message = json.loads(there.read_text())
        responses = STATE / "container/Documents/modelrunnerd/responses" / message["id"]
        responses.mkdir(parents=True)
        if now["locked"]:  # the app was not launched
            return answer(arguments, {"source": str(source), "destination": destination})
        result, other = app(message)
        response = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            response["error"] = {"code": -32000, "message": other}
        else:
            response |= {"result": result, "resource": other}
            if other is not None:
                shutil.copy(STATE / "answers" / other, responses / other)
        (responses / "message.json").write_text(json.dumps(response))
    return answer(arguments, {"source": str(source), "destination": destination})


def copy_from(arguments):
    there, destination = STATE / "container" / after(arguments, "--source"), after(arguments, "--destination")
    if not there.is_file():
        refuse("ERROR: Failed to retrieve the file node (com.apple.dt.CoreDeviceError error 7000)")
    shutil.copy(there, destination)
    answer(arguments, {"source": str(there), "destination": destination})


def devicectl(arguments):
    if arguments[:2] == ["list", "devices"]:
        if phone()["listing"] is not None:
            Path(after(arguments, "-j")).write_text(phone()["listing"])
        else:
            answer(arguments, listing())
    elif arguments[:3] == ["device", "info", "details"]:
        if phone()["tunnel"] == "disconnected":
            keep(tunnel="connected")
    elif arguments[:3] == ["device", "install", "app"]:
        assert arguments[-3].endswith(".app"), arguments
        bundle = (Path(arguments[-3]) / "bundle").read_text()
        answer(arguments, {"installedApplications": [{"bundleID": bundle, "databaseUUID": "1"}]})
    elif arguments[:3] == ["device", "process", "launch"]:
        if phone()["locked"]:
            refuse(LOCKED)
        time.sleep(60)
    elif arguments[:3] == ["device", "copy", "to"]:
        copy_to(arguments)
    elif arguments[:3] == ["device", "copy", "from"]:
        copy_from(arguments)
    else:
        raise AssertionError(arguments)


def xcodebuild(arguments):
    settings = dict(one.split("=", 1) for one in arguments if "=" in one and not one.startswith("platform"))
    if phone()["build_fails"]:
        refuse(phone()["build_fails"])
    made = Path(settings["SYMROOT"]) / "Release-iphoneos" / "ModelRunner.app"
    made.mkdir(parents=True)
    (made / "bundle").write_text(settings["PRODUCT_BUNDLE_IDENTIFIER"])


if __name__ == "__main__":
    called, given = Path(sys.argv[0]).name, sys.argv[1:]
    if called == "xcodebuild":
        xcodebuild(given)
    else:
        devicectl(given[1:] if called == "xcrun" else given)
