"""A subject on a phone, with the program that runs it: sent, run once, its outputs checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekit import artifact, parity, reference_inputs, runtimes, scratch
from edgekit.devices import Opened
from edgekit.devices.link import phone_runner
from edgekit.devices.link.adb import TapedFiles
from edgekit.devices.link.phone_program import PhoneProgram
from edgekit.devices.link.runner_trial import Ran, usual_run_s
from edgekit.errors import Unsupported
from edgekit.profiling.measurement import DeviceParity
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject
from edgekit.runtimes import Array, TensorSpec

_FIRST_RUNS = 10
"""Tell how long a run takes, and so how many make a block."""


class PhoneModel:
    """`opened` and `run_s` tell how its first process went.

    Raises Unsupported for a model that the program cannot run as asked, and DeviceError for whatever the phone refuses.
    """

    def __init__(
        self,
        program: PhoneProgram,
        files: TapedFiles,
        folder: str,
        subject: Subject,
        settings: Settings,
        cores: tuple[int, ...] | None,
    ) -> None:
        self._program, self._files, self._settings, self._cores = program, files, settings, cores
        self._folder = f"{folder}/{subject.label.replace(' ', '_')}"
        if subject.directory is None:
            raise Unsupported(
                f"{subject.name} cannot be measured on a phone",
                cause="a bare file brings no inputs",
                next_step="give an artifact that `edgekit export` wrote",
            )
        self._artifact = artifact.load(subject.directory)
        inputs, outputs = runtimes.borders(self._artifact.manifest)
        if program.kind.GIVES_OUTPUTS and any(spec.max_shape not in (None, spec.shape) for spec in inputs):
            raise Unsupported(
                f"{subject.name} cannot be measured on a phone",
                cause=f"its batch is dynamic, and {program.kind.NAME} runs such models at their largest",
                next_step="export it without --max-batch",
            )
        for file in self._artifact.manifest.files:
            if file.path != artifact.REFERENCE:
                files.push(subject.directory / file.path, f"{self._folder}/{file.path}")
        self._given, _ = reference_inputs.read(subject.directory / artifact.REFERENCE)
        shapes = subject.shapes or [spec.shape for spec in inputs]
        # In another batch than it is stored in, it is repeated.
        arrays = {spec.name: np.resize(self._given[0][spec.name], shape) for spec, shape in zip(inputs, shapes, strict=True)}
        self._inputs = self._send_inputs("", arrays)
        self.run_s = 0.0
        told = _whole(self.run(_FIRST_RUNS))
        self.run_s = usual_run_s(told.told)
        self.opened = Opened(
            runtime=program.runtime,
            inputs="the first reference input",
            io_bytes=sum(array.nbytes for array in arrays.values()) + sum(map(_bytes, outputs)),
            input_shapes={name: array.shape for name, array in arrays.items()},
            threads=settings.threads,
            spinning=settings.spinning is not False if program.kind.SPINS else None,
            load_s=told.told.load_s,
            load_was_cold=False,
            first_run_s=told.told.first_run_s,
            parity=self._parity(outputs) if program.kind.GIVES_OUTPUTS else None,
        )

    def run(self, runs: int) -> Ran:
        """Run it in a fresh process, `runs` times after the first."""
        return self._run(self._inputs, runs)

    def _run(self, inputs: Sequence[str], runs: int, *, outputs: bool = False) -> Ran:
        settings = self._settings
        arguments = self._program.kind.arguments(
            self._artifact.model_file.name,
            inputs,
            runs=runs,
            threads=settings.threads,
            spinning=settings.spinning,
            outputs=outputs,
        )
        return self._program.run(self._folder, arguments, self._cores, runs=runs, expected_s=runs * self.run_s)

    def _parity(self, specs: Sequence[TensorSpec]) -> DeviceParity:
        """Of what the reference inputs give on the phone."""
        found = []
        for index, arrays in enumerate(self._given):
            _whole(self._run(self._send_inputs(f"reference_{index}/", arrays), 0, outputs=True))
            found.append({spec.name: self._output(number, spec) for number, spec in enumerate(specs)})
        answer = parity.of_outputs(self._artifact, self._program.runtime, found)
        assert answer.sqnr_db is not None
        return DeviceParity(answer.sqnr_db, answer.bound_sqnr_db, answer.sqnr_db >= answer.bound_sqnr_db)

    def _output(self, number: int, spec: TensorSpec) -> Array:
        content = self._files.pull(f"{self._folder}/{phone_runner.OUTPUT}-{number}.bin")
        if len(content) != _bytes(spec):
            raise phone_runner.garbage(self._program.kind.NAME, f"output {spec.name} has {len(content)} bytes", str(spec))
        return np.frombuffer(content, np.dtype(spec.dtype)).reshape(spec.shape)

    def _send_inputs(self, prefix: str, arrays: Mapping[str, Array]) -> list[str]:
        """Their files' paths in the model's folder."""
        contents: dict[str, bytes] = {prefix + name: held for name, held in self._program.kind.input_files(arrays).items()}
        with scratch.folder() as here:
            for name, content in contents.items():
                path = here / Path(name).name
                path.write_bytes(content)
                self._files.push(path, f"{self._folder}/{name}")
        return list(contents)


def _whole(ran: Ran) -> Ran:
    """What came to its end; raises the failure of what did not."""
    if ran.failure is not None:
        raise ran.failure
    return ran


def _bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
