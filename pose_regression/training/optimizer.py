"""RMSprop as Keras 2 computed it, and the optimizer of a recipe."""

from typing import Any

import keras
from keras import ops

from pose_regression.model.regression import register
from pose_regression.training.experiment import Recipe


@register
class RMSprop(keras.optimizers.Optimizer):
    """a ← ρ a + (1 - ρ) g²;  p ← p - η g / (√a + ε), with ε outside the root.

    Keras 3 puts ε inside: with the usual 1e-7 that damps every gradient below about 3e-4, which in this network is
    a third of the weights.

    Args:
        learning_rate: η, a number or a schedule.
        rho: ρ.
        epsilon: ε.

    Source: `RMSprop` of Keras 2.1.4, which the authors trained with.
    """

    def __init__(self, learning_rate=1e-3, *, rho: float = 0.9, epsilon: float = 1e-7, name: str = "rmsprop", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.rho = rho
        self.epsilon = epsilon

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.averages = self.add_optimizer_variables(variables, "average")

    def update_step(self, gradient, variable, learning_rate):
        average = self.averages[self._get_variable_index(variable)]
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        self.assign(average, self.rho * average + (1 - self.rho) * ops.square(gradient))
        self.assign_sub(variable, rate * gradient / (ops.sqrt(average) + self.epsilon))

    def get_config(self):
        return super().get_config() | {"rho": self.rho, "epsilon": self.epsilon}


def make_optimizer(recipe: Recipe, *, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer, with its schedule where that changes within an epoch."""
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        total = steps_per_epoch * recipe.epochs
        warm = min(steps_per_epoch, max(total // 10, 1))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(total - warm, 1), alpha=0.01, warmup_target=recipe.learning_rate, warmup_steps=warm
        )
    if recipe.optimizer == "rmsprop":
        return RMSprop(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["beta"])
    return optimizer
