"""The input of a training: slices decoded, drawn, augmented and put into batches."""
