"""Hosts, devices, memory and determinism: set once in a process, before anything is computed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import keras
import tensorflow as tf

from pose_regression.errors import PoseError
from pose_regression.training import hosts
from pose_regression.training.experiment import Dtype, Machine

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


def dtype_of(machine: Machine) -> Dtype:
    """The policy to train with; to be called once the machine is set up. Says so where bfloat16 would be slow."""
    if machine.dtype == "auto":
        dtype: Dtype = "mixed_bfloat16" if computes_bfloat16() else "float32"
        print(f"--dtype auto: {dtype}.", flush=True)
        return dtype
    if machine.dtype == "mixed_bfloat16" and not computes_bfloat16():
        print("This machine does not compute in bfloat16, and --dtype mixed_bfloat16 may be five times slower than "
              "float32; --dtype auto chooses.", flush=True)  # fmt: skip
    return machine.dtype


def computes_bfloat16() -> bool:
    """Whether the device that Keras computes on has instructions for it: GPUs since Ampere, TPUs, some processors."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
        if device.platform != "cpu":
            return device.platform == "tpu" or float(getattr(device, "compute_capability", 0)) >= 8
    elif gpus := tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0)) >= (8, 0)
    return bool(processor_features() & {"avx512_bf16", "amx_bf16"})


def processor_features() -> set[str]:
    """What Linux says that the processor has; nothing on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return {word for line in text.splitlines() if line.startswith("flags") for word in line.split()}


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
