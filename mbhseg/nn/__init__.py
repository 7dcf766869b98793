"""FlexUNet: network, losses, training and inference. Alone in mbhseg to import Keras."""

import os

# oneDNN's convolutions on every x86 processor: without AVX-512 VNNI, TensorFlow falls back on its
# own for SSE, which train a third as fast. To be set before it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
