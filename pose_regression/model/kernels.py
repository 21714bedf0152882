"""Keras' batch norm and separable convolution with quicker TensorFlow kernels; in value, and elsewhere, the same."""

import keras
import numpy as np
from keras import ops

from pose_regression.model.regression import register

if keras.backend.backend() == "tensorflow":  # elsewhere nothing here needs it
    import tensorflow as tf


@register
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalization, through the fused kernel on TensorFlow; the plain layer on other backends.

    Keras 3 composes the normalization of separate operations there, which costs a fifth of a training step and
    enough memory to keep batch 16 out of 5 GB. Same result, variables and configuration.
    """

    def call(self, inputs, training=None, mask=None):
        fusable = len(inputs.shape) == 4 and self.axis in (3, -1) and mask is None and self.compute_dtype != "float64"
        if keras.backend.backend() != "tensorflow" or not fusable:
            return super().call(inputs, training=training, mask=mask)
        inputs = ops.cast(inputs, self.compute_dtype)
        channels = inputs.shape[-1]
        scale = self.gamma if self.scale else tf.ones(channels, tf.float32)
        offset = self.beta if self.center else tf.zeros(channels, tf.float32)
        train = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(scale, tf.float32),
            offset=tf.cast(offset, tf.float32),
            mean=tf.zeros(0) if train else tf.cast(self.moving_mean, tf.float32),
            variance=tf.zeros(0) if train else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=train,
        )
        if train:
            # The kernel gives N/(N-1) times the batch variance; Keras 3 averages the plain one.
            count = tf.cast(tf.size(inputs) // channels, tf.float32)
            self._average(self.moving_mean, mean)
            self._average(self.moving_variance, variance * (count - 1) / tf.maximum(count, 1))
        return outputs

    def _average(self, moving, batch):
        moving.assign(moving * self.momentum + ops.cast(batch, moving.dtype) * (1 - self.momentum))


@register
class SeparableConv2D(keras.layers.SeparableConv2D):
    """Keras' separable convolution, with a quicker backward pass in bfloat16 on TensorFlow's CPU kernels.

    There, the gradient of a depthwise kernel in bfloat16 takes several times as long as all the rest of the layer,
    so that mixed precision trains slower than float32. Here it is made of matrix products (see
    `_depthwise_kernel_gradient`). Anywhere else, and in every other case, this is the plain layer.
    """

    def call(self, inputs):
        if not self._slow_gradient():
            return super().call(inputs)
        # Tensors, not variables: custom_gradient refuses those when it runs eagerly.
        kernel, pointwise = (tf.cast(w, self.compute_dtype) for w in (self.depthwise_kernel, self.pointwise_kernel))
        channels, outputs = pointwise.shape[2:]
        spatial = _depthwise(ops.cast(inputs, self.compute_dtype), kernel)
        mixed = tf.matmul(tf.reshape(spatial, (-1, channels)), tf.reshape(pointwise, (channels, outputs)))
        return tf.reshape(mixed, (-1, *inputs.shape[1:3], outputs))

    def _slow_gradient(self) -> bool:
        if keras.backend.backend() != "tensorflow" or self.compute_dtype != "bfloat16":
            return False
        odd = all(size % 2 for size in self.kernel_size)
        bare = not self.use_bias and self.activation is keras.activations.linear and self.depth_multiplier == 1
        shape_kept = self.padding == "same" and self.strides == (1, 1) and self.dilation_rate == (1, 1)
        cpu = not tf.config.list_logical_devices("GPU")
        return odd and bare and shape_kept and self.data_format == "channels_last" and cpu


def _depthwise(x, kernel):
    """Depthwise convolution, stride 1, padding "same", odd kernel; TensorFlow."""

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradient(upstream):
            to_input = tf.nn.depthwise_conv2d(upstream, kernel[::-1, ::-1], (1, 1, 1, 1), "SAME")
            return to_input, _depthwise_kernel_gradient(x, upstream, kernel.shape)

        return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME"), gradient

    return convolve(x, kernel)


def _depthwise_kernel_gradient(x, upstream, shape):
    """dL/dk[i, j, c] = Σ_{b,h,w} x[b, h+i, w+j, c] · u[b, h, w, c], by matrix products.

    For each channel c and kernel row i, the product of the shifted image (W' × H·B) and the upstream gradient
    (H·B × W) pairs every column of one with every column of the other; the kernel's j-th column is the sum along
    the j-th diagonal, where the two columns lie j apart.
    """
    rows, columns, channels, _ = shape
    height, width = x.shape[1:3]
    padded = tf.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    padded = tf.transpose(padded, (3, 2, 1, 0))  # batch last: what a shift copies is contiguous
    upstream = tf.reshape(tf.transpose(upstream, (3, 1, 0, 2)), (channels, -1, width))
    wide = width + columns - 1
    products: list = []
    for i in range(rows):
        with tf.control_dependencies(products[-1:]):  # one shifted copy at a time: a sixth less memory in a step
            shifted = tf.reshape(padded[:, :, i : i + height], (channels, wide, -1))
        products.append(tf.matmul(shifted, upstream))
    diagonals = np.zeros((wide, width, columns), np.float32)
    for w in range(width):
        diagonals[range(w, w + columns), w, range(columns)] = 1
    pairs = tf.cast(tf.reshape(tf.stack(products), (rows * channels, wide * width)), tf.float32)
    sums = tf.matmul(pairs, tf.reshape(diagonals, (wide * width, columns)))
    return tf.cast(tf.transpose(tf.reshape(sums, (rows, channels, columns)), (0, 2, 1))[..., None], x.dtype)
