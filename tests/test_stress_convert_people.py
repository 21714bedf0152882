"""The detector's conversion: weights of 8 bits, computed with in float32."""

import keras
import numpy as np
import tensorflow as tf

from pose_regression.inference.loaders import litert_interpreter
from tests.stress.convert_people import in_float


def answer(network: bytes, image: np.ndarray) -> np.ndarray:
    interpreter = litert_interpreter()(model_content=network)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(taken["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])


def test_what_is_computed_with_weights_of_eight_bits_is_the_convolution_in_float():
    rng = np.random.default_rng(0)
    filters = rng.normal(size=(1, 1, 64, 32)).astype(np.float32)
    image = rng.normal(size=(1, 8, 8, 64)).astype(np.float32)
    layer = keras.layers.Conv2D(32, 1, use_bias=False)
    model = keras.Sequential([keras.Input((8, 8, 64), batch_size=1), layer])
    layer.set_weights([filters])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    hybrid = converter.convert()

    scale = np.abs(filters).max(axis=(0, 1, 2)) / 127  # of each filter, as the converter has it
    kept = np.rint(filters / scale) * scale
    expected = image.reshape(-1, 64) @ kept.reshape(64, 32)
    found = in_float(hybrid)
    np.testing.assert_allclose(answer(found, image).reshape(-1, 32), expected, atol=1e-4)
    assert np.abs(answer(hybrid, image).reshape(-1, 32) - expected).max() > 1e-2  # its activations have 8 bits, too
    assert len(found) < len(hybrid) + 1000
