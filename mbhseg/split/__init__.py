"""Which patients are for training, validation and test."""
