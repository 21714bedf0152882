"""What is validated and saved of a network in training: averaged weights, and batch norm's statistics computed anew.

The moving averages of batch norm lag behind weights that move fast, and an average of the weights has no statistics of
its own at all. So both are made on a copy of the network, before each validation; the training itself goes on as if
nothing had happened. The cost is a forward pass, about a third of a step, for each batch of statistics, and an addition
to the weights for each step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pose_regression.model.network import PoseRegressor
from pose_regression.training import hosts
from pose_regression.training.experiment import Recipe

if keras.backend.backend() == "jax":
    import jax


class WeightAverage:
    """Exponential average of a network's trained weights, one update a step.

        a_t = a_{t-1} + (w_t - a_{t-1}) (1 - d_t),    d_t = min(decay, (t - 1) / (t + 9)),    t = 1, 2, ...

    d_1 = 0, so the average never holds anything of its initial value, and its window grows with a tenth of the steps
    until it is that of `decay`: early weights do not linger in the average of a short training.

    Args:
        network: what is trained.
        decay: in (0, 1).
    """

    def __init__(self, network: PoseRegressor, decay: float):
        self.network, self.decay = network, decay
        self.variables = [
            keras.Variable(keras.ops.convert_to_numpy(weight.value), trainable=False)
            for weight in network.trainable_variables
        ]
        if keras.backend.backend() == "tensorflow":
            self._update = tf.function(self._assign)
        else:
            self._update = self._assign

    def update(self, step: int) -> None:
        """Take in the weights after step `step`, which counts from 1."""
        decay = min(self.decay, (step - 1) / (step + 9))
        if keras.backend.backend() != "tensorflow":
            self.network.jax_state_sync()
        self._update(keras.ops.convert_to_tensor(1 - decay, "float32"))

    def _assign(self, part) -> None:
        for average, weight in zip(self.variables, self.network.trainable_variables, strict=True):
            average.assign(average.value + (weight.value - average.value) * part)


class Statistics:
    """Computes the statistics of a network's batch norms as the mean over some batches, each in training mode."""

    def __init__(self, network: keras.Model):
        self.network = network
        norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        norms = [layer for layer in norms if layer.trainable]  # a frozen one takes no statistics and keeps its own
        self.moving = [
            (variable, layer.momentum) for layer in norms for variable in (layer.moving_mean, layer.moving_variance)
        ]
        self._forward = _forward(network)

    def renew(self, batches: Iterable[Any]) -> None:
        """Replace the statistics by those of `batches`: images (B, H, W, 3), at least one batch.

        A moving average that starts from 0 is 1 - momentum times the batch's statistic, so nothing of a layer has to
        be known but its momentum.
        """
        totals, count = [np.zeros(variable.shape, np.float64) for variable, _ in self.moving], 0
        for images in batches:
            for variable, _ in self.moving:
                variable.assign(np.zeros(variable.shape, np.float32))
            self._forward(images)
            count += 1
            for total, (variable, momentum) in zip(totals, self.moving, strict=True):
                total += keras.ops.convert_to_numpy(variable.value).astype(np.float64) / (1 - momentum)
        for total, (variable, _) in zip(totals, self.moving, strict=True):
            variable.assign((total / count).astype(np.float32))


def _forward(network: keras.Model) -> Callable[[Any], None]:
    """Runs the network in training mode, for what that does to its moving averages; compiled."""
    if keras.backend.backend() == "tensorflow":

        @tf.function(reduce_retracing=True)
        def forward(images):
            network(images, training=True)

        return forward
    pure = jax.jit(lambda trained, others, images: network.stateless_call(trained, others, images, training=True)[1])

    def synchronized(images) -> None:
        trained, others = network.trainable_variables, network.non_trainable_variables
        new = pure([v.value for v in trained], [v.value for v in others], np.asarray(images))
        for variable, value in zip(others, new, strict=True):
            variable.assign(value)

    return synchronized


class Shown:
    """The network that is validated and saved: a copy with averages of a recipe, or the trained network itself."""

    def __init__(self, network: PoseRegressor, recipe: Recipe):
        self.trained = network
        self.average = WeightAverage(network, recipe.average) if recipe.average else None
        self.batches = recipe.statistics_batches
        self.statistics: Statistics | None = None
        if not (self.average or self.batches or keras.distribution.distribution()):
            self.network = network
            return
        with hosts.alone():  # on several hosts, validation is each one's own affair
            self.network = network.with_outputs(network.get_config()["outputs"])
            for mine, theirs in zip(self.network._flatten_layers(), network._flatten_layers(), strict=True):
                mine.trainable = theirs.trainable
            if self.batches:
                self.statistics = Statistics(self.network)

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """What a state must hold beside the trained network's."""
        return {f"average/{i:05d}": v for i, v in enumerate(self.average.variables)} if self.average else {}

    def renew(self, batches: Iterable[Any]) -> None:
        """Bring the copy up to date; statistics are of `batches`, the same after a restart, for the same result."""
        if self.network is self.trained:
            return
        values = self.trained.get_weights()
        averages = self.average.variables if self.average else []
        with hosts.alone():
            self.network.set_weights(values)
            for weight, average in zip(self.network.trainable_variables, averages, strict=False):
                weight.assign(keras.ops.convert_to_numpy(average.value))
            if self.statistics:
                self.statistics.renew(batches)
