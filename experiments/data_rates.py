"""How many augmented images per second reach the network, against PIL and against bare decoding.

Everything is rendered into a temporary folder: 1280 x 720 JPEGs of about 350 kB (textures with the spectrum of
photographs), people of MPII's sizes, crops of 256 x 256, the paper's augmentation. The contenders take turns in short
rounds, so that other load on the machine meets all of them. One image costs 7 ms of one core: 3.8 to decode (mostly
Huffman codes, which no rectangle spares), 2.5 to warp, 0.6 for the gamma.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pose_regression.data.augment import plan_epoch
from pose_regression.data.cache import prepare_crops
from pose_regression.data.pipeline import training_dataset
from pose_regression.data.sample import Sample
from pose_regression.inference.loaders import cores
from pose_regression.skeleton import PA16J

SIZE = 256
BATCH = 16
WIDTH, HEIGHT = 1280, 720


def measure(*, rounds: int, images: int = 48, size: int = SIZE) -> dict[str, Any]:
    """Time the contenders on all cores (of PIL one) and return the figures.

    Args:
        rounds: of about 3 seconds.
        images: different images to render.
        size: side of the crops in pixels.

    Returns:
        `images_per_second` of each contender, medians over the rounds, `workers` and `kilobytes_per_image`.
    """
    workers = cores()
    with tempfile.TemporaryDirectory() as folder:
        samples = render(Path(folder), images)
        kilobytes = sum(os.path.getsize(sample.image) for sample in samples) / len(samples) / 1000
        prepared = prepare_crops(samples, Path(folder, "cache"))
        bare = bare_decoding(samples, workers)
        pipeline, cache = (endless(which, workers, size) for which in (samples, prepared))
        rates: dict[str, list[float]] = {name: [] for name in ("pil", "decoding", "pipeline", "cache")}
        for _ in range(rounds):
            rates["pil"].append(rate(pil_images(samples, size), step=1, count=12))
            rates["decoding"].append(rate(iter(bare), step=BATCH, count=160))
            rates["pipeline"].append(rate(iter(pipeline), step=BATCH, count=160))
            rates["cache"].append(rate(iter(cache), step=BATCH, count=320))

    return {
        "images_per_second": {name: median(values) for name, values in rates.items()},
        "workers": workers,
        "kilobytes_per_image": kilobytes,
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rates = figures["images_per_second"]
    lines = [
        f"Data, {figures['workers']} workers, JPEGs of {figures['kilobytes_per_image']:.0f} kB:",
        "",
        "| | images/s | ratio to pil | to decoding |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {rate:.1f} | {rate / rates['pil']:.2f} | {rate / rates['decoding']:.2f} |"
        for name, rate in rates.items()
    ]
    return "\n".join(lines)


def rate(images: Iterator, *, step: int, count: int) -> float:
    """Images per second over the next `count` of a fresh iterator, once its first three steps are done.

    The iterator ends here, so that it does not fill its buffers while another is timed.
    """
    for _ in range(3):
        next(images)
    start = time.perf_counter()
    for _ in range(count // step):
        next(images)
    return count / (time.perf_counter() - start)


def render(folder: Path, count: int) -> list[Sample]:
    """Images with the falling spectrum of photographs, and people as large as MPII's."""
    rng = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    spectrum = 1 / np.maximum(np.hypot(fy, fx), 1 / WIDTH)
    samples = []
    for i in range(count):
        planes = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, HEIGHT, WIDTH))) * spectrum, s=(HEIGHT, WIDTH))
        planes = planes[:1] + 0.3 * planes[1:2] * np.array([1, 0, -1])[:, None, None]  # mostly grey, some colour
        pixels = np.clip(planes / planes.std() * 55 + 120, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        path = folder / f"{i}.jpg"
        Image.fromarray(pixels).save(path, quality=75)
        # The sides of MPII's 2,958 validation windows: median 690 pixels, quartiles 475 and 1,012.
        side = float(np.clip(690 * np.exp(0.56 * rng.normal()), 145, 3100))
        center = rng.uniform([0.25 * WIDTH, 0.35 * HEIGHT], [0.75 * WIDTH, 0.65 * HEIGHT])
        joints = center + rng.uniform(-0.4, 0.4, (len(PA16J), 2)) * side
        samples.append(Sample(str(path), center, side, joints, np.ones(len(PA16J), bool)))
    return samples


def endless(samples: list[Sample], workers: int, size: int) -> tf.data.Dataset:
    """Our batches, epoch after epoch of one plan."""
    plan = plan_epoch(samples * 8, PA16J, seed=0, epoch=0)
    return training_dataset(plan, size=size, batch_size=BATCH, workers=workers).repeat()


def bare_decoding(samples: list[Sample], workers: int) -> tf.data.Dataset:
    """Whole images decoded; one pixel of each is handed on, so that nothing but decoding is timed."""

    def decode(path: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")[0, 0]

    dataset = tf.data.Dataset.from_tensor_slices([sample.image for sample in samples]).repeat()
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1
    return dataset.map(decode, num_parallel_calls=workers).batch(BATCH).prefetch(2).with_options(options)


def pil_images(samples: list[Sample], size: int) -> Iterator[np.ndarray]:
    """The authors' loader in PIL, one image at a time."""
    rng = np.random.default_rng(0)
    while True:
        for sample in samples:
            yield pil_image(sample, size, rng.choice(np.arange(-40, 41, 5)), rng.choice([0.7, 1.0, 1.3]), rng)


def pil_image(sample: Sample, size: int, angle: float, zoom: float, rng: np.random.Generator) -> np.ndarray:
    image = Image.open(sample.image).convert("RGB")
    corners = np.array([[0, 0], [image.width, 0], [0, image.height], [image.width, image.height]])
    center, side = sample.center, sample.side * zoom
    if angle:
        image = image.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        turn = np.array([[c := np.cos(np.deg2rad(angle)), s := np.sin(np.deg2rad(angle))], [-s, c]])
        center = turn @ center - (corners @ turn.T).min(axis=0)
    left, top, right, bottom = np.trunc([*(center - side / 2), *(center + side / 2)]).astype(int).tolist()
    image = image.crop((left, top, right, bottom)).resize((size, size), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(image, np.float32) / 255
    for channel in range(3):
        pixels[..., channel] **= rng.choice(np.arange(0.9, 1.101, 0.02))
    return (pixels - 0.5) * 2
