"""Weight files, ours and the authors': what was saved comes back, anything else is refused and changes nothing."""

import importlib.util
import json
import shutil
import warnings

import h5py
import keras
import numpy as np
import pytest

from pose_regression.container import read_container, write_container
from pose_regression.errors import PoseError
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model import weights
from pose_regression.model.authors_weights import authors_order
from pose_regression.model.load import load_model
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import coordinate_ramp
from pose_regression.model.weights import load_authors_weights, load_weights, save_weights
from pose_regression.skeleton import PA16J, Skeleton

NARROW = {
    "input_shape": (64, 64, 3), "num_joints": 4, "num_context": 2, "alpha": 0.7, "num_blocks": 2, "kernel_size": 3,
    "width": 16,
}  # fmt: skip
SKELETON = Skeleton(("head", "neck", "right_hand", "left_hand"), limbs=(("head", "neck"), ("neck", "left_hand")))


def narrow(seed: int, **options) -> PoseRegressor:
    """A small network whose every weight and average is random."""
    model = PoseRegressor(**NARROW | options)
    rng = np.random.default_rng(seed)
    for variable in named_weights(model).values():
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def values(model: keras.Model) -> list[np.ndarray]:
    return [array.copy() for array in model.get_weights()]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def source() -> PoseRegressor:
    return narrow(0)


@pytest.fixture(scope="module")
def target() -> PoseRegressor:
    """Another network of the same arguments, for loading into."""
    return narrow(1)


# Ours


def test_weights_are_named_by_their_place(source):
    names = named_weights(source)
    assert "stem/conv_1/kernel" in names and "block_a_2/quarter_3/depthwise_kernel" in names
    assert "block_b_1/project_bn/moving_variance" in names and "block_b_2/project/kernel" not in names
    frozen = [variable for variable in source.variables if variable.name == "coordinates"]
    assert len(frozen) == 2
    assert {id(v) for v in names.values()} | {id(v) for v in frozen} == {id(v) for v in source.variables}
    assert len(names) + 2 == len(source.variables)


@keras.saving.register_keras_serializable(package="test_weights")
class Named:
    """A backbone of one batch norm and one convolution, perhaps in a nested model, of the names given."""

    def __init__(self, norm=None, maps=None, part="", nested=False):
        self.config = {"norm": norm, "maps": maps, "part": part, "nested": nested}

    def __call__(self, image, num_maps, policy):
        given = self.config
        start = keras.Input(image.shape[1:], name="start") if given["nested"] else image
        x = keras.layers.BatchNormalization(name=given["norm"])(keras.layers.AveragePooling2D(8)(start))
        x = keras.layers.Conv2D(num_maps, 1, name=given["maps"])(x)
        return [keras.Model(start, x, name=given["part"])(image) if given["nested"] else x]

    def get_config(self):
        return self.config

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        (Named(maps="maps"), r"batch_normalization(_\d+)?"),
        (Named(norm="norm"), r"conv2d(_\d+)?"),
        (Named("norm", "maps", part=None, nested=True), r"functional(_\d+)?"),
        (Named("norm", None, part="part", nested=True), r"conv2d(_\d+)?"),
    ],
)
def test_a_backbone_whose_layers_keras_named_is_refused(backbone, layer):
    with pytest.raises(PoseError, match=f"^The backbone's layer '{layer}' needs a name of its own"):
        PoseRegressor((64, 64, 3), backbone=backbone)


def test_a_backbone_of_named_layers_comes_back_from_its_file(tmp_path):
    backbone = Named("norm", "maps", part="part", nested=True)
    first = PoseRegressor((64, 64, 3), backbone=backbone)
    assert not first.get_config().keys() & {"kernel_size", "width"}  # the paper's blocks' alone
    save_weights(first, tmp_path / "a.weights.h5")
    again, _ = load_model(tmp_path / "a.weights.h5")
    assert_equal(values(again), values(first))
    assert again.get_config() == first.get_config()


def test_the_shipped_weights_say_that_pelvis_and_thorax_were_not_learned():
    _, skeleton = load_model("small")
    assert skeleton.learned is not None and set(skeleton.learned) == set(PA16J.names) - {"pelvis", "thorax"}


def test_saved_weights_come_back_exactly(source, tmp_path):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON)
    other = narrow(2)
    load_weights(other, str(tmp_path / "a.weights.h5"))
    assert_equal(values(other), values(source))


def test_a_weight_file_alone_builds_the_network(source, tmp_path):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON, notes={"epochs": 3})
    model, skeleton = load_model(tmp_path / "a.weights.h5", outputs="maps")
    assert skeleton == SKELETON
    assert_equal(values(model), values(source))
    assert NARROW.items() <= model.get_config().items()
    assert model.get_config()["outputs"] == "maps"
    assert read_container(tmp_path / "a.weights.h5")[1]["notes"] == {"epochs": 3}
    low, _ = load_model(tmp_path / "a.weights.h5", dtype="mixed_bfloat16")
    assert low.get_layer("stem").get_layer("conv_1").compute_dtype == "bfloat16"
    assert_equal(values(low), values(source))


def test_a_keras_file_keeps_the_joints_and_which_were_learned(tmp_path):
    skeleton = Skeleton(SKELETON.names, SKELETON.limbs, learned=("head", "neck", "left_hand"))
    model = PoseRegressor(**NARROW, skeleton=skeleton)
    model.save(tmp_path / "a.keras")
    again, found = load_model(tmp_path / "a.keras")
    assert (found, found.learned, again.skeleton.learned) == (skeleton, skeleton.learned, skeleton.learned)
    assert PosePredictor(tmp_path / "a.keras").skeleton.learned == skeleton.learned
    assert PosePredictor(keras.saving.load_model(tmp_path / "a.keras")).skeleton.learned == skeleton.learned
    save_weights(again, tmp_path / "a.weights.h5")
    assert PoseRegressor(weights=tmp_path / "a.weights.h5").skeleton.learned == skeleton.learned
    with pytest.raises(PoseError, match="The model has 4 joints; the skeleton has 16"):
        PoseRegressor(**NARROW, skeleton=PA16J)


def test_half_precision_file_is_smaller_and_within_rounding(tmp_path):
    wide = narrow(0, width=64, num_blocks=1)
    kernels = sum(np.prod(v.shape) for v in named_weights(wide).values() if len(v.shape) > 1)
    for half in (False, True):
        save_weights(wide, tmp_path / f"{half}.h5", skeleton=SKELETON, half=half)
    saved = (tmp_path / "False.h5").stat().st_size - (tmp_path / "True.h5").stat().st_size
    assert saved == pytest.approx(2 * kernels, rel=0.05)  # two bytes each
    model, _ = load_model(tmp_path / "True.h5")
    for name, variable in named_weights(wide).items():
        found, expected = (np.array(keras.ops.convert_to_numpy(v)) for v in (named_weights(model)[name], variable))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2**-11 if expected.ndim > 1 else 0)


def test_skeleton_of_another_size_is_not_saved(source, tmp_path):
    with pytest.raises(PoseError, match="Expected a skeleton of the model's 4 joints. Received: 16 joints"):
        save_weights(source, tmp_path / "a.weights.h5", skeleton=PA16J)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_blocks": 1}, "another network: 0 of this network's .* are missing, .* are unknown, such as 'block_a_2/"),
        ({"num_blocks": 3}, "are missing, 0 are unknown, such as 'block_a_3/"),
        ({"width": 18}, r"another network: .* has shape \(.*\), expected \("),
        ({"kernel_size": 5}, r"depthwise_kernel has shape \(3, 3, .*\), expected \(5, 5, "),
        ({"num_joints": 6, "num_context": 1}, "another network: num_joints is 4, expected 6"),  # 12 maps, too
        ({"num_context": 1}, "num_context is 2, expected 1"),
        ({"grid": "paper"}, "grid is 'endpoints', expected 'paper'"),
    ],
    ids=str,
)
def test_weights_of_another_network_are_refused(source, options, sentence, tmp_path):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON)
    other = PoseRegressor(**NARROW | options)
    before = values(other)
    with pytest.raises(PoseError, match=sentence):
        load_weights(other, tmp_path / "a.weights.h5")
    assert_equal(values(other), before)


def test_weights_fit_any_input_size_alpha_and_output_mode(source, tmp_path):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON)
    other = PoseRegressor(**NARROW | {"input_shape": (96, 64, 3), "alpha": 0.1, "outputs": "all"})
    load_weights(other, tmp_path / "a.weights.h5")
    for name, variable in named_weights(source).items():
        np.testing.assert_array_equal(named_weights(other)[name], variable)


def test_no_damaged_file_loads(target, tmp_path):
    path = tmp_path / "a.weights.h5"
    save_weights(PoseRegressor(**NARROW | {"num_blocks": 1}), path, skeleton=SKELETON)
    content, before = path.read_bytes(), values(target)
    rng = np.random.default_rng(0)
    flips = rng.integers(8 * len(content), size=200)
    lengths = [0, 100, 511, 512, 513, *rng.integers(len(content), size=20), len(content) - 1]
    for place in flips:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(PoseError, match=r"a\.weights\.h5 is (damaged or truncated|not a file of this project)"):
            load_model(path)
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(PoseError, match=r"a\.weights\.h5 is "):
            load_weights(target, path)
    assert_equal(values(target), before)


def test_files_of_another_kind_are_refused(source, target, tmp_path):
    write_container(tmp_path / "state.h5", {}, {"kind": "state"})
    with pytest.raises(PoseError, match="state.h5 holds no weights but 'state'"):
        load_weights(target, tmp_path / "state.h5")
    source.save_weights(tmp_path / "keras.weights.h5")
    with pytest.raises(PoseError, match="keras.weights.h5 is a file of Keras' save_weights, which does not"):
        load_model(tmp_path / "keras.weights.h5")
    with pytest.raises(PoseError, match="missing.h5 could not be read: No such file"):
        load_model(tmp_path / "missing.h5")


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"num_block": 2}}, {"network": {"num_blocks": 0}}, {"network": None}, {"skeleton": {}},
        {"skeleton": {"names": ["a", "a"], "limbs": []}},
    ],
    ids=str,
)  # fmt: skip
def test_network_that_cannot_be_built_is_one_sentence(source, change, tmp_path):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON)
    arrays, metadata = read_container(tmp_path / "a.weights.h5")
    write_container(tmp_path / "b.weights.h5", arrays, metadata | change)
    with pytest.raises(PoseError, match="b.weights.h5 describes no network this version can build: "):
        load_model(tmp_path / "b.weights.h5")


def test_weights_that_do_not_ship_are_named(monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", ("tiny",))
    with pytest.raises(PoseError, match="weights 'tiny' are not shipped with this version: .*tiny.weights.h5 does not"):
        load_model("tiny")


def test_skeleton_in_the_file_is_plain_json(source, tmp_path):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON)
    with h5py.File(tmp_path / "a.weights.h5") as file:
        metadata = json.loads(bytes(file["metadata"][()]))
    assert metadata["skeleton"]["names"] == list(SKELETON.names)
    assert metadata["network"]["num_blocks"] == 2 and "outputs" not in metadata["network"]


# The authors'


def frozen_soft_argmax(height: int, width: int, maps: int, grid: str) -> list[np.ndarray]:
    """What the authors store for a soft-argmax: two separable convolutions, x then y, as wide as the map."""
    x = np.broadcast_to(coordinate_ramp(width, grid)[None, :, None, None], (height, width, maps, 1))
    y = np.broadcast_to(coordinate_ramp(height, grid)[:, None, None, None], (height, width, maps, 1))
    identity = np.eye(maps, dtype=np.float32)[None, None]
    return [x, identity, y, identity]


def write_authors_file(model: PoseRegressor, path) -> None:
    """A Keras-2 file in the authors' layout with the weights of `model`."""
    config = model.get_config()
    groups = {"input_1": []}
    for group, names in authors_order(config["num_blocks"]):
        variables = [named_weights(model)[name] for name in names]
        groups[group] = [(f"{i}/{v.name}:0", keras.ops.convert_to_numpy(v)) for i, v in enumerate(variables)]
    joints, context = config["num_joints"], config["num_context"]
    cells = [n // 8 for n in config["input_shape"][:2]]
    for group, maps in (("sSAM", joints), ("cSAM", joints * context)):
        arrays = frozen_soft_argmax(*cells, maps, config["grid"]) if maps else []
        names = ("x/depthwise_kernel:0", "x/pointwise_kernel:0", "y/depthwise_kernel:0", "y/pointwise_kernel:0")
        groups[group] = list(zip(names, arrays, strict=True)) if maps else []
    aggregation = np.zeros((joints * context, joints), np.float32)
    for j in range(joints):
        aggregation[context * j : context * (j + 1), j] = 1
    groups["Agg"] = [("dense/kernel:0", aggregation)] if context else []
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(list(groups), "S")
        for group, arrays in groups.items():
            file.create_group(group).attrs["weight_names"] = np.array([name for name, _ in arrays], "S")
            for name, value in arrays:
                file[group][name] = value


@pytest.fixture(scope="module")
def authors_file(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("authors") / "authors.h5"
    write_authors_file(source, path)
    return path


@pytest.mark.parametrize(
    "options", [{}, {"num_context": 0}, {"num_blocks": 1}, {"input_shape": (64, 96, 3)}, {"grid": "paper"}], ids=str
)
def test_authors_file_comes_back_exactly(options, tmp_path):
    first, second = narrow(0, **options), narrow(1, **options)
    write_authors_file(first, tmp_path / "authors.h5")
    load_authors_weights(second, str(tmp_path / "authors.h5"))
    assert_equal(values(second), values(first))


def test_authors_file_fits_any_alpha_and_input_size(authors_file, source):
    other = narrow(1, alpha=0.9, input_shape=(64, 96, 3))
    load_authors_weights(other, authors_file)
    for name, variable in named_weights(source).items():
        np.testing.assert_array_equal(named_weights(other)[name], variable)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_blocks": 1}, "0 of this network's .* are missing, .* are unknown, such as 'block_a_2/"),
        ({"num_blocks": 3}, "are missing, 0 are unknown, such as 'block_a_3/"),
        ({"num_joints": 5}, "num_joints is 4, expected 5"),
        ({"num_context": 1}, "num_context is 2, expected 1"),
        ({"num_joints": 3, "num_context": 3}, "num_joints is 4, expected 3"),  # 12 maps, too
        ({"grid": "centers"}, "grid is 'endpoints', expected 'centers'"),
        ({"width": 18}, r"has shape \(.*\), expected \("),
        ({"kernel_size": 5}, r"depthwise_kernel has shape \(3, 3, .*\), expected \(5, 5, "),
    ],
    ids=str,
)
def test_authors_file_of_another_network_is_refused(authors_file, options, sentence):
    other = PoseRegressor(**NARROW | options)
    before = values(other)
    with pytest.raises(PoseError, match=sentence) as caught:
        load_authors_weights(other, authors_file)
    assert "authors.h5" in str(caught.value)
    assert_equal(values(other), before)


def remove(name):
    def damage(file):
        del file[name]

    return damage


def change(name, index, value):
    def damage(file):
        file[name][index] = value

    return damage


def replace(name, make):
    """Damage that puts `make(old dataset, file)` in the place of a data set or group."""

    def damage(file):
        old = file[name][()] if isinstance(file[name], h5py.Dataset) else None
        del file[name]
        file[name] = make(old, file)

    return damage


def swap(group, first, second):
    """Damage that exchanges two entries in the list of a group's weights."""

    def damage(file):
        names = list(file[group].attrs["weight_names"])
        names[first], names[second] = names[second], names[first]
        file[group].attrs["weight_names"] = names

    return damage


def drop_attribute(group, attribute):
    def damage(file):
        del file[group].attrs[attribute]

    return damage


def rename(group):
    def damage(file):
        file.move(group, "other")
        names = file.attrs["layer_names"].astype(str)
        file.attrs["layer_names"] = np.where(names == group, "other", names).astype("S")

    return damage


def shorten(group):
    def damage(file):
        file[group].attrs["weight_names"] = file[group].attrs["weight_names"][:-1]

    return damage


def outside(file, kind, value):
    """Make Stem's first kernel a data set whose values lie in another file, or nowhere."""
    name = "Stem/0/kernel:0"
    del file[name]
    if kind == "raw":
        value.astype("float32").tofile(file.filename + ".raw")
        file.create_dataset(name, value.shape, "float32", external=[(file.filename + ".raw", 0, value.nbytes)])
    elif kind == "virtual":
        with h5py.File(file.filename + ".other.h5", "w") as other:
            other["kernel"] = value
        layout = h5py.VirtualLayout(value.shape, "float32")
        layout[...] = h5py.VirtualSource(file.filename + ".other.h5", "kernel", value.shape)
        file.create_virtual_dataset(name, layout)
    else:
        file.create_dataset(name, (1 << 40,), "float32", chunks=(1 << 20,))


KERNEL = "Stem/0/kernel:0"
DAMAGES = {
    "missing weight": (remove(KERNEL), "missing or leads out of the file"),
    "missing group": (remove("RegMap1"), "RegMap1 is missing or leads out of the file"),
    "renamed group": (rename("SepConv1"), "is not the authors' layout: group 'SepConv1' holds 0 arrays"),
    "no names of layers": (drop_attribute("/", "layer_names"), "is not a readable Keras-2 weight file"),
    "no names of weights": (drop_attribute("Stem", "weight_names"), "is not a readable Keras-2 weight file"),
    "too few weights": (shorten("rBlock1"), "group 'rBlock1' holds .* arrays, expected"),
    "no aggregation": (remove("Agg"), "Agg is missing"),
    "kernel and beta exchanged": (swap("Stem", 0, 1), r"Stem/1/beta:0 is beta \(\d+,\), expected kernel"),
    "mean and variance exchanged": (swap("SepConv2", -2, -1), "is moving_variance .*, expected moving_mean"),
    "not a number": (change(KERNEL, (0, 0, 0, 0), np.nan), "damaged: Stem/0/kernel:0 holds numbers that are not"),
    "infinite": (change("RegMap2/0/kernel:0", (0, 0, 0, 0), np.inf), "RegMap2/0/kernel:0 holds numbers that are not"),
    "text": (replace(KERNEL, lambda *_: "hello"), "is not a readable Keras-2 weight file"),
    "other coordinates": (change("sSAM/x/depthwise_kernel:0", (0, 3, 1, 0), 0.43), "'sSAM' has the coordinates of no"),
    "axes exchanged": (
        replace("sSAM/x/depthwise_kernel:0", lambda old, _: old.swapaxes(0, 1)), "'sSAM' has the coordinates of no",
    ),
    "soft link": (replace(KERNEL, lambda *_: h5py.SoftLink("/rBlock1")), "leads out of the file"),
    "external link": (replace(KERNEL, lambda *_: h5py.ExternalLink("x.h5", "/k")), "leads out of the file"),
    "external group": (
        replace("Stem", lambda _, file: h5py.ExternalLink(file.filename + ".copy", "/Stem")),
        "Stem is missing or leads out of the file",
    ),
    "raw values outside": (lambda file: outside(file, "raw", file[KERNEL][()]), "is not stored in the file"),
    "virtual values outside": (lambda file: outside(file, "virtual", file[KERNEL][()]), "is not stored in the file"),
    "values nowhere": (lambda file: outside(file, "nowhere", file[KERNEL][()]), "is not stored in the file"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_authors_file_is_refused(authors_file, target, damage, sentence, tmp_path):
    path = tmp_path / "damaged.h5"
    shutil.copy(authors_file, path)
    shutil.copy(authors_file, f"{path}.copy")
    with h5py.File(path, "r+") as file:
        damage(file)
    before = values(target)
    with pytest.raises(PoseError, match=sentence) as caught:
        load_authors_weights(target, path)
    assert "damaged.h5" in str(caught.value) and "\n" not in str(caught.value)
    assert_equal(values(target), before)


def test_truncated_authors_file_is_refused(authors_file, target, tmp_path):
    content, before = authors_file.read_bytes(), values(target)
    for part in (0, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "part.h5").write_bytes(content[: int(part * len(content))])
        with pytest.raises(PoseError, match=r"part\.h5 is not a readable Keras-2 weight file"):
            load_authors_weights(target, tmp_path / "part.h5")
    assert_equal(values(target), before)


def test_what_is_no_authors_file_at_all_is_refused(source, target, tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    save_weights(source, tmp_path / "ours.weights.h5", skeleton=SKELETON)
    source.save_weights(tmp_path / "keras.weights.h5")
    for name in ("text.h5", "ours.weights.h5", "keras.weights.h5", "missing.h5", "."):
        with pytest.raises(PoseError, match="is not a readable Keras-2 weight file: "):
            load_authors_weights(target, tmp_path / name)


def test_a_bare_hdf5_file_of_another_kind_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"dense"])
        file.create_group("dense").attrs["weight_names"] = np.array([b"dense/kernel:0"])
        file["dense/dense/kernel:0"] = np.zeros((2, 2), np.float32)
    with pytest.raises(PoseError, match=r"other\.h5 is an HDF5 file, but neither this project's nor"):
        load_model(tmp_path / "other.h5")


@pytest.mark.real_data
@pytest.mark.slow
def test_the_authors_file_alone_is_enough_to_build_the_network(pose_reference, tmp_path):
    specification = importlib.util.spec_from_file_location("gen", pose_reference / "network" / "gen_weights.py")
    generator = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generator)
    layout = json.loads((pose_reference / "network" / "layout_k2_noctx.json").read_text())
    generator.write_h5(layout, 743, tmp_path / "authors.h5")
    model, skeleton = load_model(tmp_path / "authors.h5")
    config = model.get_config()
    assert (config["num_blocks"], config["num_context"], skeleton) == (2, 0, PA16J)
    expected = np.load(pose_reference / "network" / "ref_k2_noctx.npz")["pose_b2"]
    output = model.predict(generator.make_input(743), verbose=0)
    np.testing.assert_allclose(output["pose"], expected, atol=1e-5)


# Keras'


def test_files_of_keras_load_wherever_ours_do_and_ours_where_keras_files_do(source, tmp_path):
    source.save_weights(tmp_path / "keras.weights.h5")
    save_weights(source, tmp_path / "ours.weights.h5", skeleton=SKELETON)
    for name in ("keras.weights.h5", "ours.weights.h5"):
        by_function, by_method = narrow(1), narrow(2)
        load_weights(by_function, tmp_path / name)
        by_method.load_weights(tmp_path / name)
        assert_equal(values(by_function), values(source))
        assert_equal(values(by_method), values(source))


def test_a_keras_file_of_another_network_is_refused_and_changes_nothing(source, tmp_path):
    source.save_weights(tmp_path / "keras.weights.h5")
    wider = PoseRegressor(**NARROW | {"width": 32})
    before = values(wider)
    with (
        warnings.catch_warnings(),
        pytest.raises(PoseError, match="keras.weights.h5, of Keras' save_weights, does not fit this network: "),
    ):
        warnings.simplefilter("ignore")  # Keras names every variable
        load_weights(wider, tmp_path / "keras.weights.h5")
    assert_equal(values(wider), before)


def test_a_file_is_read_once(source, tmp_path, monkeypatch):
    save_weights(source, tmp_path / "a.weights.h5", skeleton=SKELETON)
    paths = []
    monkeypatch.setattr(weights, "read_container", lambda path: paths.append(path) or read_container(path))
    load_model(tmp_path / "a.weights.h5")
    PoseRegressor(weights=tmp_path / "a.weights.h5")
    assert paths == [tmp_path / "a.weights.h5"] * 2


def test_the_network_of_a_file_is_built_but_for_what_is_said_otherwise(source, tmp_path):
    path = tmp_path / "a.weights.h5"
    save_weights(source, path, skeleton=SKELETON)
    for model in (PoseRegressor(weights=path), PoseRegressor.from_preset(path)):
        assert_equal(values(model), values(source))
        assert {k: model.get_config()[k] for k in NARROW} == NARROW
    larger = PoseRegressor((96, 96, 3), alpha=0.5, weights=path, outputs="all")
    assert larger.input_shape == (None, 96, 96, 3) and larger.get_config()["alpha"] == 0.5
    np.testing.assert_array_equal(values(larger)[0], values(source)[0])
    with pytest.raises(PoseError, match="a.weights.h5 holds the weights of another network: .* are missing"):
        PoseRegressor(weights=path, num_blocks=3)


def test_shipped_weights_know_their_size():
    model = PoseRegressor.from_preset("small")
    assert (model.get_config()["num_blocks"], model.get_config()["width"]) == (4, 288)


def test_a_keras_model_file_is_a_network_too(tmp_path):
    model = PoseRegressor((32, 32, 3), num_blocks=1, width=16)
    model.save(tmp_path / "model.keras")
    again, skeleton = load_model(tmp_path / "model.keras", outputs="all")
    assert skeleton == PA16J and again.output["pose"].shape == (None, 1, 16, 2)
    assert_equal(values(again), values(model))
    narrow(0).save(tmp_path / "four.keras")
    with pytest.raises(PoseError, match="four.keras holds no PoseRegressor of 16 joints"):
        load_model(tmp_path / "four.keras")


def test_a_file_says_which_joints_were_learned(source, tmp_path):
    half = Skeleton(SKELETON.names, SKELETON.limbs, learned=("head", "neck"))
    save_weights(source, tmp_path / "half.weights.h5", skeleton=half)
    save_weights(source, tmp_path / "all.weights.h5", skeleton=SKELETON)
    assert load_model(tmp_path / "half.weights.h5")[1].learned == ("head", "neck")
    assert load_model(tmp_path / "all.weights.h5")[1].learned is None
