"""How many augmented images per second reach the network, against PIL and against bare decoding.

    python -m experiments.benchmark_pipeline [--images 48] [--rounds 7] [--output FILE.json]

Cost: about a minute. Everything is rendered into a temporary folder: 1280 x 720 JPEGs of about 350 kB (textures
with the spectrum of photographs), people of MPII's sizes, crops of 256 x 256, the paper's augmentation.

pil        decode, rotate with a grown canvas, crop, resize, mirror, channel power: the authors' loader, on one core
decoding   tf.data decoding whole JPEGs and doing nothing else, on all cores
pipeline   ours, on all cores
cache      ours from prepared crops (`--cache` of the training commands), on all cores

The contenders take turns in short rounds, so that other load on the machine meets all of them; medians are reported.
Expected on one core (`taskset -c 0`): pipeline 4.8 x pil and 0.65 x decoding, cache 9.1 x pil; on two free cores up to
twice as much over pil, which uses one; with other work on them it falls to 3.5, 0.5 and 9. One image costs 7 ms: 3.8 to
decode (mostly Huffman codes, which no rectangle spares), 2.5 to warp, 0.6 for the gamma.
"""

import argparse
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

from experiments.command import run
from pose_regression.data.augment import plan_epoch
from pose_regression.data.cache import prepare_crops
from pose_regression.data.pipeline import training_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import write_json
from pose_regression.inference.loaders import cores
from pose_regression.skeleton import PA16J

SIZE = 256
BATCH = 16
WIDTH, HEIGHT = 1280, 720


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48, help="different images (default: 48)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of about 3 seconds (default: 7)")
    parser.add_argument("--workers", type=int, default=cores(), help="threads (default: all cores)")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()

    for name in ("images", "rounds", "workers"):
        if getattr(arguments, name) < 1:
            raise PoseError(f"--{name} must be at least 1. Received: {getattr(arguments, name)}")
    figures = measure(images=arguments.images, rounds=arguments.rounds, workers=arguments.workers)
    for name, value in figures["images_per_second"].items():
        print(f"{name:10}{value:8.1f} images/s")
    for name in ("pipeline/pil", "pipeline/decoding", "cache/pil"):
        print(f"{name:20}{figures[name]:6.2f}")
    print(
        f"{arguments.workers} workers, {figures['kilobytes_per_image']:.0f} kB an image, "
        f"medians of {arguments.rounds} rounds"
    )
    if arguments.output:
        write_json(arguments.output, figures)


def measure(*, images: int, rounds: int, workers: int | None = None, size: int = SIZE) -> dict[str, Any]:
    """Time the contenders and return the figures.

    Args:
        images: different images to render.
        rounds: of about 3 seconds.
        workers: threads; None for all cores.
        size: side of the crops in pixels.

    Returns:
        `images_per_second` of each contender, the ratios "pipeline/pil", "pipeline/decoding" and "cache/pil",
        `workers` and `kilobytes_per_image`.
    """
    workers = workers or cores()
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

    speed = {name: median(values) for name, values in rates.items()}
    return {
        "images_per_second": speed,
        "pipeline/pil": speed["pipeline"] / speed["pil"],
        "pipeline/decoding": speed["pipeline"] / speed["decoding"],
        "cache/pil": speed["cache"] / speed["pil"],
        "workers": workers,
        "kilobytes_per_image": kilobytes,
    }


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


if __name__ == "__main__":
    run(main)
