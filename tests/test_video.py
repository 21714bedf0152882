"""Videos by their content: rates, lost frames, times, rotation, what is one, and overlays that browsers play."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pictures import turn_video
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.inference import encoders
from pose_regression.inference.decoders import AvDecoder, CvDecoder, Decoder
from pose_regression.inference.encoders import codec, video_writer
from pose_regression.inference.video import frame_name, is_url, is_video, read_frames, shown, stem

av = pytest.importorskip("av", reason="PyAV is not installed: videos are not tested")
cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not tested")

DECODERS = pytest.mark.parametrize("decoder", [AvDecoder, CvDecoder])


def picture(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Grey 8 * number, the upper left quarter red."""
    image = np.full((size[1], size[0], 3), 8 * number, np.uint8)
    image[: size[1] // 2, : size[0] // 2] = 255, 0, 0
    return image


def number_of(pixels: np.ndarray) -> int:
    return round(float(np.median(pixels[-12:, -12:])) / 8)


def write_avi(path: Path, frames: int = 24, rate: float = 12.0) -> bytes:
    """Motion JPEG: each frame stands for itself."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (64, 48))
    for number in range(frames):
        writer.write(np.ascontiguousarray(picture(number)[..., ::-1]))
    writer.release()
    return path.read_bytes()


def frame_starts(content: bytes) -> list[int]:
    """Where the chunks of an AVI's frames begin."""
    starts, place = [], 0
    while (place := content.find(b"00dc", place)) >= 0:
        if content[place + 8 : place + 10] == b"\xff\xd8":
            starts.append(place)
        place += 4
    return starts


def zeros(content: bytes, start: int, end: int) -> bytes:
    return content[:start] + bytes(end - start) + content[end:]


def numbers(decoder: Decoder) -> list[tuple[int, int]]:
    """What the decoder calls each frame, and what it is."""
    return [(frame.number, number_of(frame.pixels)) for frame in decoder.frames()]


@DECODERS
def test_a_whole_video_misses_nothing_and_knows_its_times(tmp_path, decoder):
    write_avi(tmp_path / "a.avi")
    video = decoder(str(tmp_path / "a.avi"))
    frames = list(video.frames())
    assert video.rate == 12 and video.count == 24 and video.missing() == ""
    assert [(frame.number, number_of(frame.pixels)) for frame in frames] == [(i, i) for i in range(24)]
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(24) / 12, atol=1e-6)
    assert frames[3].pixels[5, 5, 0] > 200 and frames[3].pixels[5, 5, 2] < 60


@DECODERS
def test_a_video_cut_off_says_so(tmp_path, decoder):
    content = write_avi(tmp_path / "a.avi")
    (tmp_path / "a.avi").write_bytes(content[: frame_starts(content)[14]])
    video = decoder(str(tmp_path / "a.avi"))
    assert numbers(video) == [(i, i) for i in range(14)]
    assert video.missing().startswith("14 of 24 frames could be read")


@DECODERS
def test_the_frames_behind_an_unreadable_one_are_read_and_keep_their_numbers(tmp_path, decoder):
    content = write_avi(tmp_path / "a.avi")
    starts = frame_starts(content)
    (tmp_path / "a.avi").write_bytes(zeros(content, starts[11] + 8, starts[12]))
    video = decoder(str(tmp_path / "a.avi"))
    assert numbers(video) == [(i, i) for i in range(24) if i != 11]
    assert video.missing().startswith("23 of 24 frames could be read")


def test_frames_behind_a_gap_in_the_file_keep_their_numbers_and_times(tmp_path):
    content = write_avi(tmp_path / "a.avi")
    starts = frame_starts(content)
    (tmp_path / "a.avi").write_bytes(zeros(content, starts[11], starts[13]))
    video = AvDecoder(str(tmp_path / "a.avi"))
    frames = list(video.frames())
    assert [(frame.number, number_of(frame.pixels)) for frame in frames] == [
        (i, i) for i in range(24) if i not in (11, 12)
    ]
    assert frames[11].seconds == pytest.approx(13 / 12)
    assert video.missing() == "22 of 24 frames could be read, without 11 to 12"
    plain = CvDecoder(str(tmp_path / "a.avi"))
    assert len(list(plain.frames())) == 22 and plain.missing().startswith("22 of 24 frames could be read")


def write_mp4(path: Path, times: list[float]) -> None:
    with video_writer(path, size=(64, 48), rate=25) as write:
        for number, seconds in enumerate(times):
            write(picture(number), seconds)


@DECODERS
def test_a_variable_rate_is_kept_by_the_overlay_and_read_again(tmp_path, decoder):
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.02]
    write_mp4(tmp_path / "a.mp4", times)
    video = decoder(str(tmp_path / "a.mp4"))
    frames = list(video.frames())
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=1e-4)
    assert [(frame.number, number_of(frame.pixels)) for frame in frames] == [(i, i) for i in range(6)]
    assert video.missing() == ""


@pytest.mark.parametrize("with_av", [True, False])
@pytest.mark.parametrize("rate", [0.5, 7.4, 23.976, 300])
def test_the_overlays_rate_is_the_videos(tmp_path, monkeypatch, rate, with_av):
    if not with_av:
        monkeypatch.setitem(sys.modules, "av", None)
    with video_writer(tmp_path / "a.mp4", size=(64, 48), rate=rate) as write:
        for number in range(6):
            write(picture(number), number / rate)
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=0.001)


def test_overlays_are_what_browsers_play_and_the_fallback_says_that_it_is_not(tmp_path, monkeypatch):
    with video_writer(tmp_path / "a.mp4", size=(63, 47), rate=10) as write:
        write(picture(5, (63, 47)), 0.0)
        write(picture(5, (32, 32)), 0.1)  # a stream may change its size
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (codec(), stream.codec_context.name, stream.codec_context.pix_fmt) == ("H.264", "h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 48) and len(list(container.decode(video=0))) == 2
    monkeypatch.setitem(sys.modules, "av", None)
    assert codec() == encoders.FALLBACK == "MPEG-4 part 2"


def test_without_h264_it_is_vp9(tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "ENCODERS", {"no such": "", "libvpx-vp9": "VP9"})
    write_mp4(tmp_path / "a.mp4", [0.0, 0.1])
    assert codec() == "VP9"
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")


def test_a_failed_overlay_leaves_the_old_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), video_writer(tmp_path / "a.mp4", size=(64, 48), rate=10) as write:
        write(picture(0), 0.0)
        raise ZeroDivisionError
    assert (tmp_path / "a.mp4").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@DECODERS
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_video_that_is_to_be_turned_is_read_upright(tmp_path, decoder, turn):
    write_mp4(tmp_path / "a.mp4", [0.0, 0.1])
    turn_video(tmp_path / "a.mp4", turn)
    video = decoder(str(tmp_path / "a.mp4"))
    pixels = next(video.frames()).pixels
    assert pixels.shape == ((48, 64, 3) if turn == 180 else (64, 48, 3))
    # The red quarter at the upper left goes clockwise.
    corner = {90: (4, -5), 180: (-5, -5), 270: (-5, 4)}[turn]
    assert pixels[corner][0] > 200
    assert pixels[4, 4][0] < 60
    # The stored x axis points down, to the left, up; the y axis to the left, up, to the right.
    assert video.turn.T.tolist() == {90: [[0, 1], [-1, 0]], 180: [[-1, 0], [0, -1]], 270: [[0, -1], [1, 0]]}[turn]


def test_the_content_says_what_is_a_video(tmp_path):
    content = write_avi(tmp_path / "a.avi", 3)
    (tmp_path / "video.jpg").write_bytes(content)
    (tmp_path / "video").write_bytes(content)
    Image.fromarray(picture(3)).save(tmp_path / "picture.mp4", "PNG")
    (tmp_path / "broken.mp4").write_bytes(b"RIFF")
    Image.fromarray(picture(3)).save(tmp_path / "good.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"\0" * 30 + (tmp_path / "good.jpg").read_bytes()[30:])
    (tmp_path / "text.txt").write_text("no video, whatever decoders make of it\n" * 1000)
    kinds = {path.name: is_video(path) for path in tmp_path.iterdir()}
    assert {name for name, video in kinds.items() if video} == {"a.avi", "video.jpg", "video", "broken.mp4"}
    assert not is_video(tmp_path / "missing.jpg")


def test_a_streams_url_is_a_video_and_keeps_its_secrets():
    assert is_url("rtsp://camera.local/1") and is_url("http://example.org/a.mp4")
    assert not is_url("folder/a.mp4") and not is_url("C:\\a.mp4")
    assert is_video("rtsp://camera.local/1")
    assert shown("rtsp://me:secret@camera.local:554/1?x=y") == "rtsp://camera.local:554/1?x=y"
    assert frame_name("rtsp://me:secret@camera.local/1", 7) == "rtsp://camera.local/1#000007"
    assert (stem("http://example.org/a/dance.mp4"), stem("rtsp://camera.local")) == ("dance", "camera.local")


def test_what_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"RIFF")
    with pytest.raises(PoseError, match=r"a\.mp4 cannot be read as a video: "):
        read_frames(tmp_path / "a.mp4")


def test_a_container_without_a_count_is_judged_by_its_length(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode(None))
    whole = AvDecoder(str(tmp_path / "a.mkv"))
    assert len(list(whole.frames())) == 30 and whole.count == 0 and whole.missing() == ""
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    cut = AvDecoder(str(tmp_path / "a.mkv"))
    read = len(list(cut.frames()))
    assert 10 < read < 20 and cut.missing() == f"{read / 10:.1f} of 3.0 seconds could be read"


@DECODERS
def test_an_avi_that_repeats_frames_is_whole(tmp_path, decoder):
    """Programs that drop a frame write an empty chunk in its place."""
    places = [0, 1, 4, 5, 9]
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for number, place in enumerate(places):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = place, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = decoder(str(tmp_path / "a.avi"))
    frames = list(video.frames())
    assert video.count == 10 and video.missing() == ""
    assert [(frame.number, number_of(frame.pixels)) for frame in frames] == [(i, i) for i in range(5)]
    np.testing.assert_allclose([frame.seconds for frame in frames], np.array(places) / 10, atol=1e-6)


def test_a_video_that_begins_late_is_whole(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = 50 + number  # the first at 5 seconds
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    decoder = AvDecoder(str(tmp_path / "a.mkv"))
    assert [frame.seconds for frame in decoder.frames()] == pytest.approx([number / 10 for number in range(8)])
    assert decoder.missing() == ""
