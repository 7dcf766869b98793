"""Which arithmetic and which threads a machine is given."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.nn import device


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx2 fma avx512f", "float32"),  # bfloat16 would be emulated
        ("", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch, flags, expected):
    monkeypatch.setattr(device, "_cpu_field", lambda name: flags)
    monkeypatch.setattr(device.tf.config, "list_physical_devices", lambda kind: [])
    assert device.inference_policy("auto") == expected
    assert device.dtype_policy("auto") == device.PRECISIONS[expected]


def test_onednn_computes_on_every_processor(repo):
    """TensorFlow leaves it off on those without AVX-512 VNNI, where it is three times as fast."""
    program = (
        "import mbhseg.nn.device\n"
        "from tensorflow.python.util import _pywrap_util_port\n"
        "print(_pywrap_util_port.IsMklEnabled())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=repo,
        env=environment,
    )
    assert done.stdout.strip() == "True"


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"precision 'float16'.*auto, float32, bfloat16"):
        device.dtype_policy("float16")


@pytest.mark.skipif(bool(device.gpus()), reason="there is a GPU")
def test_a_required_gpu_that_is_missing_is_told():
    device.check(require_gpu=False)
    with pytest.raises(InputError, match=r"^training\.require_gpu: .*no GPU"):
        device.check(require_gpu=True)
    assert device.describe()["kind"] == "cpu"


@pytest.mark.parametrize(
    ("training", "expected"),
    [({"threads": 3, "deterministic": False}, (3, False)), ({}, (5, True))],
)
def test_a_run_is_repeated_with_its_own_threads(monkeypatch, caplog, training, expected):
    """The log says why, where other threads were granted."""
    seen = []
    caplog.set_level("INFO")
    monkeypatch.setattr(
        device, "configure", lambda *, threads, deterministic: seen.append((threads, deterministic))
    )
    device.configure_as({"training": training}, threads=5)
    assert seen == [expected]
    told = "3 CPU threads, though 5 are granted"
    assert (told in caplog.text) == (expected[0] != 5)


def test_the_data_of_a_training_are_not_tuned():
    """The thread that would is waited for at the training's end, for up to a minute."""
    batch = (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8))
    data = device.as_dataset(lambda: iter([batch, batch]), batch)
    assert data.options().autotune.enabled is False
    assert [images.shape for images, _ in data] == [(2, 4, 4, 3)] * 2
