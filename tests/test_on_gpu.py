"""Training by PyTorch: its crops and losses are those of the pipeline and of Keras; it runs here without a GPU."""

import keras
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from pose_regression.data.augment import Augmentation, plan_epoch  # noqa: E402
from pose_regression.data.crop import crop_pixels  # noqa: E402
from pose_regression.data.sample import Sample  # noqa: E402
from pose_regression.model.network import PoseRegressor  # noqa: E402
from pose_regression.skeleton import PA16J  # noqa: E402
from pose_regression.training import on_gpu  # noqa: E402
from pose_regression.training.supervision import with_map_divergence  # noqa: E402


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    generator = np.random.default_rng(0)
    samples = []
    for i, size in enumerate([(70, 50), (60, 90), (64, 64)]):
        path = str(tmp_path_factory.mktemp("pictures") / f"{i}.png")
        Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path)
        joints = generator.uniform(15, 45, (16, 2))
        samples.append(Sample(path, np.array([30.0, 28.0]), 36.0, joints, np.ones(16, bool)))
    return samples


def test_crops_are_those_of_the_pipeline(people):
    pictures = on_gpu.read_pictures(people, "cpu")
    within = Augmentation(zoom=(0.7, 1.1), translation=0.1)  # what is kept of a picture holds these windows
    plan = plan_epoch(people * 2, PA16J, seed=1, epoch=0, augmentation=within)
    crops = on_gpu.cut(pictures, list(plan.image), plan.affine, 32).permute(0, 2, 3, 1).numpy()
    for row in range(len(plan)):
        with Image.open(plan.image[row]) as image:
            wanted = crop_pixels(np.asarray(image), plan.affine[row], 32)
        np.testing.assert_allclose(crops[row] * 255, wanted, atol=0.1)


def test_large_pictures_are_shrunk_and_their_crops_lie_where_they_did(tmp_path):
    ramp = np.linspace(0, 255, 1200).astype(np.uint8)
    Image.fromarray(np.repeat(np.tile(ramp, (1000, 1))[..., None], 3, 2)).save(tmp_path / "large.png")
    sample = Sample(str(tmp_path / "large.png"), np.array([600.0, 500.0]), 500.0, np.zeros((16, 2)), np.ones(16, bool))
    plan = plan_epoch([sample], PA16J, seed=0, epoch=0, augmentation=Augmentation(0.0, (1.0, 1.0), 0.0, 0.0))
    crop = on_gpu.cut(on_gpu.read_pictures([sample], "cpu"), list(plan.image), plan.affine, 64)[0, 0, 32].numpy()
    columns = 350 + (np.arange(64) + 0.5) * 500 / 64
    np.testing.assert_allclose(crop * 255, columns / 1200 * 255, atol=1.0)


def test_losses_are_those_of_keras():
    generator = np.random.default_rng(2)
    maps = generator.normal(0, 3, (4, 2, 48, 8, 12)).astype(np.float32)
    pose, probability = generator.uniform(0.1, 0.9, (4, 16, 3)), generator.uniform(0.3, 1, (4, 16, 2))
    pose[..., 2] *= generator.random((4, 16)) > 0.3
    probability[..., 0] = generator.random((4, 16)) > 0.4
    probability[..., 1] *= generator.random((4, 16)) > 0.2
    network = PoseRegressor((64, 96, 3), num_blocks=1, width=16, outputs="every_map")
    stage = [network.get_layer(name) for name in ("part_soft_argmax", "joint_probability", "context_aggregation")]
    found, probabilities, logits = [], [], maps.transpose(0, 1, 3, 4, 2)
    for k in range(2):
        part, context = logits[:, k, ..., :16], logits[:, k, ..., 16:]
        found.append(stage[2](stage[0](part), stage[0](context), stage[1](context)))
        probabilities.append(stage[1](part))
    supervision = with_map_divergence(on_gpu.MAP_WEIGHT)
    answer = {
        "pose": keras.ops.stack(found, 1), "probability": keras.ops.stack(probabilities, 1),
        "heatmaps": logits[..., :16],
    }  # fmt: skip
    targets = supervision.targets({"pose": pose.astype("float32"), "probability": probability.astype("float32")})
    wanted = sum(
        supervision.weights[name] * float(supervision.losses[name](targets[name], answer[name]))
        for name in supervision.losses
    )
    given = (torch.tensor(a, dtype=torch.float32) for a in (maps, pose, probability))
    assert float(on_gpu.loss(*given)) == pytest.approx(wanted, rel=1e-5)


def test_a_stage_learns_and_keeps_the_best_weights(people):
    keras.utils.set_random_seed(3)
    network = PoseRegressor((32, 32, 3), num_blocks=1, width=16)
    scores = iter([5.0, 9.0, 7.0, *[0.0] * 99])
    trainer = on_gpu.Trainer(
        network, on_gpu.read_pictures(people, "cpu"), batch_size=2, score=lambda trainer, tensors: next(scores)
    )
    plan = plan_epoch(people * 8, PA16J, seed=0, epoch=0)
    first = trainer.fit(plan, 3e-3)
    for _ in range(4):
        last = trainer.fit(plan, 3e-3)
    assert last < first
    trainer.look(plan)
    trainer.look(plan)
    best = {i: tensor.clone() for i, tensor in trainer.kept.items()}
    trainer.stage(people * 8, 0.2, 1e-3, augmentation=Augmentation(), seed=0, floor=0.1)
    assert trainer.best == 9.0
    for i, tensor in best.items():
        assert torch.equal(tensor, trainer.kept[i])
    pixels, confidence = trainer.predict(people, trainer.kept, flip=True)
    assert pixels.shape == (3, 16, 2) and ((0 < confidence) & (confidence < 1)).all()


def test_predictions_are_those_of_the_network(people):
    keras.utils.set_random_seed(4)
    network = PoseRegressor((32, 32, 3), num_blocks=1, width=16)
    kernel = network.get_layer("block_b_1").get_layer("heatmaps").kernel
    kernel.assign(kernel * 100)
    trainer = on_gpu.Trainer(network, on_gpu.read_pictures(people, "cpu"), batch_size=1, score=lambda *_: 0.0)
    pixels, confidence = trainer.predict(people, trainer.graph.tensors)
    plan = plan_epoch(people, PA16J, seed=0, epoch=0, augmentation=Augmentation(0, (1, 1), 0, 0, (1, 1)), shuffle=False)
    crops = on_gpu.cut(trainer.pictures, list(plan.image), plan.affine, 32).permute(0, 2, 3, 1).numpy() * 2 - 1
    answer = network(crops)
    wanted = np.stack([s.center for s in people])[:, None] + (np.array(answer["pose"]) - 0.5) * 36
    np.testing.assert_allclose(pixels, wanted, atol=0.5)  # bfloat16
    np.testing.assert_allclose(confidence, np.array(answer["confidence"])[..., 0], atol=0.05)


def test_unreadable_pictures_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    sample = Sample(str(tmp_path / "a.png"), np.zeros(2), 10.0, np.zeros((16, 2)), np.ones(16, bool))
    with pytest.raises(Exception, match=r"a\.png cannot be read as a picture"):
        on_gpu.read_pictures([sample], "cpu")
