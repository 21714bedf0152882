"""Who is in a photograph: what is kept of a detector's boxes, detectors by name, their way through the predictor."""

import numpy as np
import pytest
from PIL import Image

from pose_regression.data.synthetic import render
from pose_regression.errors import PoseError
from pose_regression.inference import people
from pose_regression.inference.people import Detector, alikeness, find_detector, look_for, once, overlap

GREY = np.full((100, 200, 3), 128, np.uint8)


def answering(boxes, scores, **options) -> Detector:
    return Detector("test", lambda image: (np.array(boxes), np.array(scores)), **options)


def test_overlap_is_intersection_over_union():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]])
    np.testing.assert_allclose(overlap(np.array([0, 0, 10, 10]), boxes), [1, 50 / 150, 0])


def test_people_are_kept_once_the_surest_first_and_cut_at_the_edge():
    boxes = [[0, 0, 40, 80], [100, 10, 150, 90], [0, 0, 40, 79], [180, 50, 260, 130], [50, -20, 50.4, 30]]
    kept, scores = look_for(answering(boxes, [0.5, 0.9, 0.6, 0.3, 1.0]), GREY)
    np.testing.assert_allclose(kept, [[100, 10, 150, 90], [0, 0, 40, 79], [180, 50, 200, 100]])
    np.testing.assert_allclose(scores, [0.9, 0.6, 0.3])  # the last box has no area, the first is the third's person


def test_two_hundred_people_are_as_many_as_asked_for():
    boxes = [[i % 20 * 10, i // 20 * 10, i % 20 * 10 + 9, i // 20 * 10 + 9] for i in range(200)]
    kept, scores = look_for(answering(boxes, np.arange(200)), GREY, max_people=3)
    np.testing.assert_allclose(scores, [199, 198, 197])
    assert len(look_for(answering(boxes, np.arange(200)), GREY)[0]) == people.MAX_PEOPLE


@pytest.mark.parametrize(
    "answer", [3, ([[0, 0, 1]], [1]), ([[0, 0, 9, 9]], [1, 2]), ([[0, 0, np.nan, 9]], [1]), ("ab", "c")]
)
def test_a_detector_that_answers_something_else_is_told_of(answer):
    with pytest.raises(PoseError, match=r"detector test must give finite boxes \(n, 4\) and scores"):
        look_for(Detector("test", lambda image: answer), GREY)


def test_alikeness_of_poses_by_hand():
    a, b = np.zeros((2, 2)), np.array([[0.0, 0.0], [3.0, 4.0]])
    assert alikeness(a, a, 400) == 1
    # 25 px² of 2 * 400 * 0.1² = 8: exp(-3.125) for one joint of two.
    assert alikeness(a, b, 400) == pytest.approx((1 + np.exp(-3.125)) / 2)
    assert alikeness(a, np.array([[np.nan, 0], [0, 0]]), 400) == 1  # of the joint that both have


def test_of_two_equal_poses_one_is_kept():
    poses = np.stack([np.zeros((4, 2)), np.full((4, 2), 0.1), np.full((4, 2), 50.0)])
    boxes = np.array([[0, 0, 20, 20], [1, 0, 30, 20], [40, 40, 60, 60]])
    assert once(poses, boxes) == [0, 2]


def test_detectors_by_name(monkeypatch):
    def mine(image):
        return np.zeros((0, 4)), np.zeros(0)

    assert find_detector("whole") is None
    assert find_detector(mine).find is mine and find_detector(mine).name == "mine"
    assert find_detector("shipped") is find_detector("auto")
    for wrong in ("yolo", "keras-hub:", "keras-hub", 3):
        with pytest.raises(PoseError, match="people must be auto, whole, shipped, keras-hub:PRESET"):
            find_detector(wrong)


def test_auto_without_a_detector_is_the_whole_picture_and_says_so(monkeypatch):
    def missing():
        raise PoseError("The detector is not here.")

    monkeypatch.setattr(people, "shipped", missing)
    people._automatic.cache_clear()
    try:
        with pytest.warns(UserWarning, match="whole picture is taken as one person: The detector is not here"):
            assert find_detector("auto") is None
    finally:
        people._automatic.cache_clear()


@pytest.mark.parametrize("size", [(160, 128), (400, 300), (300, 400)])
def test_the_shipped_detector_finds_rendered_people_in_their_pixels(size):
    for seed in range(4):
        picture, (person, *_) = render(seed, size=size)
        boxes, scores = look_for(find_detector("shipped"), picture)
        joints = person.joints[np.isfinite(person.joints).all(axis=1)]
        joints = np.clip(joints, 0, size[::-1])
        truth = np.concatenate([joints.min(axis=0), joints.max(axis=0)])
        assert overlap(truth, boxes).max() > 0.35 and scores[0] > 0.3  # the box has the whole body, the joints less


def test_the_shipped_detector_finds_nobody_in_noise_or_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    for picture in (noise, GREY, GREY[:1, :1], GREY[:1]):
        assert len(look_for(find_detector("shipped"), picture)[0]) == 0


def test_another_file_is_no_detector(tmp_path):
    with pytest.raises(PoseError, match="not shipped with this version"):
        people.shipped(tmp_path / "none.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"no network" * 10)
    with pytest.raises(PoseError, match="broken.tflite is no LiteRT file"):
        people.shipped(tmp_path / "broken.tflite")


def test_a_photograph_without_people_has_no_pose(predictor):
    assert predictor.predict(GREY, people=answering(np.zeros((0, 4)), [])) == []
    stream = predictor.stream([GREY, GREY], [None, (5, 5, 50, 90)], answering(np.zeros((0, 4)), []))
    assert [len(poses) for poses in stream] == [0, 1]


def test_found_people_get_the_detector_s_margin_number_and_score(predictor, tmp_path):
    small = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    picture = np.asarray(Image.fromarray(small).resize((300, 200), Image.Resampling.BICUBIC))
    finder = answering([[20, 20, 80, 120], [150, 40, 250, 90]], [0.4, 0.75], margin=1.0)
    first, second = predictor.predict(picture, people=finder)
    assert (first.person, second.person) == (0, 1) and first.detection == pytest.approx(0.75)
    np.testing.assert_array_equal(second.box, [20, 20, 80, 120])
    # What a window of side 100 about the box gives: a box of side 80 with the margin of 1.25 that given boxes have.
    (given,) = predictor.predict(picture, (10, 30, 90, 110))
    np.testing.assert_allclose(second.pixels, given.pixels, atol=1e-2)
    assert given.detection is None and given.to_dict()["detection"] is None
    assert second.to_coco()["detection"] == 0.4 and second.to_coco()["person"] == 1


def test_a_file_and_its_pixels_give_the_same_people(predictor, tmp_path):
    picture = Image.fromarray(render(2, size=(320, 256))[0])
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned back by a quarter, clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    (expected,), (found,) = predictor.predict(np.asarray(picture)), predictor.predict(tmp_path / "turned.png")
    np.testing.assert_allclose(found.box, expected.box, atol=0.01)
    np.testing.assert_allclose(found.pixels, expected.pixels, atol=0.1)


def test_max_people_must_be_some(predictor):
    with pytest.raises(PoseError, match="max_people must be at least 1"):
        predictor.predict(GREY, max_people=0)


class Stub:
    """Answers as KerasHub's detectors do, of a square picture of 64 pixels."""

    preprocessor = None

    def __init__(self, form, boxes):
        self.bounding_box_format, self.boxes = form, np.array([boxes], np.float32)
        self.backbone = type("Backbone", (), {"image_shape": (64, 64, 3)})

    def predict(self, images, verbose):
        assert images.shape == (1, 64, 64, 3)
        labels, confidence = np.array([[0, 17, 0, -1]]), np.array([[0.9, 0.9, 0.1, -1]])
        return {"boxes": self.boxes, "labels": labels, "confidence": confidence}


@pytest.mark.parametrize("form, box", [("yxyx", [8, 16, 24, 32]), ("rel_xyxy", [0.25, 0.125, 0.5, 0.375])])
def test_keras_hub_s_answers_become_boxes_in_pixels(form, box):
    detector = people.of_keras_hub(Stub(form, [box, box, box, [-1] * 4]))
    boxes, scores = look_for(detector, GREY)  # 200 pixels wide: 3.125 to one of the detector's
    np.testing.assert_allclose(boxes, [[50, 25, 100, 75]])
    np.testing.assert_allclose(scores, [0.9])


def test_keras_hub_s_other_formats_are_refused():
    with pytest.raises(PoseError, match="boxes as center_xywh; expected xyxy or yxyx"):
        people.of_keras_hub(Stub("center_xywh", [[0] * 4] * 4))


def test_a_real_keras_hub_detector_with_its_own_post_processing(monkeypatch):
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    import keras

    keras.utils.set_random_seed(0)
    features = hub.models.HGNetV2Backbone(
        stem_channels=[3, 16, 16], stackwise_stage_filters=[
            [16, 16, 64, 1, 3, 3], [64, 32, 256, 1, 3, 3], [256, 64, 512, 2, 3, 5], [512, 128, 1024, 1, 3, 5],
        ],
        apply_downsample=[False, True, True, True], use_lightweight_conv_block=[False, False, True, True],
        depths=[1, 1, 2, 1], hidden_sizes=[64, 256, 512, 1024], embedding_size=16, use_learnable_affine_block=True,
        hidden_act="relu", image_shape=(128, 128, 3), out_features=["stage3", "stage4"],
    )  # fmt: skip
    backbone = hub.models.DFineBackbone(
        backbone=features, decoder_in_channels=[32, 32], encoder_hidden_dim=32, num_denoising=10, num_labels=80,
        hidden_dim=32, learn_initial_query=False, num_queries=30, anchor_image_size=(128, 128), feat_strides=[16, 32],
        num_feature_levels=2, encoder_in_channels=[512, 1024], encode_proj_layers=[1], num_attention_heads=4,
        encoder_ffn_dim=64, num_encoder_layers=1, hidden_expansion=0.34, depth_multiplier=0.5, eval_idx=-1,
        num_decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, decoder_n_points=[6, 6],
        lqe_hidden_dim=16, num_lqe_layers=2, out_features=["stage3", "stage4"], image_shape=(128, 128, 3),
    )  # fmt: skip
    decoder = hub.layers.NonMaxSuppression(
        bounding_box_format="yxyx", from_logits=True, confidence_threshold=0.0, max_detections=30
    )
    model = hub.models.DFineObjectDetector(
        backbone=backbone, num_classes=80, bounding_box_format="yxyx", prediction_decoder=decoder
    )
    monkeypatch.setattr(people, "KERAS_HUB_SCORE", 0.0)
    picture = np.random.default_rng(0).integers(0, 256, (64, 200, 3), np.uint8)
    square = people._letterboxed(picture, 128)[0]
    answer = {name: value[0] for name, value in model.predict(square[None], verbose=0).items()}
    assert answer["num_detections"] > 0
    best = int(answer["confidence"].argmax())
    boxes, scores = people.of_keras_hub(model, person=int(answer["labels"][best])).find(picture)
    surest = int(scores.argmax())
    assert scores[surest] == answer["confidence"][best]
    np.testing.assert_allclose(boxes[surest], answer["boxes"][best][[1, 0, 3, 2]] * 200 / 128, rtol=1e-5)
