"""Photographs in, poses out: evaluation's numbers for every kind of file, one sentence for what can't be used."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import photo, pixels_of, save
from PIL import Image

from pose_regression.data import lsp
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import windows as evaluation
from pose_regression.geometry import BOX_MARGIN
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J, Skeleton

SIZE = 64


@pytest.fixture(scope="module")
def model() -> PoseRegressor:
    """Random weights; its logits are magnified, so that the answer depends on the picture."""
    keras.utils.set_random_seed(0)
    model = PoseRegressor((SIZE, SIZE, 3), num_blocks=1, width=64)
    kernel = model.get_layer("block_b_1").get_layer("heatmaps").kernel
    kernel.assign(kernel * 200)
    return model


@pytest.fixture(scope="module")
def predictor(model) -> PosePredictor:
    return PosePredictor(model, batch_size=4)


def sample(path: Path, center: tuple[float, float], side: float) -> Sample:
    return Sample(str(path), np.array(center), side, np.full((16, 2), np.nan), np.ones(16, bool))


def test_the_random_network_tells_pictures_apart(predictor):
    a, b = pixels_of(predictor.predict([photo(0), photo(1)], people="whole"))
    assert np.abs(a - b).max() > 5  # else the comparisons below would prove nothing


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("flip, crops", [(False, 1), (True, 3)])
def test_files_give_the_numbers_of_evaluation(model, predictor, tmp_path, suffix, flip, crops):
    paths = [save(tmp_path / f"{i}{suffix}", photo(i, 90 + 31 * i, 120)) for i in range(5)]
    samples = [sample(path, ((90 + 31 * i) / 2, 60), max(90 + 31 * i, 120)) for i, path in enumerate(paths)]
    expected = evaluation.predict_blocks(model, samples, flip=flip, crops=crops).last
    poses = predictor.predict(paths, people="whole", flip=flip, crops=crops)
    np.testing.assert_allclose(pixels_of(poses), expected.pixels, atol=2e-3)
    np.testing.assert_allclose([pose.probability for pose in poses], expected.probability, atol=1e-5)


def test_a_box_becomes_a_square_with_the_margin_of_training(model, predictor, tmp_path):
    path = save(tmp_path / "a.jpg", photo(0, 300, 200))
    expected = evaluation.predict(model, [sample(path, (110, 80), 100 * BOX_MARGIN)])
    (pose,) = predictor.predict(path, (90, 30, 130, 130))
    np.testing.assert_allclose(pose.pixels, expected.pixels[0], atol=2e-3)
    np.testing.assert_array_equal(pose.box, [90, 30, 130, 130])


@pytest.mark.real_data
def test_real_photographs_give_the_numbers_of_evaluation(model, predictor, pose_data):
    samples = lsp.load(pose_data / "lsp", "test")[:6]
    poses = predictor.predict([sample.image for sample in samples], people="whole", flip=True)
    np.testing.assert_allclose(
        pixels_of(poses), evaluation.predict_blocks(model, samples, flip=True).last.pixels, atol=2e-3
    )


def test_batches_span_images_and_keep_the_order(model, predictor):
    images = [photo(i, 100 + i, 90) for i in range(6)]
    boxes = [None, [(5, 5, 60, 80), (20, 10, 99, 70), (0, 0, 30, 30)], [], np.empty((0, 4)), (9, 9, 70, 70), None]
    apart = [[] if i in (2, 3) else predictor.predict(images[i], boxes[i], people="whole") for i in range(6)]
    for batch_size in (1, 2, 16):
        together = PosePredictor(model, batch_size=batch_size)
        people = list(together.stream(images, boxes, people="whole", flip=False))
        assert [len(of_image) for of_image in people] == [1, 3, 0, 0, 1, 1]
        np.testing.assert_allclose(
            pixels_of([pose for of_image in people for pose in of_image]),
            pixels_of([pose for of_image in apart for pose in of_image]),
            atol=1e-3,
        )
    assert predictor.predict([]) == []


def test_the_stream_reads_two_batches_ahead_at_most(predictor):
    read = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal read
        for i in range(40):
            read += 1
            yield photo(i)

    stream = predictor.stream(images(), people="whole")
    for done in range(1, 30):
        next(stream)
        assert read <= done + 3 * predictor.batch_size
    stream.close()
    assert read < 40


def test_a_broken_image_is_raised_or_reported_and_the_others_keep_their_places(predictor, tmp_path):
    good = save(tmp_path / "good.jpg", photo(0))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(good.read_bytes()[:400])
    with pytest.raises(PoseError, match="broken.jpg is truncated or damaged"):
        predictor.predict([good, broken, good], people="whole")
    errors: dict[int, PoseError] = {}
    # The second box of the third image is wrong: its first one must not slip through.
    boxes = [None, None, [(0, 0, 50, 50), (5, 5, 5, 50)], None]
    people = list(predictor.stream([good, broken, good, good], boxes, people="whole", on_error=errors.__setitem__))
    assert [len(of_image) for of_image in people] == [1, 0, 0, 1]
    assert sorted(errors) == [1, 2] and "no area" in str(errors[2])
    np.testing.assert_array_equal(people[0][0].pixels, people[3][0].pixels)


@pytest.mark.parametrize(
    "box, message",
    [
        ((10, 10, 10, 50), "no area"),
        ((50, 10, 20, 50), "no area"),
        ((100, 10, 150, 50), "outside the image of 90 x 120"),
        ((-50, 10, 0, 50), "outside the image"),
        ((0, 0, float("nan"), 50), "finite"),
        ((-1e9, 0, 50, 50), "finite coordinates of at most 1e"),
        ((1, 2, 3), r"shape \(n, 4\)"),
        ([[1, 2, 3, 4], [5, 6]], r"shape \(n, 4\)"),
        ("box", r"shape \(n, 4\)"),
        (10**400, r"shape \(n, 4\)"),
    ],
)
def test_wrong_boxes_are_one_sentence(predictor, box, message):
    with pytest.raises(PoseError, match=message) as error:
        predictor.predict(photo(0), box)
    assert "images[0]" in str(error.value) and "\n" not in str(error.value)


def test_boxes_that_do_not_fit_the_images(predictor):
    for boxes in ([None], [None] * 3):
        with pytest.raises(PoseError, match="one entry"):
            predictor.predict([photo(0), photo(1)], boxes)


def test_weights_that_cannot_be_used(model, tmp_path):
    path = tmp_path / "a.weights.h5"
    with pytest.raises(PoseError, match="could not be read"):
        PosePredictor(path)
    save_weights(model, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PoseError, match="damaged"):
        PosePredictor(path)
    with pytest.raises(PoseError, match="Received: int"):
        PosePredictor(3)  # type: ignore[arg-type]
    with pytest.raises(PoseError, match="16 joints"):
        PosePredictor(model, skeleton=Skeleton(("head",)))
    with pytest.raises(PoseError, match="square"):
        PosePredictor(PoseRegressor((32, 64, 3), num_blocks=1, width=16))
    broken = PoseRegressor((32, 32, 3), num_blocks=1, width=16)
    broken.set_weights([np.full_like(weight, np.nan) for weight in broken.get_weights()])
    with pytest.raises(PoseError, match="weights are damaged"):
        PosePredictor(broken).predict(photo(0), people="whole")


def test_a_weight_file_gives_the_model_and_its_joints(model, predictor, tmp_path):
    skeleton = Skeleton(tuple(f"joint_{i}" for i in range(16)))
    save_weights(model, tmp_path / "a.weights.h5", skeleton=skeleton)
    (pose,) = PosePredictor(tmp_path / "a.weights.h5").predict(photo(0), people="whole")
    assert pose.names[3] == "joint_3"
    np.testing.assert_allclose(pose.pixels, predictor.predict(photo(0), people="whole")[0].pixels, atol=1e-3)


def test_a_network_with_all_blocks_answers_with_its_last(model, predictor):
    (pose,) = PosePredictor(model.with_outputs("all")).predict(photo(0), people="whole")
    np.testing.assert_allclose(pose.pixels, predictor.predict(photo(0), people="whole")[0].pixels, atol=1e-3)


def test_inspect_shows_what_the_network_saw(predictor):
    image, box = photo(0, 200, 200), (40, 60, 120, 140)
    pose, seen = predictor.inspect(image, box)
    np.testing.assert_allclose(pose.pixels, predictor.predict(image, box, people="whole")[0].pixels, atol=1e-3)
    assert seen["heatmaps"].shape == (8, 8, 16) and seen["context_heatmaps"].shape == (8, 8, 32)
    # 80 px times 1.25 is a window of 100 px, from (30, 50).
    window = Image.fromarray(image[50:150, 30:130]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.abs(seen["crop"].astype(int) - np.asarray(window)).max() < 12
    highest = 1 / (1 + np.exp(-seen["heatmaps"].max(axis=(0, 1))))
    np.testing.assert_allclose(pose.probability, highest, atol=1e-5)
    for boxes in ([], [(0, 0, 50, 50)] * 2):
        with pytest.raises(PoseError, match="one box"):
            predictor.inspect(image, boxes)


def test_pelvis_and_thorax_that_were_not_learned_lie_between_the_joints_that_define_them(model, predictor):
    learned = tuple(name for name in PA16J.names if name not in ("pelvis", "thorax", "head"))
    partly = PosePredictor(model, skeleton=Skeleton(PA16J.names, PA16J.limbs, learned))
    (whole,), (pose,) = (it.predict(photo(0), people="whole") for it in (predictor, partly))
    hips = [PA16J.index("right_hip"), PA16J.index("left_hip")]
    np.testing.assert_allclose(pose.pixels[PA16J.index("pelvis")], whole.pixels[hips].mean(axis=0), atol=1e-4)
    assert np.isnan(pose.pixels[PA16J.index("head")]).all() and pose.probability[PA16J.index("head")] == 0
    same = [PA16J.index(name) for name in learned]
    np.testing.assert_array_equal(pose.pixels[same], whole.pixels[same])


def test_a_mirrored_image_of_joints_without_a_partner_is_said(model, caplog):
    names = ("left_paw", *(f"joint_{i}" for i in range(15)))
    lonely = PosePredictor(model, skeleton=Skeleton(names))
    lonely.predict(photo(1), people="whole")
    assert not caplog.records
    lonely.predict(photo(1), people="whole", flip=True)
    (record,) = caplog.records
    assert "left_paw shows a side and has no partner" in record.getMessage()
