"""Several devices, several machines, one training: Keras' data parallelism on the JAX backend.

Every host runs the same command with its own number. Each reads its share of every batch; gradients, batch statistics
and running losses are those of the whole batch, so H hosts with batches of B / H train as one host with batches of B.
Host 0 alone writes files. What it resumes from, the others receive from it: they need no common file system.

On one host without `join`, every function here is the trivial one.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pose_regression.data.augment import Plan
from pose_regression.errors import PoseError
from pose_regression.training import checkpoint

if keras.backend.backend() == "jax":
    import jax
    from jax.experimental import multihost_utils

HEARTBEAT_TIMEOUT = 30
"""Seconds without a sign of life after which a host counts as lost; collectives notice a dead process at once."""


def check(addresses: str, index: int) -> None:
    """Refuse what `join` could not use.

    Raises:
        PoseError: another backend than JAX, no such addresses, or an index outside the list.
    """
    names = addresses.split(",")
    if keras.backend.backend() != "jax":
        raise PoseError(
            f"Several hosts need Keras' JAX backend (KERAS_BACKEND=jax). Received: {keras.backend.backend()}"
        )
    port = names[0].rpartition(":")[2]
    if not 0 <= index < len(names) or not port.isdecimal() or not all(names):
        raise PoseError(
            f"Expected addresses as HOST:PORT,HOST,... and an index below their number. Received: {addresses}, {index}"
        )


def join(addresses: str, index: int) -> None:
    """Connect the hosts; to be called before JAX computes anything.

    Args:
        addresses: of all hosts, separated by commas; the first, which coordinates, with a port ("10.0.0.1:8476").
        index: which of them this is, from 0.

    Raises:
        PoseError: as `check`, or no contact within 5 minutes.
    """
    check(addresses, index)
    names = addresses.split(",")
    try:
        # keras.distribution.initialize does the same, but waits 100 seconds before it misses a host.
        jax.distributed.initialize(names[0], len(names), index, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)
    except RuntimeError as error:
        raise PoseError(f"Host {index} did not reach the others at {names[0]}: {error}") from error


def leave() -> None:
    """Part from the others once all have come here; what this host computes from now on is its own affair."""
    keras.distribution.set_distribution(None)
    if count() > 1:
        jax.distributed.shutdown()


@contextmanager
def watched() -> Iterator[None]:
    """Say in one sentence that another host is lost, and end this process: nothing can be computed together any more.

    The state that host 0 wrote last is what `--resume` continues from.
    """
    try:
        yield
    except Exception as error:
        if count() == 1 or not any(sign in str(error) for sign in ("Gloo", "NCCL", "heartbeat", "distributed service")):
            raise
        print(
            f"Host {index()} has lost another host: {str(error).splitlines()[0][-200:]}. The training can go on from "
            "the last state with --resume on every host.", file=sys.stderr, flush=True,
        )  # fmt: skip
        os._exit(1)  # JAX would wait for the lost host, then abort


def distribute(devices: int) -> None:
    """Let every model that is built from now on train on `devices` devices of this host, and of each other."""
    local = jax.local_device_count()
    if local < devices:
        raise PoseError(f"--devices {devices}: this host has {local} {jax.default_backend().upper()} devices.")
    chosen = [[d for d in jax.devices() if d.process_index == host][:devices] for host in range(count())]
    names = [f"{device.platform}:{device.id}" for host in chosen for device in host]
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names, auto_shard_dataset=False))


def count() -> int:
    """How many hosts train together."""
    return jax.process_count() if keras.backend.backend() == "jax" else 1


def index() -> int:
    """Which of them this is."""
    return jax.process_index() if keras.backend.backend() == "jax" else 0


def first() -> bool:
    """Whether this host writes the files."""
    return index() == 0


def share(plan: Plan, batch_size: int) -> Plan:
    """This host's rows of every batch of an epoch: B / H of each B, so that the batches stay those of one host."""
    batches = np.arange(len(plan) // batch_size * batch_size).reshape(-1, count(), batch_size // count())
    return plan[batches[:, index()].ravel()]


@contextmanager
def alone() -> Iterator[None]:
    """Models that are built, and predict, inside belong to this host."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def from_first(value: Any) -> Any:
    """Host 0's value, JSON-serializable, on every host."""
    if count() == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(_broadcast(np.array(len(content), np.int32)))
    buffer = np.zeros(length, np.uint8)
    buffer[: len(content)] = content[:length]
    return json.loads(np.asarray(_broadcast(buffer)).tobytes())


def load_state(
    directory: Path, model: keras.Model, *, extra: checkpoint.Extra = checkpoint.NOTHING
) -> dict[str, Any] | None:
    """As `checkpoint.load_state`, on every host from host 0's directory."""
    if count() == 1:
        return checkpoint.load_state(directory, model, extra=extra)
    # Only read: to assign a shared variable is a computation of all hosts together.
    found = checkpoint.read_state(directory, model, extra=extra) if first() else None
    progress = from_first(found and found[1])
    if progress:
        variables = checkpoint.state_variables(model, extra)
        blank = {name: np.zeros(variable.shape, variable.dtype) for name, variable in variables.items()}
        arrays = _broadcast(found[0] if found else blank)
        for name, variable in variables.items():
            variable.assign(np.asarray(arrays[name]))
    return progress


def gather(rows: np.ndarray, total: int) -> np.ndarray:
    """All rows of an array whose rows h, h + H, h + 2 H, ... host h has.

    Args:
        rows: this host's rows; one host may have one row fewer than another.
        total: how many rows there are.

    Returns:
        (total, ...), the same on every host.
    """
    if count() == 1:
        return rows
    longest = -(-total // count())
    padded = np.concatenate([rows, np.zeros((longest - len(rows), *rows.shape[1:]), rows.dtype)])
    parts = np.asarray(multihost_utils.process_allgather(padded))
    return parts.swapaxes(0, 1).reshape(-1, *rows.shape[1:])[:total]


def _broadcast(values: Any) -> Any:
    """Host 0's array, or dictionary of arrays, of which every host has one of the same shapes."""
    return multihost_utils.broadcast_one_to_all(values)
