"""FlexUNet: network, losses, training and inference. Alone in mbhseg to import Keras."""
