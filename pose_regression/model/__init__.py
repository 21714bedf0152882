"""The network of the paper, its layers and its weights."""

# Before any module of this room: with Keras come its layers (`late_imports`), and they need the others whole.
import keras  # noqa: F401
