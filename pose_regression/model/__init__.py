"""The network of the paper, its layers and its weights."""
