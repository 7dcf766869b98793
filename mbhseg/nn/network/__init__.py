"""The network: its layers, and its file."""
