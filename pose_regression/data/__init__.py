"""From annotation files to batches: `Sample` -> one affine -> image and targets."""
