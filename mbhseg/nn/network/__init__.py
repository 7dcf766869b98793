"""The network: its layers, the model that is trained, and the model file."""
