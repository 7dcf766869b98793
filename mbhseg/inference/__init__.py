"""From a CT volume to class probabilities. TensorFlow is loaded only where a model needs it."""
