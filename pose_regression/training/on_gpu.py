"""Training on one GPU by PyTorch, with the pictures in its memory: a step cuts and colours its own crops.

The network is the Keras model's (`model.torch_graph`); plans, losses, AdamW and the average of the weights are those of
`loop` with `--recipe quick --map-weight 0.3`. The pictures go to the GPU once, so that no processor keeps it waiting.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from pose_regression.data.augment import Augmentation, Plan, plan_epoch
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.geometry import crop_affine, invert, transform_points
from pose_regression.model.network import PoseRegressor
from pose_regression.model.torch_graph import Tensors, TorchGraph
from pose_regression.skeleton import PA16J
from pose_regression.training.losses import PROBABILITY_WEIGHT

SIDE = 448
"""Pixels of a picture in the GPU's memory, its longer side at most."""

REACH = 1.9
"""Sides of a person's window that are kept of a picture: what rotation, zoom and translation mostly show."""

MAP_WEIGHT = 0.3
AVERAGE = 0.999
STATISTICS_BATCHES = 20

STEPS = 50
"""Between two changes of the rate."""


@dataclass(frozen=True)
class Pictures:
    """The surroundings of people, in a GPU's memory; one picture for each image file."""

    pixels: torch.Tensor
    """(N, SIDE, SIDE, 3) uint8, each at the top left, black beyond"""
    rows: dict[str, int]
    """of each path"""
    corner: np.ndarray
    """(N, 2) of the picture in its image, pixels"""
    scale: np.ndarray
    """(N, 2) pixels of the picture per pixel of its image"""


def read_pictures(samples: Sequence[Sample], device: str) -> Pictures:
    """Read what training can see of each image's first person.

    Raises:
        PoseError: an image that cannot be read, or no samples.
    """
    people = list({sample.image: sample for sample in reversed(samples)}.values())
    if not people:
        raise PoseError("There are no samples to train on.")
    pixels = np.zeros((len(people), SIDE, SIDE, 3), np.uint8)
    corner, scale = np.zeros((len(people), 2)), np.ones((len(people), 2))

    def read(row: int) -> None:
        person = people[row]
        try:
            with Image.open(person.image) as image:
                size = np.array(image.size)
                low = np.clip(np.floor(person.center - person.side * REACH / 2), 0, size - 1).astype(int)
                high = np.clip(np.ceil(person.center + person.side * REACH / 2), low + 1, size).astype(int)
                picture = image.convert("RGB").crop((*low, *high))
        except OSError as error:
            raise PoseError(f"{person.image} cannot be read as a picture ({error}).") from error
        whole = np.array(picture.size)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        corner[row], scale[row] = low, picture.size / whole
        pixels[row, : picture.height, : picture.width] = np.asarray(picture)

    with ThreadPoolExecutor() as pool:
        list(pool.map(read, range(len(people))))
    rows = {person.image: row for row, person in enumerate(people)}
    return Pictures(torch.from_numpy(pixels).to(device), rows, corner, scale)


def cut(pictures: Pictures, images: Sequence[str], affine: np.ndarray, size: int) -> torch.Tensor:
    """Crops, bilinear, black outside the pictures.

    Args:
        pictures: N of them.
        images: B paths.
        affine: (B, 3, 3) image pixels -> crop-normalised.
        size: side of the crops.

    Returns:
        (B, 3, size, size) float32 in [0, 1].
    """
    rows = np.array([pictures.rows[path] for path in images])
    inverse = invert(affine.astype(np.float64))[:, :2]
    inverse[..., 2] -= pictures.corner[rows]
    device = pictures.pixels.device
    part = torch.tensor(
        (inverse * pictures.scale[rows][..., None])[..., None, None], dtype=torch.float32, device=device
    )
    along = (torch.arange(size, device=device) + 0.5) / size
    y, x = torch.meshgrid(along, along, indexing="ij")
    at = (part[:, :, 0] * x + part[:, :, 1] * y + part[:, :, 2]) * (2 / SIDE) - 1
    pixels = pictures.pixels[torch.tensor(rows, device=device)].permute(0, 3, 1, 2).float()
    return functional.grid_sample(pixels, at.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=False) / 255


def answers(maps: torch.Tensor, joints: int, alpha: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eqs. 1 to 4 and 6 on the grid "endpoints", as `model.regression`.

    Args:
        maps: (B, K, M, h, w) logits.
        joints: J.
        alpha: of eq. 6.

    Returns:
        Pose (B, K, J, 2), probability (B, K, J) and the part maps' logits (B, K, J, h·w).
    """
    *_, height, width = maps.shape
    logits = maps.flatten(3)
    y, x = torch.meshgrid(_ramp(height, maps), _ramp(width, maps), indexing="ij")
    place = torch.softmax(logits, -1) @ torch.stack([x.flatten(), y.flatten()], 1)
    highest = torch.sigmoid(logits.amax(-1))
    context, votes = (
        highest[:, :, joints:, None].unflatten(2, (joints, -1)),
        place[:, :, joints:].unflatten(2, (joints, -1)),
    )
    context = context / context.detach().amax(3, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    aside = (context * votes).sum(3) / context.sum(3).clamp_min(1e-30)
    pose = alpha * place[:, :, :joints] + (1 - alpha) * aside
    return pose, highest[:, :, :joints], logits[:, :, :joints]


def loss(maps: torch.Tensor, pose: torch.Tensor, probability: torch.Tensor, alpha: float = 0.8) -> torch.Tensor:
    """Eqs. 7 and 8 and the maps' divergence of all blocks, as `supervision.with_map_divergence(MAP_WEIGHT)`.

    Args:
        maps: (B, K, M, h, w) logits.
        pose: (B, J, 3) x, y, weight.
        probability: (B, J, 2) target, weight.
        alpha: of eq. 6.

    Returns:
        A number: the mean over the batch.
    """
    found, inside, logits = answers(maps, pose.shape[1], alpha)
    target, weight = pose[:, None, :, :2], pose[:, None, :, 2]
    difference = torch.where(weight[..., None] > 0, target - found, 0.0)
    distance = _mean((difference.abs() + difference.square()).sum(-1), weight)
    known = probability[:, None, :, 1]
    wanted = torch.where(known > 0, probability[:, None, :, 0], 0.0).expand_as(inside)
    entropy = _mean(functional.binary_cross_entropy(inside.clamp(1e-7, 1 - 1e-7), wanted, reduction="none"), known)
    centre = torch.where(weight[..., None] > 0, target, 0.5)[:, 0]
    down, across = (
        torch.exp(-0.5 * ((centre[..., axis, None] - _ramp(length, maps)) * (length - 1)).square())
        for axis, length in ((1, maps.shape[3]), (0, maps.shape[4]))
    )
    gaussian = (down[..., :, None] * across[..., None, :]).flatten(2)
    gaussian = (gaussian / gaussian.sum(-1, keepdim=True))[:, None]
    divergence = (gaussian * (gaussian.clamp_min(1e-30).log() - torch.log_softmax(logits, -1))).sum(-1)
    blocks = distance + PROBABILITY_WEIGHT * entropy + MAP_WEIGHT * _mean(divergence, weight)
    return blocks.sum(1).mean()


def _ramp(length: int, like: torch.Tensor) -> torch.Tensor:
    return torch.linspace(0, 1, length, device=like.device)


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum(-1) / weight.sum(-1).clamp_min(1.0)


class Trainer:
    """A network in training.

    Args:
        network: of the paper's blocks and 16 joints, with the weights to start from.
        pictures: of everybody to train on and to predict.
        batch_size: people in a step.
        score: (tensors) -> the score by which the best weights are kept, higher is better.
    """

    def __init__(
        self, network: PoseRegressor, pictures: Pictures, *, batch_size: int,
        score: Callable[["Trainer", Tensors], float],
    ):  # fmt: skip
        self.pictures, self.batch_size, self.score, self.size = pictures, batch_size, score, network.input_shape[1]
        self.network, self.alpha = network, network.get_config()["alpha"]
        self.graph = graph = TorchGraph(network, str(pictures.pixels.device))
        self.weights = [graph.tensors[i] for i in graph.trained]
        beta = [graph.tensors[i] for i in graph.trained if graph.names[i] == "beta"]
        rest = [graph.tensors[i] for i in graph.trained if graph.names[i] != "beta"]
        groups = [{"params": rest, "weight_decay": 0.01}, {"params": beta, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, eps=1e-7, fused=True)
        self.average = [weight.detach().clone() for weight in self.weights]
        self.steps, self.best, self.kept = 0, -math.inf, dict(graph.tensors)

    def fit(self, plan: Plan, rate: float) -> float:
        """Learn from a plan's full batches; the mean loss.

        Raises:
            PoseError: the loss is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self.pictures.pixels.device)
        count = len(plan) // self.batch_size
        for k in range(count):
            part = plan[k * self.batch_size : (k + 1) * self.batch_size]
            value = loss(
                self.graph.maps(self._crops(part), training=True), self._there(part.pose),
                self._there(part.probability), self.alpha,
            )  # fmt: skip
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.optimizer.step()
            total += value.detach()
            self.steps += 1
            window = min(AVERAGE, (self.steps - 1) / (self.steps + 9))  # as `averages.WeightAverage`
            torch._foreach_lerp_(self.average, [weight.detach() for weight in self.weights], 1 - window)
        mean = float(total) / max(count, 1)
        if not math.isfinite(mean):
            raise PoseError(f"The loss is {mean} after {self.steps} steps: a smaller rate may help.")
        return mean

    def stage(
        self, people: Sequence[Sample], seconds: float, rate: float, *, augmentation: Augmentation, seed: int,
        floor: float = 1.0, looks: int = 1,
    ) -> None:  # fmt: skip
        """Train for some time, the rate falling by a cosine to `floor` of itself; keep the best weights seen.

        Args:
            people: to train on.
            seconds: how long.
            rate: of AdamW.
            augmentation: ranges to draw from.
            seed: of order and augmentation.
            floor: part of the rate at the end; 1 keeps it.
            looks: how often the average is scored.
        """
        begin, slice_of, epoch, told, looked = time.monotonic(), STEPS * self.batch_size, 0, 0.0, 1
        plan = plan_epoch(people, PA16J, seed=seed, epoch=epoch, augmentation=augmentation)
        while (done := (time.monotonic() - begin) / seconds) < 1:
            if len(plan) < slice_of:
                epoch += 1
                plan = _joined(plan, plan_epoch(people, PA16J, seed=seed, epoch=epoch, augmentation=augmentation))
            part, plan = plan[:slice_of], plan[slice_of:]
            now = rate * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
            value = self.fit(part, now * min(1.0, (self.steps + 1) / 400))
            if done * seconds - told > 10:
                told = done * seconds
                print(f"{told:.0f} of {seconds:.0f} s  epoch {epoch + 1}  loss {value:.4f}  rate {now:.1e}", flush=True)
            if done * looks > looked:
                looked += 1
                self.look(part)
        self.look(part)

    def look(self, plan: Plan) -> None:
        """Score the average of the weights, with batch norm's statistics of a plan's first batches; keep it if best."""
        graph = self.graph
        shown = dict(zip(graph.trained, self.average, strict=True))
        shown |= {i: graph.tensors[i].clone() for i in graph.statistics}
        with torch.no_grad():
            for k in range(min(STATISTICS_BATCHES, len(plan) // self.batch_size)):
                part = plan[k * self.batch_size : (k + 1) * self.batch_size]
                graph.maps(self._crops(part), shown, training=True, momentum=1 / (k + 1))
        score = self.score(self, shown)
        print(f"score {score:.2f} after {self.steps} steps", flush=True)
        if score >= self.best:
            self.best, self.kept = score, {i: tensor.detach().clone() for i, tensor in shown.items()}

    def predict(
        self, samples: Sequence[Sample], tensors: Tensors, *, flip: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, J, 2) image pixels of the last block, and (N, J) uncalibrated confidence; of both views."""
        found = [self._view(samples, tensors, mirrored) for mirrored in ((False, True) if flip else (False,))]
        pixels, confidence = (np.mean(part, axis=0) for part in zip(*found, strict=True))
        return pixels, confidence

    def _view(self, samples: Sequence[Sample], tensors: Tensors, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
        center, side = np.stack([s.center for s in samples]), np.array([s.side for s in samples])
        affine = crop_affine(center, side, flip=mirrored)
        poses, confidence = [], []
        with torch.no_grad():
            for i in range(0, len(samples), 128):
                rows = slice(i, i + 128)
                images = cut(self.pictures, [s.image for s in samples[rows]], affine[rows], self.size)
                maps = self.graph.maps((images * 2 - 1).contiguous(memory_format=torch.channels_last), tensors)
                pose, _, logits = answers(maps[:, -1:], len(PA16J), self.alpha)
                mass = torch.softmax(logits[:, 0], -1).square().sum(-1)
                poses.append(pose[:, 0].double().cpu().numpy())
                confidence.append(torch.sigmoid(mass.log() + 3).double().cpu().numpy())
        pixels, sure = transform_points(invert(affine), np.concatenate(poses)), np.concatenate(confidence)
        order = np.array(PA16J.flip) if mirrored else np.arange(len(PA16J))
        return pixels[:, order], sure[:, order]

    def _crops(self, plan: Plan) -> torch.Tensor:
        with torch.no_grad():
            colours = cut(self.pictures, list(plan.image), plan.affine, self.size).clamp_min(0)
            colours = colours ** self._there(plan.gamma)[..., None, None]
            return (colours * 2 - 1).contiguous(memory_format=torch.channels_last)

    def _there(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, device=self.pictures.pixels.device)


def _joined(first: Plan, second: Plan) -> Plan:
    return Plan(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Plan)))
