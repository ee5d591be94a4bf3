"""The training itself. Every step depends on the seed and its number alone, so that a run that was stopped and goes on ends
with the same weights as one that was not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.artifact import Preprocessing
from edgekit.errors import InputError
from training import kept, pixels
from training.kept import Position
from training.settings import Settings

Labelled = tuple[Tensor, Tensor]
"""Images, uint8 [N, H, W, 3], and their classes, int64 [N]."""

_BETAS = (0.9, 0.99)
_LARGEST_GRADIENT = 1.0
_JUDGED_BATCH = 250
_JUDGED_EACH_EPOCH = 2000
"""Test images after an epoch; the last accuracy is of all of them."""
_SAVED_S, _ANNOUNCED_S = 120.0, 30.0


class Run:
    """A module in training."""

    def __init__(self, settings: Settings, module: nn.Module, how: Preprocessing, train: Labelled, test: Labelled) -> None:
        self.settings, self.how, self.train, self.test = settings, how, train, test
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = module.to(self.device)
        for parameter in module.parameters():
            if parameter.dim() == 4:  # of a whole module, .to would refuse one of five dimensions
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(_groups(module, settings.weight_decay), betas=_BETAS, fused=True)
        self.batch = min(settings.batch, len(train[0]))
        self.epoch_steps = len(train[0]) // self.batch
        self.position = Position()

    @property
    def progress(self) -> float:
        """How far the schedule has come, from 0 to 1."""
        return self.settings.progress(self.position.step / self.epoch_steps, self.position.seconds / 60)

    def go(self, folder: Path, stopped: Callable[[], bool]) -> bool:
        """Train on from where it is, saving to `folder`. False when `stopped` ended it before its schedule did."""
        saved = announced = time.monotonic()
        while self.progress < 1:
            if stopped():
                kept.save(folder, self.settings, self.module, self.optimizer, self.position)
                return False
            self.step()
            if self.position.step % self.epoch_steps == 0:
                self._end_epoch(_JUDGED_EACH_EPOCH)
                saved = 0.0
            if time.monotonic() - saved > _SAVED_S:
                kept.save(folder, self.settings, self.module, self.optimizer, self.position)
                saved = time.monotonic()
            if time.monotonic() - announced > _ANNOUNCED_S:
                print(self._told(), flush=True)
                announced = time.monotonic()
        self._end_epoch(len(self.test[0]))
        kept.save(folder, self.settings, self.module, self.optimizer, self.position)
        return True

    def step(self) -> None:
        """Learn from one batch. Raises InputError where the loss is no number any more."""
        started = _clock(self.device)
        epoch, place = divmod(self.position.step, self.epoch_steps)
        if place == 0:
            self.position.loss = 0.0
        order = torch.randperm(len(self.train[0]), generator=torch.Generator().manual_seed(self.settings.seed + epoch))
        chosen = order[place * self.batch : (place + 1) * self.batch]
        torch.manual_seed(self.settings.seed + self.position.step)
        images = pixels.augmented(self.train[0][chosen].to(self.device), self.how, self.settings.size(self.progress))
        classes = self.train[1][chosen].to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.progress)
        self.module.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            logits = self.module(images)
        loss = F.cross_entropy(logits.float(), classes, label_smoothing=self.settings.smoothing)
        if not loss.isfinite():
            raise InputError(
                f"{self.settings.model}: the loss is {loss.item()} at step {self.position.step}",
                cause="it diverged",
                next_step=f"give a --learning-rate below {self.settings.learning_rate:g}",
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.module.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.position.loss += loss.item()
        self.position.step += 1
        self.position.seconds += _clock(self.device) - started

    def accuracy(self, count: int) -> float:
        """The share of `count` test images, spread evenly, that the module as it is classifies right, in float32."""
        chosen = torch.linspace(0, len(self.test[0]) - 1, min(count, len(self.test[0]))).round().long()
        self.module.eval()
        right = 0
        with torch.inference_mode():
            for part in torch.split(chosen, _JUDGED_BATCH):
                logits = self.module(pixels.normalised(self.test[0][part].to(self.device), self.how))
                right += int((logits.argmax(1).cpu() == self.test[1][part]).sum())
        return right / len(chosen)

    def _end_epoch(self, count: int) -> None:
        judged = min(count, len(self.test[0]))
        self.position.epochs.append(
            {
                "epochs": self.position.step / self.epoch_steps,
                "seconds": round(self.position.seconds, 1),
                "train_loss": self.position.loss / ((self.position.step - 1) % self.epoch_steps + 1),
                "accuracy": self.accuracy(judged),
                "judged_on": judged,
            }
        )
        print(f"{self._told()}; {self.position.epochs[-1]['accuracy']:.1%} of {judged} test images right", flush=True)

    def _told(self) -> str:
        done, images = self.position, self.position.step * self.batch
        return (
            f"{self.progress:.0%}: epoch {done.step / self.epoch_steps:.2f}, {self.settings.size(self.progress)} px, "
            f"loss {done.loss / ((done.step - 1) % self.epoch_steps + 1):.3f}, {images / max(done.seconds, 1e-9):.0f} images/s"
        )


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; biases, norms and scales a channel do not."""

    def is_matrix(parameter: nn.Parameter) -> bool:
        return sum(size > 1 for size in parameter.shape) > 1

    matrices = [parameter for parameter in module.parameters() if is_matrix(parameter)]
    rest = [parameter for parameter in module.parameters() if not is_matrix(parameter)]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _clock(device: torch.device) -> float:
    """Seconds; on a CPU of the processor's time a thread, so that what others take of it shortens no training."""
    return time.monotonic() if device.type == "cuda" else time.process_time() / torch.get_num_threads()
