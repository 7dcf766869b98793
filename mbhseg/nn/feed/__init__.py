"""What a training is fed with: decoded slices, drawn, augmented, in batches."""
