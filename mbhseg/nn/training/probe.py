"""Measure which precision, batch and number of threads train fastest on this machine.

What a recipe leaves to the machine says `probe`. Each candidate trains the recipe's network on
noise for a few steps, in a process of its own: TensorFlow fixes its threads when it starts and
gives memory back only when it ends. The measurements and the choice are one JSON, an input of the
training, so that a resumed or repeated training uses the same choice.
"""

import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mbhseg.classes import CLASSES
from mbhseg.config.defaults import defaults
from mbhseg.config.run_names import PROBED
from mbhseg.errors import InputError
from mbhseg.nn import device
from mbhseg.nn.feed.store import CHANNELS
from mbhseg.nn.network.models import build_model
from mbhseg.nn.patches import Patch
from mbhseg.nn.recipe import TrainingRecipe
from mbhseg.nn.training.losses import make_loss
from mbhseg.nn.training.optimizers import make_optimizer

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]

# Candidates this close to the fastest are a tie, which noise would decide: then the fewest threads,
# the smaller batch and float32 win.
TOLERANCE = 0.05


class Candidate(NamedTuple):
    """One way to train; the fields are keys of the config's `training` object."""

    precision: str
    batch: int
    threads: int


class Measured(NamedTuple):
    """A candidate's images per second (0 if it failed), peak memory, and why it failed."""

    candidate: Candidate
    images_per_second: float
    peak_mb: float = 0.0
    failure: str = ""


def probe(
    network: Mapping[str, Any],
    training: Mapping[str, Any],
    size: int,
    cores: int | None = None,
) -> dict[str, Any]:
    """Measure, and return `choice`, `measured`, and the `size` and `cores` measured with.

    network, training: the objects of the config; keys of `training` that say `probe` are chosen,
    the others stay. Candidates are `training["probe"]`'s batches and threads, the latter up to
    `cores`, and both precisions. One key is chosen after the other (threads, then precision,
    then batch), so that a dozen candidates take six measurements.

    Raises InputError if no candidate trains.
    """
    cores = cores or len(os.sched_getaffinity(0))
    options = _options(training, cores)
    current = {key: values[0] for key, values in options.items()}
    measured: dict[Candidate, Measured] = {}
    for key in ("threads", "precision", "batch"):
        tried = [Candidate(**{**current, key: value}) for value in options[key]]
        if len(tried) == 1:
            continue
        for candidate in tried:
            if candidate not in measured:
                measured[candidate] = _measure_apart(candidate, network, training, size)
                log.info("%s", measured[candidate])
        best = choose([measured[candidate] for candidate in tried])
        if best is None:
            raise InputError(
                "training",
                f"no candidate of the probe trains: {measured[tried[0]].failure}",
                "Give batch, precision and threads as values, or a smaller network",
            )
        current[key] = getattr(best, key)
    return {
        "choice": {key: current[key] for key in PROBED if training[key] == "probe"},
        "measured": [
            {**m.candidate._asdict(), **{k: v for k, v in m._asdict().items() if k != "candidate"}}
            for m in measured.values()
        ],
        "size": size,
        "cores": cores,
    }


def _options(training: Mapping[str, Any], cores: int) -> dict[str, list[Any]]:
    """The values to try for each key, the preferred first; the one value of a key that has one."""
    tried = training["probe"]
    threads = sorted({count for count in tried["threads"] if count <= cores}) or [cores]
    options = {
        "threads": threads,
        "precision": list(device.PRECISIONS),
        "batch": sorted(set(tried["batches"])),
    }
    given = {key: [training[key]] for key in PROBED if training[key] != "probe"}
    return options | given


def choose(measured: Sequence[Measured]) -> Candidate | None:
    """The first that comes within `TOLERANCE` of the fastest; None if all failed."""
    fastest = max((m.images_per_second for m in measured), default=0.0)
    near = [m for m in measured if m.images_per_second >= (1 - TOLERANCE) * fastest > 0]
    return near[0].candidate if near else None


def resolved(training: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `training` object with the probe's choice in place of every `probe`.

    Raises InputError if a key says `probe` and `found` holds no choice for it.
    """
    whole = dict(training)
    for key in PROBED:
        if whole.get(key) == "probe":
            if found is None or key not in found["choice"]:
                raise InputError(
                    f"training.{key}", "says probe and was not measured", "Run the probe first"
                )
            whole[key] = found["choice"][key]
    return whole


def _measure_apart(
    candidate: Candidate, network: Mapping[str, Any], training: Mapping[str, Any], size: int
) -> Measured:
    """`measure` in a process of its own; if it dies, such as of memory, the candidate failed."""
    job = json.dumps([list(candidate), dict(network), dict(training), size])
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=job,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Measured(candidate, 0.0, failure=last)
    speed, peak_mb = json.loads(done.stdout.splitlines()[-1])
    return Measured(candidate, speed, peak_mb)


def measure(
    candidate: Candidate, network: Mapping[str, Any], training: Mapping[str, Any], size: int
) -> tuple[float, float]:
    """Images per second after the first step, and this process's peak memory in MB."""
    # `training` may hold only the keys that decide the speed
    whole = {**defaults()["training"], **training, **candidate._asdict()}
    recipe = TrainingRecipe.from_config(whole)
    device.configure(threads=recipe.threads, deterministic=recipe.deterministic)
    device.check(require_gpu=recipe.require_gpu)
    patch = Patch.of(recipe.patch, size, network) or Patch(size, size, 1)
    model = build_model(
        network,
        size=size if recipe.patch is None else None,
        channels=CHANNELS,
        classes=len(CLASSES),
        dtype=device.dtype_policy(recipe.precision),
    )
    model.compile(
        optimizer=make_optimizer(recipe.optimizer, recipe.schedule, steps_per_epoch=1, epochs=1),
        loss=make_loss(recipe.loss),
        jit_compile=False,
    )
    rng = np.random.default_rng(0)
    shape = (recipe.batch, patch.rows, patch.columns)
    images = rng.integers(0, 256, (*shape, CHANNELS), np.uint8)
    labels = rng.integers(0, len(CLASSES), shape, np.uint8)
    seconds = []
    for _ in range(1 + recipe.probe.steps):
        began = time.perf_counter()
        model.train_on_batch(images, labels)
        seconds.append(time.perf_counter() - began)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return recipe.batch / statistics.median(seconds[1:]), peak_mb  # the first one compiles


def main() -> None:
    """Measure the candidate given as JSON on the standard input."""
    candidate, network, training, size = json.load(sys.stdin)
    print(json.dumps(measure(Candidate(*candidate), network, training, size)))


if __name__ == "__main__":
    main()
