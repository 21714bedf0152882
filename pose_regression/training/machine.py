"""Hosts, devices, memory and determinism: set once in a process, before anything is computed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import keras
import tensorflow as tf

from pose_regression.errors import PoseError
from pose_regression.training import hosts
from pose_regression.training.experiment import Machine

Scope = Callable[[], AbstractContextManager]
"""Makes the context to build a model in."""


@cache
def set_up(machine: Machine) -> Scope:
    """Prepare this process for trainings on `machine`; a second call for the same machine does nothing.

    Raises:
        PoseError: fewer devices than wanted, hosts that do not answer, options of another backend.
    """
    if machine.hosts:
        hosts.check(machine.hosts, machine.host_index)
    return (_jax_scope if keras.backend.backend() == "jax" else _tensorflow_scope)(machine)


def device_count(machine: Machine) -> int:
    """Devices of all hosts together."""
    return machine.devices * len((machine.hosts or "one").split(","))


def _tensorflow_scope(machine: Machine) -> Scope:
    gpus = tf.config.list_physical_devices("GPU")
    if machine.gpu_memory and not gpus:
        print("--gpu-memory has no effect: there is no GPU.", flush=True)
    for gpu in gpus if machine.gpu_memory else []:
        tf.config.set_logical_device_configuration(
            gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=machine.gpu_memory)]
        )
    if machine.devices > 1 and not gpus:
        virtual = [tf.config.LogicalDeviceConfiguration()] * machine.devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], virtual)
    if machine.deterministic:
        tf.config.experimental.enable_op_determinism()
    if machine.devices == 1:
        return nullcontext
    kind = "GPU" if gpus else "CPU"
    if gpus and len(gpus) < machine.devices:
        raise PoseError(f"--devices {machine.devices}: this host has {len(gpus)} GPUs.")
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(machine.devices)]).scope


def _jax_scope(machine: Machine) -> Scope:
    import jax  # only there on its backend

    if machine.gpu_memory or machine.deterministic:
        raise PoseError("--gpu-memory and --deterministic are options of the TensorFlow backend.")
    tf.config.set_visible_devices([], "GPU")  # it only reads pictures here, and must leave the memory to JAX
    if machine.devices > 1:
        jax.config.update("jax_num_cpu_devices", machine.devices)
    if machine.hosts:
        hosts.join(machine.hosts, machine.host_index)
    if machine.hosts or machine.devices > 1:
        hosts.distribute(machine.devices)
    return nullcontext
