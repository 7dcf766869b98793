"""The machine: threads, determinism, precision, and which device computes.

It calls TensorFlow directly, as `mbhseg.nn.training.events` does; the rest of the package calls
Keras alone.
"""

import contextlib
import functools
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from mbhseg.errors import InputError

log = logging.getLogger(__name__)

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_AMPERE = (8, 0)  # first compute capability with bfloat16 tensor cores
_CPU_BFLOAT16 = {"amx_bf16", "avx512_bf16"}
_CPU_INT8 = {"amx_int8", "avx512_vnni", "avx_vnni"}  # others saturate sums at 16 bits


def configure(*, threads: int, deterministic: bool) -> None:
    """Set the number of CPU threads and whether operations must be deterministic.

    Call it before the first tensor is made: TensorFlow fixes its threads then. The number of
    threads is part of what makes two runs equal, as it decides how sums are split.
    """
    for current, change in (
        (
            tf.config.threading.get_intra_op_parallelism_threads,
            tf.config.threading.set_intra_op_parallelism_threads,
        ),
        (
            tf.config.threading.get_inter_op_parallelism_threads,
            tf.config.threading.set_inter_op_parallelism_threads,
        ),
    ):
        if current() == threads:
            continue
        try:
            change(threads)
        except RuntimeError:
            log.warning("TensorFlow has already started and keeps %d threads", current())
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def configure_as(run: Mapping[str, Any], threads: int) -> None:
    """Compute as the training did that `run`, its run.json, records.

    So the same model gives the same labels on any number of cores. `threads` is used where the run
    records none, as an imported one does.
    """
    training = run["training"]
    used = int(training.get("threads", threads))
    tell_threads(used, threads)
    configure(threads=used, deterministic=bool(training.get("deterministic", True)))


def tell_threads(used: int, granted: int) -> None:
    """Log why a job computes with another number of CPU threads than Snakemake granted it."""
    if used != granted:
        log.info(
            "%d CPU threads, though %d are granted: training.threads is part of the recipe, "
            "as it decides the order of sums",
            used,
            granted,
        )


def threads() -> int:
    """The CPU threads that `configure` set, else the cores that this process may use."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


def gpus() -> list[str]:
    """Names of the GPUs that TensorFlow sees; empty if none."""
    devices = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    return [str(detail.get("device_name", "GPU")) for detail in details]


def describe() -> dict[str, Any]:
    """The device for logs and run.json: kind, name, count."""
    found = gpus()
    if found:
        return {"kind": "gpu", "name": found[0], "count": len(found)}
    return {"kind": "cpu", "name": _cpu_name(), "count": 1}


def scope(count: int) -> contextlib.AbstractContextManager[Any]:
    """Where to build and compile a network that `count` GPUs of this machine train together.

    Every batch is divided among them and their gradients are summed, by
    tf.distribute.MirroredStrategy, which is Keras' way with TensorFlow. Losses that pool a batch,
    such as soft Dice, pool each GPU's part of it, and a norm clips each part's gradients.
    Without a GPU, CPU devices are used, of which TensorFlow has one unless told otherwise.

    Raises InputError if there are fewer devices.
    """
    if count == 1:
        return contextlib.nullcontext()
    names = [device.name for device in _logical_devices()]
    if count > len(names):
        found = len(tf.config.list_logical_devices("GPU"))
        raise InputError(
            "training.gpus",
            f"asks for {count} and TensorFlow sees {found} here",
            "Lower it, or ask the cluster for as many",
        )
    return _strategy(tuple(names[:count])).scope()


def _logical_devices() -> list[Any]:
    return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")


@functools.cache
def _strategy(names: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(names)


def as_dataset(begin: Callable[[], Iterator[Any]], example: Any) -> tf.data.Dataset:
    """What `begin` iterates over, as data that `fit` may divide among the devices of a `scope`.

    Each iteration starts over: with several devices `fit` looks at the first batch and then starts
    again, so a plain iterator would lose batches. `example` is a batch; all batches have its
    arrays' types and shapes, except for the length of the first axis.
    """
    signature = tuple(tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in example)
    options = tf.data.Options()
    # its thread has nothing to tune here, and the end of a training would wait for it: it sleeps up
    # to a minute at a time
    options.autotune.enabled = False
    return tf.data.Dataset.from_generator(begin, output_signature=signature).with_options(options)


def check(*, require_gpu: bool) -> None:
    """Raise InputError if a GPU is required and there is none."""
    if require_gpu and not gpus():
        raise InputError(
            "training.require_gpu",
            "TensorFlow sees no GPU here",
            "Install a TensorFlow with CUDA, ask the cluster for a GPU, or set require_gpu: false",
        )


def dtype_policy(precision: str) -> str:
    """The Keras dtype policy for training in a configured precision: float32, bfloat16 or auto.

    auto is bfloat16 on hardware that multiplies it natively (NVIDIA from Ampere on, CPUs with AMX
    or AVX512-BF16, where a step measured 1.5 times faster even for small networks) and float32
    elsewhere, where bfloat16 is emulated.
    """
    return PRECISIONS[_chosen(precision)]


def inference_policy(precision: str) -> str:
    """As `dtype_policy`, for prediction alone: weights may be bfloat16, so that none are cast.

    int8 stays int8 on a CPU that multiplies it natively, and becomes float32 elsewhere.
    """
    if precision == "int8":
        if not gpus() and _cpu_has(_CPU_INT8):
            return precision
        log.warning("this machine has no int8 units: float32 is used instead")
        return "float32"
    return _chosen(precision)


def _chosen(precision: str) -> str:
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16_units() else "float32"
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of auto, {', '.join(PRECISIONS)}")
    return precision


def _has_bfloat16_units() -> bool:
    devices = tf.config.list_physical_devices("GPU")
    if devices:
        details = [tf.config.experimental.get_device_details(device) for device in devices]
        return all(detail.get("compute_capability", (0, 0)) >= _AMPERE for detail in details)
    return _cpu_has(_CPU_BFLOAT16)


def _cpu_has(units: set[str]) -> bool:
    return not units.isdisjoint(_cpu_field("flags").split())


def _cpu_name() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()


def _cpu_field(name: str) -> str:
    """A field of /proc/cpuinfo; empty where there is none (not Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
