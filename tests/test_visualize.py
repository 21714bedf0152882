import numpy as np
import pytest
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.skeleton import LSP, MPII, PA16J, Skeleton
from pose_regression.visualize import (
    CENTRE,
    LEFT,
    RIGHT,
    contact_sheet,
    draw_pose,
    heatmaps_to_rgb,
    joint_colors,
    save_image,
    softmax_map,
)

ARMS = Skeleton(
    names=("neck", "head", "right_elbow", "right_wrist", "left_elbow", "left_wrist"),
    limbs=(("neck", "head"), ("right_elbow", "right_wrist"), ("left_elbow", "left_wrist")),
)
# Three upright limbs at x = 50.5 (centre), 20.5 (right) and 80.5 (left).
PIXELS = np.array([[50.5, 80.5], [50.5, 20.5], [20.5, 20.5], [20.5, 80.5], [80.5, 20.5], [80.5, 80.5]])
GREY = np.full((100, 100, 3), 90, np.uint8)


def test_limbs_have_the_colour_of_their_side_and_joints_their_own():
    drawn = draw_pose(GREY, PIXELS, ARMS)
    assert drawn.dtype == np.uint8 and drawn.shape == GREY.shape
    assert tuple(drawn[50, 50]) == CENTRE
    assert tuple(drawn[50, 20]) == RIGHT
    assert tuple(drawn[50, 80]) == LEFT
    for (x, y), color in zip(PIXELS.astype(int), joint_colors(ARMS), strict=True):
        np.testing.assert_array_equal(drawn[y, x], color)


def test_pixels_away_from_the_pose_and_the_given_image_stay_as_they_were():
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    before = image.copy()
    drawn = draw_pose(image, PIXELS, ARMS)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(drawn[30:70, 30:40], before[30:70, 30:40])
    np.testing.assert_array_equal(drawn[:10], before[:10])


@pytest.mark.parametrize("how", ["nan", "half nan", "infinite"])
def test_missing_joint_is_left_out_with_its_limb(how):
    pixels = PIXELS.copy()
    pixels[3] = {"nan": (np.nan, np.nan), "half nan": (20.5, np.nan), "infinite": (np.inf, 80.5)}[how]
    drawn = draw_pose(GREY, pixels, ARMS)
    np.testing.assert_array_equal(drawn[40:, :40], GREY[40:, :40])
    np.testing.assert_array_equal(drawn[20, 20], joint_colors(ARMS)[2])


def test_no_joints_at_all_draw_nothing():
    np.testing.assert_array_equal(draw_pose(GREY, np.full((6, 2), np.nan), ARMS), GREY)
    np.testing.assert_array_equal(draw_pose(GREY, PIXELS + 500, ARMS), GREY)


def test_joints_far_outside_are_cut_off():
    pixels = PIXELS.copy()
    pixels[3, 1] = 1e12
    drawn = draw_pose(GREY, pixels, ARMS)
    assert tuple(drawn[99, 20]) == RIGHT


def test_improbable_joints_are_hollow_and_their_limbs_faded():
    pixels, image = PIXELS * 8, np.full((800, 800, 3), 90, np.uint8)
    drawn = draw_pose(image, pixels, ARMS, probability=np.array([[1], [1], [1], [0.2], [1], [1]]))
    np.testing.assert_array_equal(drawn[164, 164], joint_colors(ARMS)[2])  # probable: filled
    np.testing.assert_array_equal(drawn[164, 644], joint_colors(ARMS)[4])
    assert not (drawn[646, 164] == joint_colors(ARMS)[3]).all()  # improbable: the middle shows no paint of its own
    ring = np.abs(drawn[635:655, 150:180].astype(int) - joint_colors(ARMS)[3]).sum(axis=2)
    assert ring.min() == 0
    assert tuple(drawn[400, 644]) == LEFT
    faded, solid, background = drawn[400, 164].astype(int), np.array(RIGHT), image[0, 0].astype(int)
    assert 0 < np.abs(faded - background).sum() < np.abs(solid - background).sum()


def test_truth_is_a_white_figure_below_the_pose():
    image, truth = np.full((1000, 1000, 3), 90, np.uint8), PIXELS * 10 + (50, 0)
    truth[5] = np.nan
    drawn = draw_pose(image, PIXELS * 10, ARMS, truth=truth)
    assert tuple(drawn[500, 255]) == (255, 255, 255)  # middle of the annotated right limb
    np.testing.assert_array_equal(drawn[500, 855], image[500, 855])  # the left one lacks an end
    assert tuple(draw_pose(image, PIXELS * 10, ARMS, truth=PIXELS * 10)[500, 205]) == RIGHT


@pytest.mark.parametrize("size", [64, 1000])
def test_lines_are_as_thick_as_the_person_is_large(size):
    image = np.zeros((size, size, 3), np.uint8)
    drawn = draw_pose(image, PIXELS / 100 * size, ARMS)
    painted = (drawn[size // 2, : size // 3].sum(axis=1) > 100).sum()
    assert {64: 1, 1000: 8}[size] <= painted <= {64: 3, 1000: 20}[size]


def test_grey_image_is_drawn_on_in_colour():
    np.testing.assert_array_equal(draw_pose(GREY[:, :, 0], PIXELS, ARMS), draw_pose(GREY, PIXELS, ARMS))


@pytest.mark.parametrize("skeleton", [PA16J, LSP])
def test_joint_colours_are_distinct_and_sides_differ_for_the_colour_blind(skeleton):
    colors = joint_colors(skeleton).astype(int)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distances[~np.eye(len(skeleton), dtype=bool)].min() >= 25
    # Machado, Oliveira and Fernandes 2009: full protanopia and deuteranopia, on linear RGB
    linear = (colors / 255) ** 2.2
    for simulate in (
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    ):
        seen = np.clip(linear @ simulate.T, 0, 1) ** (1 / 2.2) * 255
        left, right = (
            seen[[name.startswith(side) for name in skeleton.names]][:, None] for side in ("left_", "right_")
        )
        assert np.abs(left - right.swapaxes(0, 1)).max(axis=2).min() > 100


def test_a_joint_has_one_colour_in_every_order_of_joints():
    by_name = dict(zip(PA16J.names, joint_colors(PA16J).tolist(), strict=True))
    assert by_name == dict(zip(MPII.names, joint_colors(MPII).tolist(), strict=True))
    lsp = dict(zip(LSP.names, joint_colors(LSP).tolist(), strict=True))
    assert all(lsp[name] == by_name[name] for name in LSP.names if "_" in name)


def test_softmax_map_of_three_cells_by_hand():
    logits = np.log([[[1.0], [2.0], [5.0]]]) + 800  # exp(800) overflows unless the maximum is subtracted
    np.testing.assert_allclose(softmax_map(logits)[0, :, 0], [1 / 8, 2 / 8, 5 / 8])


def test_each_map_shows_in_its_joints_colour_scaled_by_its_peak_and_probability():
    heatmaps = np.zeros((3, 6, 6))
    for joint in range(5):
        heatmaps[1, joint, joint] = 0.1 * (joint + 1)  # whatever the peak; the last map is empty
    heatmaps[2, 2, 2] = 0.15
    rgb = heatmaps_to_rgb(heatmaps, ARMS, probability=np.array([1, 1, 1, 1, 0.5, 1]))
    colors = joint_colors(ARMS)
    assert rgb.dtype == np.uint8 and rgb.shape == (3, 6, 3)
    np.testing.assert_array_equal(rgb[1, :4], colors[:4])
    np.testing.assert_allclose(rgb[1, 4], colors[4] / 2, atol=0.51)
    np.testing.assert_allclose(rgb[2, 2], colors[2] / 2, atol=0.51)
    assert not rgb[0].any() and not rgb[:, 5].any()


def test_maps_lie_enlarged_over_a_darkened_photograph():
    heatmaps = np.zeros((4, 4, 6))
    heatmaps[1, 2, 3] = 1
    photograph = np.full((40, 80, 3), 200, np.uint8)
    rgb = heatmaps_to_rgb(heatmaps, ARMS, background=photograph)
    assert rgb.shape == photograph.shape
    assert tuple(rgb[35, 5]) == (80, 80, 80)
    np.testing.assert_allclose(rgb[14:16, 49:51].reshape(-1, 3).mean(axis=0), joint_colors(ARMS)[3], atol=25)


def test_sheet_centres_pictures_of_different_sizes_in_equal_cells():
    red, grey = np.zeros((100, 60, 3), np.uint8), np.full((40, 100), 128, np.uint8)
    red[..., 0] = 255
    sheet = contact_sheet([red, grey, red], columns=2)
    assert sheet.shape == (2 + 2 * 102, 2 + 2 * 102, 3)
    cells = [sheet[y : y + 100, x : x + 100] for y in (2, 104) for x in (2, 104)]
    np.testing.assert_array_equal(cells[0][:, 20:80], red)
    assert (cells[0][:, :20] == 255).all() and (cells[0][:, 80:] == 255).all()
    assert (cells[1][30:70] == 128).all() and (cells[1][:30] == 255).all()
    np.testing.assert_array_equal(cells[2], cells[0])
    assert (cells[3] == 255).all()


def test_captions_stay_within_their_cells():
    images = [np.full((200, 200, 3), 10, np.uint8), np.full((200, 100, 3), 10, np.uint8)]
    plain = contact_sheet(images, columns=5)
    assert plain.shape == (200 + 2 * 4, 2 * 200 + 3 * 4, 3)  # cells of 200x200, no empty columns
    captioned = contact_sheet(images, columns=5, captions=["first", "x" * 500])
    strip = captioned[204:-4]
    assert captioned.shape[0] > plain.shape[0] and strip.min() < 100
    assert (strip[:, 204:208] == 255).all()  # the long caption stays within its cell
    np.testing.assert_array_equal(captioned[:204], plain[:204])


def test_image_is_written_whole_and_read_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    path = tmp_path / "new folder" / "picture.png"
    save_image(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    save_image(path, image[:, :, 0])
    assert np.asarray(Image.open(path)).shape == (7, 9, 3)
    save_image(path.with_suffix(".jpg"), image)
    assert sorted(p.name for p in path.parent.iterdir()) == ["picture.jpg", "picture.png"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: draw_pose(GREY.astype(float), PIXELS, ARMS), "uint8.*float64"),
        (lambda: draw_pose(np.zeros((0, 5, 3), np.uint8), PIXELS, ARMS), r"\(0, 5, 3\)"),
        (lambda: draw_pose(GREY, PIXELS[:5], ARMS), r"pixels.*\(6, 2\).*\(5, 2\)"),
        (lambda: draw_pose(GREY, PIXELS, ARMS, truth=PIXELS[:, :1]), "truth"),
        (lambda: draw_pose(GREY, PIXELS, ARMS, probability=np.ones(7)), "probability"),
        (lambda: heatmaps_to_rgb(np.ones((4, 4, 5)), ARMS), r"\(H, W, 6\)"),
        (lambda: heatmaps_to_rgb(-np.ones((4, 4, 6)), ARMS), "not negative"),
        (lambda: softmax_map(np.full((2, 2, 1), np.nan)), "finite"),
        (lambda: contact_sheet([], columns=2), "0 images"),
        (lambda: contact_sheet([GREY], columns=0), "columns=0"),
        (lambda: contact_sheet([GREY], columns=1, captions=["a", "b"]), "captions"),
        (lambda: save_image("picture.txt", GREY), r"\.txt"),
        (lambda: save_image("picture", GREY), "no suffix"),
    ],
)
def test_wrong_input_is_named(draw, message):
    with pytest.raises(PoseError, match=message):
        draw()


@pytest.mark.real_data
def test_pose_on_a_photograph(pose_data):
    from scipy.io import loadmat

    image = np.asarray(Image.open(pose_data / "lsp" / "images" / "im0001.jpg").convert("RGB"))
    pixels = loadmat(pose_data / "lsp" / "joints.mat")["joints"][:2, :, 0].T
    drawn = draw_pose(image, pixels, LSP)
    x, y = np.floor(pixels[LSP.index("left_ankle")]).astype(int)
    assert np.abs(drawn[y, x].astype(int) - joint_colors(LSP)[LSP.index("left_ankle")]).max() < 40
    assert 0.01 < (drawn != image).any(axis=2).mean() < 0.2
