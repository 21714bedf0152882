import json

import keras
import pytest
from keras import layers

from pose_regression.errors import PoseError
from pose_regression.model.hourglass import Hourglass
from pose_regression.model.macs import KINDS, count_macs
from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import ContextAggregation, JointProbability, SoftArgmax


def only(**counts: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | counts


def test_every_kind_of_layer_counted_by_hand():
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)  # 4x4x4 values of 3*3*3 products
    x = layers.Conv2D(6, (5, 1), padding="same", groups=2)(x)  # 4x4x6 values of 5*1*2 products
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(2, 1, use_bias=False)(x)  # 4x4x2 values of 6 products
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)  # 2x2x4 values of 9 products
    x = layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2)(x)  # 2x2x8 of 9, then 2x2x5 of 8
    x = layers.Dense(7)(layers.Flatten()(x))  # 7 values of 20 products
    assert count_macs(keras.Model(image, x)) == only(
        conv_kxk=4 * 4 * 4 * 27 + 4 * 4 * 6 * 10,
        conv1x1=4 * 4 * 2 * 6,
        depthwise=2 * 2 * 4 * 9 + 2 * 2 * 8 * 9,
        sep_pointwise=2 * 2 * 5 * 8,
        dense=7 * 20,
    )


def test_regression_stage_counted_by_hand():
    parts, context = keras.Input((4, 6, 3)), keras.Input((4, 6, 6))
    soft_argmax = SoftArgmax()
    pose = ContextAggregation()(soft_argmax(parts), SoftArgmax()(context), JointProbability()(context))
    # 4x6 cells of 3 + 6 maps, two coordinates; 6 weighted votes of two coordinates
    assert count_macs(keras.Model([parts, context], pose)) == only(sam=2 * 24 * 9, dense=2 * 6)


def test_shared_layer_counts_once_per_call_within_the_model():
    shared = layers.Conv2D(3, 1)
    image = keras.Input((4, 4, 3))
    once = shared(image)
    twice = shared(once)
    assert count_macs(keras.Model(image, twice)) == only(conv1x1=2 * 16 * 9)
    assert count_macs(keras.Model(image, once)) == only(conv1x1=16 * 9)


def test_nested_model_counts_once_per_call():
    inner_image = keras.Input((4, 4, 3))
    inner = keras.Model(inner_image, layers.Conv2D(3, 3, padding="same")(inner_image))
    image = keras.Input((4, 4, 3))
    outer = keras.Model(image, layers.Add()([inner(inner(image)), inner(image)]))
    assert count_macs(outer) == only(conv_kxk=3 * 16 * 81)


def test_sequential_model_is_counted():
    model = keras.Sequential([keras.Input((5, 5, 2)), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(2)])
    assert count_macs(model) == only(conv_kxk=9 * 3 * 18, dense=2 * 27)


def test_hourglass_counted_by_hand():
    residual = 256 * 128 + 9 * 128 * 128 + 128 * 256  # products at one position
    # 64x64: two (beside the hourglass, after it); 32, 16 and 8: three; 4x4: three
    positions = 2 * 64**2 + 3 * (32**2 + 16**2 + 8**2 + 4**2)
    stack = positions * residual + 64**2 * (256 * 256 + 256 * 16)
    link = 64**2 * (256 * 256 + 16 * 256)
    stem = (
        128**2 * (49 * 3 * 64 + 64 * 64 + 9 * 64 * 64 + 64 * 128 + 64 * 128)
        + 64**2 * (128 * 64 + 9 * 64 * 64 + 64 * 128)
        + 64**2 * (128 * 128 + 9 * 128 * 128 + 128 * 256 + 128 * 256)
    )
    counts = count_macs(Hourglass())
    assert sum(counts.values()) == stem + 8 * stack + 7 * link == 27_440_185_344
    assert counts["conv_kxk"] + counts["conv1x1"] == 27_440_185_344


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "num_blocks", "num_context"), [("macs_k8", 8, 2), ("macs_k2", 2, 2), ("macs_k2_noctx", 2, 0)]
)
def test_pose_regressor_costs_what_the_authors_network_costs(pose_reference, file, num_blocks, num_context):
    authors = only(**json.loads((pose_reference / "network" / f"{file}.json").read_text())["by_kind"])
    counts = count_macs(PoseRegressor(num_blocks=num_blocks, num_context=num_context, outputs="all"))
    for kind in ("conv_kxk", "conv1x1", "depthwise", "sep_pointwise"):
        assert counts[kind] == authors[kind]
    # The authors' frozen layers multiply by identities, ones and zeros besides.
    parts, context = 16, 16 * num_context
    assert counts["sam"] == authors["sam"] - num_blocks * 2 * (parts**2 + context**2)
    assert authors["dense"] == num_blocks * 3 * context * parts
    assert counts["dense"] == num_blocks * 2 * context


def test_single_answer_costs_one_regression_stage():
    arguments = {"input_shape": (64, 64, 3), "num_blocks": 3, "width": 16}
    last, every = (count_macs(PoseRegressor(**arguments, outputs=outputs)) for outputs in ("last", "all"))
    assert every == last | {"sam": 3 * last["sam"], "dense": 3 * last["dense"]}


def test_uncountable_models_are_refused():
    with pytest.raises(PoseError, match="Only functional"):
        count_macs(keras.Sequential([layers.Dense(2)]))
    image = keras.Input((None, None, 3))
    with pytest.raises(PoseError, match="fixed sizes"):
        count_macs(keras.Model(image, layers.Conv2D(2, 3)(image)))
    image = keras.Input((8, 8, 3))
    with pytest.raises(PoseError, match="Conv2DTranspose"):
        count_macs(keras.Model(image, layers.Conv2DTranspose(2, 3)(image)))
