"""One training as Keras' `fit` sees it: feed, loss, optimizer, callbacks; new or resumed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import keras
import numpy as np

from mbhseg.errors import Stopped
from mbhseg.imaging.windows import Window
from mbhseg.nn import device
from mbhseg.nn.checkpoint.interrupt import Interrupt, Interrupted
from mbhseg.nn.checkpoint.resume import Attributes, Ledger, Part, parts_of
from mbhseg.nn.feed.loader import TrainingFeed
from mbhseg.nn.feed.store import SliceStore
from mbhseg.nn.network.supervision import with_heads
from mbhseg.nn.patches import Patch
from mbhseg.nn.recipe import TrainingRecipe
from mbhseg.nn.training.bar import Progress
from mbhseg.nn.training.callbacks import (
    AverageWeights,
    EpochTimes,
    KeepBest,
    StopWhen,
    Validate,
    WriteHistory,
    direction,
)
from mbhseg.nn.training.events import WriteEvents
from mbhseg.nn.training.losses import METRICS, Loss, make_loss
from mbhseg.nn.training.optimizers import learning_rate_reducer, make_optimizer
from mbhseg.nn.training.pictures import PreviewFolder, choose_previews
from mbhseg.nn.training.save_callback import Checkpoint, restore_parts


class TrainOutputs(NamedTuple):
    """Where a training writes: files, and the folder of previews."""

    model: Path
    history: Path
    curves: Path
    events: Path
    run_json: Path
    previews: Path

    @classmethod
    def within(cls, folder: Path) -> Self:
        """All in one folder, named as the workflow names them."""
        return cls(
            model=folder / "model.keras",
            history=folder / "history.csv",
            curves=folder / "curves.png",
            events=folder / "events.out.tfevents",
            run_json=folder / "run.json",
            previews=folder / "previews",
        )


class Fitted(NamedTuple):
    """The best epoch's scores, what ended the training, and timings."""

    best: dict[str, float]
    ended_by: str
    timings: dict[str, Any]


class Fit:
    """One training: the constructor makes what it needs, `run` trains, once."""

    def __init__(
        self,
        model: keras.Model,
        recipe: TrainingRecipe,
        store: SliceStore,
        windows: tuple[Window, ...],
        patch: Patch | None,
        seed: int,
        outputs: TrainOutputs,
        title: str,
        ledger: Ledger,
    ) -> None:
        self._recipe, self._store, self._ledger = recipe, store, ledger
        self._patch = patch
        epoch, step = ledger.position
        threads = recipe.threads if device.gpus() else 1  # with a GPU the cores are free
        self._feed = TrainingFeed(
            store,
            store.subset("train"),
            batch=recipe.batch,
            sampling=recipe.sampling,
            augmentation=recipe.augmentation,
            windows=windows,
            seed=seed,
            targets=recipe.targets,
            patch=patch,
            first_epoch=epoch,
            first_step=step,
            threads=threads,
            ahead=max(4, 2 * threads),
            devices=recipe.gpus,
        )
        self._loss: Loss = make_loss(recipe.loss)
        # a second model on the same layers is compiled, so that the saved one has no optimizer,
        # loss or auxiliary heads
        self._example = self._feed.make_batch(0, 0)
        with device.scope(recipe.gpus):
            self._model = with_heads(model, recipe.deep_supervision, seed)
            self._compile()
        self._model.skipped = step
        self._interrupt = Interrupt()
        self._make_callbacks(outputs, title)

    def _compile(self) -> None:
        recipe, some = self._recipe, self._example
        self._model.compile(
            optimizer=make_optimizer(
                recipe.optimizer,
                recipe.schedule,
                steps_per_epoch=self._feed.steps_per_epoch,
                epochs=recipe.epochs,
            ),
            loss=self._loss,
            metrics=[METRICS[name] for name in recipe.metrics],
            jit_compile=False,  # XLA is slower on CPUs (measured), and recompiles for a last batch
        )
        self._model.make_variables(some.images[:1], some.labels[:1])

    def _make_callbacks(self, outputs: TrainOutputs, title: str) -> None:
        recipe, valid = self._recipe, self._store.subset("valid")
        mode = direction(recipe.monitor)
        chosen = choose_previews(self._store, valid, recipe.previews.slices)
        previews = PreviewFolder(outputs.previews, self._store, chosen)
        self._times, self._best = EpochTimes(), KeepBest(recipe.monitor)
        self._average, self._events = AverageWeights(), WriteEvents(outputs.events)
        self._progress = Progress(
            recipe.epochs,
            self._feed.steps_per_epoch,
            self._feed.slices_per_epoch,
            self._ledger.position,
        )
        # every callback sees in the logs what those before it put there
        scored: list[keras.callbacks.Callback] = [
            Validate(
                self._loss,
                self._store,
                valid,
                recipe.batch,
                previews,
                recipe.previews.every,
                self._patch,
                self._interrupt.check,
            ),
            self._best,
            WriteHistory(outputs.history, outputs.curves, title),
            self._events,
            self._progress,
            *learning_rate_reducer(recipe.schedule, recipe.monitor, mode),
        ]
        self._stops: dict[str, Any] = {
            "stop file": StopWhen(lambda: self._ledger.stop_asked, "stop file")
        }
        if recipe.time_budget_minutes is not None:
            seconds = 60 * recipe.time_budget_minutes
            self._stops["time budget"] = StopWhen(
                lambda: self._ledger.seconds() > seconds, "time budget"
            )
        if recipe.early_stopping.patience is not None:
            self._stops["early stopping"] = keras.callbacks.EarlyStopping(
                monitor=recipe.monitor, mode=mode, patience=recipe.early_stopping.patience
            )
        scored += self._stops.values()
        self._parts: dict[str, Part] = {
            **parts_of([self._times, *scored]),
            "feed": Attributes(self._feed, ["seconds_waited"]),
        }
        self._checkpoint = Checkpoint(self._ledger, self._parts, self._times, self._interrupt)
        averaged = [] if recipe.optimizer.ema is None else [self._average]
        self._callbacks = [self._times, *averaged, self._checkpoint, *scored]

    def run(self, watching: Sequence[keras.callbacks.Callback] = ()) -> Fitted:
        """Train the remaining epochs; afterwards the model has the best weights.

        `watching` are callbacks that come after the training's own.

        Raises Stopped after a signal, with the state saved.
        """
        saved = self._ledger.saved
        try:
            if saved is not None and "ended_by" in saved:
                restore_parts(self._parts, saved)
                ended_by = str(saved["ended_by"])
            else:
                self._fit([*self._callbacks, *watching])
                ended_by = self._ended_by()
                self._checkpoint.finish(ended_by)
        finally:
            self._feed.close()
            self._progress.close()
            self._events.close()
        self._best.put_back(self._model)
        return Fitted(self._best.best, ended_by, self._timings())

    def _fit(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        with self._interrupt:
            try:
                self._model.fit(
                    device.as_dataset(lambda: iter(self._feed), self._example),
                    initial_epoch=self._ledger.position[0],
                    epochs=self._recipe.epochs,
                    steps_per_epoch=self._feed.steps_per_epoch,
                    callbacks=callbacks,
                    shuffle=False,  # the feed has its own order
                    verbose=0,
                )
            except Interrupted as interrupted:
                self._average.put_back()
                self._checkpoint.save()
                place = f"epoch {self._checkpoint.epoch + 1}, step {self._checkpoint.step}"
                raise Stopped(interrupted.signal, place, self._ledger.keeps) from interrupted

    def _ended_by(self) -> str:
        ends = {name: getattr(stop, "held", None) for name, stop in self._stops.items()}
        early = self._stops.get("early stopping")
        ends["early stopping"] = early is not None and early.stopped_epoch > 0
        return next((name for name, held in ends.items() if held), "last epoch")

    def _timings(self) -> dict[str, Any]:
        seconds, epochs = math.fsum(self._times.training), len(self._times.training)
        # the first epoch includes compilation, so the median epoch gives the speed
        typical = float(np.median(self._times.training))
        return {
            "training_seconds": seconds,
            "validation_seconds": math.fsum(self._times.after),
            "data_wait_seconds": self._feed.seconds_waited,
            "state": dict(self._ledger.costs),
            "images": self._feed.slices_per_epoch * epochs,
            "images_per_second": self._feed.slices_per_epoch / typical,
            "epoch_seconds": self._times.training,
        }
