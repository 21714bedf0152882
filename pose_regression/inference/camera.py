"""What a camera sees, live: the pose, and the part maps beside it, in a window of OpenCV's."""

import time

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pose_regression.errors import PoseError
from pose_regression.inference.decoders import opencv
from pose_regression.inference.predictor import PosePredictor
from pose_regression.visualize import heatmaps_to_rgb, softmax_map

LIVE_HEIGHT = 480
"""Of the window, in pixels."""


def show_camera(predictor: PosePredictor, number: int) -> None:
    """Show the pose in what a camera sees, as one person, until q or Esc is pressed or the window is closed.

    Raises:
        PoseError: no OpenCV, no such camera, or no screen.
    """
    cv2 = opencv()
    title = "pose regression: q closes"
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise PoseError(f"Camera {number} cannot be opened; expected the number of a connected camera.")
        rate = 0.0
        while True:
            start = time.perf_counter()
            ok, frame = capture.read()
            if not ok:
                raise PoseError(f"Camera {number} gives no more pictures.")
            view = live_view(predictor, np.ascontiguousarray(frame[..., ::-1]), rate)
            cv2.imshow(title, np.ascontiguousarray(view[..., ::-1]))
            if cv2.waitKey(1) & 0xFF in (ord("q"), 27) or cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
                break
            latest = 1 / (time.perf_counter() - start)
            rate = 0.9 * rate + 0.1 * latest if rate else latest
        cv2.destroyAllWindows()
    except cv2.error as error:
        reason = "this OpenCV has no window system, or there is no screen"
        raise PoseError(f"The camera's window cannot be opened: {reason} ({error.err or error}).") from error
    finally:
        capture.release()


def live_view(predictor: PosePredictor, frame: np.ndarray, rate: float) -> np.ndarray:
    """The pose in a camera's (H, W, 3) uint8 frame, beside it the part maps over the crop; `rate` in frames/s."""
    pose, seen = predictor.inspect(frame)
    maps = heatmaps_to_rgb(
        softmax_map(seen["heatmaps"]), pose.skeleton, probability=pose.probability, background=seen["crop"]
    )
    left = Image.fromarray(pose.draw(frame))
    left = left.resize((round(left.width * LIVE_HEIGHT / left.height), LIVE_HEIGHT))
    view = Image.new("RGB", (left.width + LIVE_HEIGHT, LIVE_HEIGHT))
    view.paste(left)
    view.paste(Image.fromarray(maps).resize((LIVE_HEIGHT, LIVE_HEIGHT)), (left.width, 0))
    draw = ImageDraw.Draw(view)
    font = ImageFont.load_default(24)
    draw.text((10, 8), f"{rate:.1f} FPS", "white", font, stroke_width=2, stroke_fill="black")
    return np.asarray(view)
