"""FlexUNet: network, losses and training. The only package of mbhseg that imports Keras."""

import os

# oneDNN's convolutions on every x86 processor: without AVX-512 VNNI, TensorFlow falls back on its
# own for SSE, which train a third as fast. Must be set before TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
