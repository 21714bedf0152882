"""A page in the browser: drop a photograph, drag a box around a person, see the pose and what the network made of it.

    python -m experiments.demo
    python -m experiments.demo --weights runs/synthetic/best.weights.h5 --port 8000 --max-upload-mb 5

Cost: seconds to start, then a fraction of a second for each box on a CPU. Open the address that it prints; Ctrl-C ends
it. Needs Gradio: pip install -e '.[demo]'.

Only this machine can reach the page, and the page fetches nothing from elsewhere. --host 0.0.0.0 opens it to the
network, without a password: then each address may ask 30 times a minute. Photographs are kept in no file or log.
"""

import argparse
import base64
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from experiments.command import run
from experiments.web import add_options, announce, check_address, upload_limit
from pose_regression.errors import PoseError
from pose_regression.inference.limits import PER_MINUTE, WAITING, RateLimit, as_file, is_local, refused_length

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and a mistake in the arguments should not wait for it
    from pose_regression.inference.pose import Pose
    from pose_regression.inference.predictor import PosePredictor

VIEW = 1000
"""Longer side, in pixels, to which the page scales every photograph: lines are as fine on a small one."""

CELL = 150
"""Side, in pixels, of one map."""

CONTENT_POLICY = (
    # Gradio's page builds its scripts and styles as it runs; it may fetch them, and all else, from this server alone.
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'"
)
NOT_NEEDED = ("/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/stream")
"""Gradio's routes for files, which answer with paths of the server. This page sends and receives no files."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the page shows of one person. Pictures are uint8 (H, W, 3) RGB."""

    pose: "Pose"
    size: tuple[int, int]
    """Width and height of the upright photograph."""
    overlay: np.ndarray
    """The photograph with the pose, its longer side `VIEW`."""
    part_maps: np.ndarray
    """All part maps over the crop, a colour for each joint."""
    part_sheet: np.ndarray
    """Each part map by itself."""
    context_sheet: np.ndarray | None
    """Each context map; None for a network without context."""
    coco: bytes
    """The file that `experiments.predict` would write, JSON."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, port=7860, megabytes=20)
    options = parser.parse_args()
    check_address(options.host, options.port, server="The page")
    max_bytes = upload_limit(options.max_upload_mb)
    require_gradio()

    from pose_regression.inference.predictor import PosePredictor

    blocks = serve(PosePredictor(options.weights), host=options.host, port=options.port, max_bytes=max_bytes)
    announce(options.host, options.port, server="page")
    try:
        blocks.block_thread()
    finally:
        blocks.close(verbose=False)


# ------------------------------------------------------------------------------------------- from photograph to answer


def find(predictor: "PosePredictor", name: str, content: bytes, box: Any = None) -> Answer:
    """The pose of one person and the maps behind it.

    Args:
        predictor: of any weights.
        name: of the file, for messages and for the JSON.
        content: the encoded photograph.
        box: x0, y0, x1, y1 of the person in pixels of the upright photograph; None is the whole of it.

    Raises:
        PoseError: as `PosePredictor.inspect`, the photograph being called `name`.
    """
    from pose_regression.inference.coco_files import Found, write_json
    from pose_regression.inference.photographs import load_upright
    from pose_regression.visualize import draw_pose, heatmaps_to_rgb, softmax_map

    with as_file(content, name) as path:
        pose, seen = predictor.inspect(path, box)
        photograph = load_upright(path)
        found = Found(pose.skeleton)
        found.add(name, photograph, [pose])
        write_json(path.with_name("poses.json"), found)
        coco = path.with_name("poses.json").read_bytes()

    height, width = photograph.shape[:2]
    ratio = VIEW / max(width, height)
    view = Image.fromarray(photograph).resize((max(1, round(width * ratio)), max(1, round(height * ratio))))
    parts = softmax_map(seen["heatmaps"])
    crop = np.asarray(Image.fromarray(seen["crop"]).resize((2 * CELL, 2 * CELL)))
    context = seen.get("context_heatmaps")
    return Answer(
        pose=pose,
        size=(width, height),
        overlay=draw_pose(np.asarray(view), pose.pixels * ratio, pose.skeleton, probability=pose.probability),
        part_maps=heatmaps_to_rgb(parts, pose.skeleton, probability=pose.probability, background=crop),
        part_sheet=sheet(parts[:, :, None], pose, crop),
        context_sheet=None if context is None else sheet(by_joint(softmax_map(context), len(pose.names)), pose, crop),
        coco=coco,
    )


def by_joint(maps: np.ndarray, joints: int) -> np.ndarray:
    """(H, W, J·N) context maps, joint-major as the network gives them -> (H, W, N, J)."""
    return maps.reshape(*maps.shape[:2], joints, -1).swapaxes(2, 3)


def sheet(maps: np.ndarray, pose: "Pose", crop: np.ndarray) -> np.ndarray:
    """Every map of (H, W, N, J) by itself over the crop, in its joint's colour; the N of a joint side by side."""
    from pose_regression.visualize import contact_sheet, heatmaps_to_rgb

    count, joints = maps.shape[2:]
    dim = 0.4 * np.asarray(Image.fromarray(crop).resize((CELL, CELL)))
    pictures, captions = [], []
    for joint, name in enumerate(pose.names):
        for number in range(count):
            alone = maps[:, :, number] * (np.arange(joints) == joint)
            # Coloured small and then enlarged: a fifteenth of the time of having every map laid over the crop.
            light = Image.fromarray(heatmaps_to_rgb(alone, pose.skeleton))
            light = light.resize((CELL, CELL), Image.Resampling.BILINEAR)
            pictures.append(np.maximum(np.asarray(light), dim).astype(np.uint8))
            captions.append(name.replace("_", " ") + (f" {number + 1}" if count > 1 else ""))
    return contact_sheet(pictures, columns=4, captions=captions)


def file_name(name: Any) -> str:
    """What messages call an uploaded file: the last part of its name, printable and not too long."""
    last = str(name).replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:100] or "The photograph"


def decode(photo: Any, *, max_bytes: int) -> tuple[str, bytes, Any]:
    """Name, content and box of what the page's script sends: {"name", "size", "data" in base 64, "box"}.

    Raises:
        PoseError: more than `max_bytes`, or something else.
    """
    if not isinstance(photo, dict):
        raise PoseError("The request holds no photograph.")
    name, size = file_name(photo.get("name")), photo.get("size")
    try:
        content = base64.b64decode(photo.get("data") or "", validate=True)
    except (TypeError, ValueError) as error:
        raise PoseError(f"{name} did not arrive whole: its content is not base 64.") from error
    size = max(len(content), size if isinstance(size, int) else 0)
    if size > max_bytes:
        raise PoseError(f"{name} has {size / 1e6:.1f} MB, more than the {max_bytes / 1e6:g} MB that this page takes.")
    return name, content, photo.get("box")


# ------------------------------------------------------------------------------------------------------- what it shows


def data_uri(kind: str, content: bytes) -> str:
    """The content within the page itself: no file on the server, and no address that another could open."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_uri(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return data_uri("image/jpeg", buffer.getvalue())


def picture_html(picture: np.ndarray, description: str) -> str:
    return f'<img src="{picture_uri(picture)}" alt="{escape(description)}">'


def table_html(pose: "Pose") -> str:
    """A row for each joint: colour, name, probability with a bar, and pixels."""
    from pose_regression.visualize import joint_colors

    rows = []
    for name, color, probability, (x, y) in zip(
        pose.names, joint_colors(pose.skeleton).tolist(), pose.probability.tolist(), pose.pixels.tolist(), strict=True
    ):
        rows.append(
            f'<tr><td><i style="background:rgb{tuple(color)}"></i>{escape(name.replace("_", " "))}</td>'
            f'<td><meter min="0" max="1" value="{probability:.3f}"></meter> {probability:.2f}</td>'
            f"<td>{x:.1f}</td><td>{y:.1f}</td></tr>"
        )
    heading = "<tr><th>Joint</th><th>Probability</th><th>x</th><th>y</th></tr>"
    caption = "<caption>Left and right are the person's own.</caption>"
    return f'<table class="joints">{caption}<thead>{heading}</thead><tbody>{"".join(rows)}</tbody></table>'


def download_html(answer: Answer, name: str) -> str:
    """A link that saves the JSON."""
    file = f"{Path(name).stem}.poses.json"
    uri = data_uri("application/json", answer.coco)
    return f'<a class="download" download="{escape(file)}" href="{uri}">Download {escape(file)}</a>'


def message_html(sentence: str) -> str:
    return f'<p class="problem" role="alert">{escape(sentence)}</p>' if sentence else ""


def shown(answer: Answer, name: str) -> list[Any]:
    """Values of the page's outputs after an answer, in the order of `page`."""
    width, height = answer.size
    context = answer.context_sheet
    return [
        {"picture": picture_uri(answer.overlay), "width": width, "height": height},
        "",
        download_html(answer, name) + table_html(answer.pose),
        picture_html(answer.part_maps, "All part maps over the crop")
        + picture_html(answer.part_sheet, "Each joint's part map"),
        "<p>This network has no context maps.</p>"
        if context is None
        else picture_html(context, "Each joint's context maps"),
    ]


# ------------------------------------------------------------------------------------------------------------ the page

STAGE = """
<label class="drop"><input type="file" accept="image/*"><span>Drop a photograph here, or choose one</span></label>
<div class="stage" hidden><img class="picture" alt="The photograph and the pose" draggable="false">
<div class="box" hidden></div></div>
<div class="tools" hidden><button type="button" class="whole">Whole image</button>
<label>Box in pixels: x0 y0 x1 y1 <input type="text" class="numbers" placeholder="drag on the picture"></label></div>
"""

# The photograph stays in the browser and is sent with every box: the server keeps nothing between two requests.
SCRIPT = """
const part = (name) => element.querySelector('.' + name);
const input = element.querySelector('input[type=file]');
const [drop, stage, picture, rectangle, tools, numbers] =
    ['drop', 'stage', 'picture', 'box', 'tools', 'numbers'].map(part);
let photo = null, start = null, newest = 0;

function ask(box) {
    if (photo) trigger('find', {...photo, box});
}
function take(file) {
    if (!file) return;
    const number = ++newest, reader = new FileReader();
    photo = null;
    props.value = null;
    const send = (data) => {
        if (number !== newest) return;  // another photograph was chosen meanwhile
        photo = {name: file.name, size: file.size, data};
        numbers.value = '';
        mark(null);
        ask(null);
    };
    if (file.size > MAX_BYTES) return send('');
    reader.onload = () => send(reader.result.slice(reader.result.indexOf(',') + 1).replace(/^data:.*/, ''));
    reader.onerror = () => send('');
    reader.readAsDataURL(file);
}
function mark(box) {
    rectangle.hidden = !box;
    if (!box) return;
    const {width, height} = props.value, [x0, y0, x1, y1] = box;
    Object.assign(rectangle.style, {
        left: 100 * x0 / width + '%', top: 100 * y0 / height + '%',
        width: 100 * (x1 - x0) / width + '%', height: 100 * (y1 - y0) / height + '%',
    });
}
function dragged(event) {
    const area = picture.getBoundingClientRect(), {width, height} = props.value;
    const inside = (value) => Math.min(1, Math.max(0, value));
    const x = Math.round(width * inside((event.clientX - area.left) / area.width));
    const y = Math.round(height * inside((event.clientY - area.top) / area.height));
    return [Math.min(start[0], x), Math.min(start[1], y), Math.max(start[0], x), Math.max(start[1], y), x, y];
}

input.addEventListener('change', () => { take(input.files[0]); input.value = ''; });
for (const kind of ['dragover', 'dragleave', 'drop'])
    element.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle('over', kind === 'dragover');
        if (kind === 'drop') take(event.dataTransfer.files[0]);
    });

picture.addEventListener('pointerdown', (event) => {
    start = [0, 0];
    start = dragged(event).slice(4);
    picture.setPointerCapture(event.pointerId);
});
picture.addEventListener('pointermove', (event) => { if (start) mark(dragged(event).slice(0, 4)); });
picture.addEventListener('pointercancel', () => { start = null; mark(null); });
picture.addEventListener('pointerup', (event) => {
    if (!start) return;
    const box = dragged(event).slice(0, 4);
    start = null;
    if (box[2] - box[0] < 4 || box[3] - box[1] < 4) return mark(null);  // a click
    numbers.value = box.join(' ');
    mark(box);
    ask(box);
});
part('whole').addEventListener('click', () => { numbers.value = ''; mark(null); ask(null); });
numbers.addEventListener('change', () => {
    const box = numbers.value.trim() ? numbers.value.trim().split(/[\\s,;]+/).map(Number) : null;
    mark(box && box.length === 4 && box.every(Number.isFinite) ? box : null);
    ask(box);
});

watch('value', () => {
    const answer = props.value;
    stage.hidden = tools.hidden = !answer;
    if (answer) picture.src = answer.picture;
});
"""

STYLE = """
.drop { display: block; padding: 1.2em; text-align: center; cursor: pointer; border: 2px dashed #888;
  border-radius: 8px; }
.drop.over, .drop:focus-within { border-color: #2896ff; }
.drop input { position: absolute; opacity: 0; width: 1px; height: 1px; }
.stage { position: relative; margin-top: .8em; width: fit-content; max-width: 100%; overflow: hidden; }
.stage img { display: block; max-width: 100%; max-height: 75vh; margin: 0; cursor: crosshair;
  touch-action: none; user-select: none; }
.stage .box { position: absolute; border: 2px solid #fff; outline: 1px solid #000; pointer-events: none; }
.tools { display: flex; flex-wrap: wrap; gap: .8em; align-items: center; margin-top: .6em; }
.tools button, .tools input { border: 1px solid #888; border-radius: 6px; padding: .3em .7em; color: inherit;
  background: transparent; }
[hidden] { display: none !important; }
"""

LOOKS = """
.problem { padding: .7em 1em; border-left: 5px solid #c62828; border-radius: 4px; background: #c6282822; margin: 0; }
.joints { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.joints th, .joints td { padding: .15em .5em; text-align: right; border-bottom: 1px solid #8884; }
.joints caption { text-align: left; padding: .2em .5em; }
.joints td { white-space: nowrap; }
.joints th:first-child, .joints td:first-child { text-align: left; }
.joints i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; border: 1px solid #0008;
  margin-right: .5em; }
.joints meter { width: 6em; vertical-align: middle; }
.download { display: inline-block; margin-bottom: .6em; }
.maps img { display: inline-block; vertical-align: top; max-width: 100%; margin: 0 .6em .6em 0; }
"""


def require_gradio() -> None:
    """Tell Gradio, before it is imported, to report nothing to anybody.

    Raises:
        PoseError: it isn't installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise PoseError("The page needs Gradio; install it with: pip install -e '.[demo]'") from error


def page(answer: Callable[[Any, str], list[Any]], *, max_bytes: int) -> Any:
    """The page as `gradio.Blocks`.

    Args:
        answer: from what the page's script sends and the client's address to the values of `shown`; may raise
            `PoseError`, whose sentence the page shows.
        max_bytes: of a photograph; the script sends no larger one.
    """
    require_gradio()
    import gradio as gr

    with gr.Blocks(title="Pose regression", analytics_enabled=False) as blocks:
        gr.Markdown("# Human pose from one photograph\nOne person at a time: drag a box around each in turn.")
        with gr.Row():
            with gr.Column(scale=3):
                script = SCRIPT.replace("MAX_BYTES", str(max_bytes))
                stage = gr.HTML(None, html_template=STAGE, css_template=STYLE, js_on_load=script, elem_id="photo")
                message = gr.HTML("", elem_id="message")
            with gr.Column(scale=2, min_width=420):
                joints = gr.HTML("", elem_id="joints")
        with gr.Tabs():
            with gr.Tab("Part maps"):
                parts = gr.HTML("", elem_id="parts", elem_classes="maps")
            with gr.Tab("Context maps"):
                context = gr.HTML("", elem_id="context", elem_classes="maps")

        def respond(event: gr.EventData, request: gr.Request) -> list[Any]:
            try:
                return answer(event._data, request.client.host if request.client else "")
            except PoseError as error:
                return [gr.skip(), message_html(str(error)), "", "", ""]

        stage.find(
            respond, inputs=None, outputs=[stage, message, joints, parts, context], concurrency_limit=1,
            trigger_mode="always_last", show_progress_on=[joints], api_visibility="private",
        )  # fmt: skip
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)


# ---------------------------------------------------------------------------------------------------------- the server


class Guard:
    """ASGI middleware: refuses large bodies unread and routes for files, and keeps the page's browser at home."""

    def __init__(self, app: Callable, *, max_body: int):
        self.app, self.max_body = app, max_body

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = refused(scope["method"], scope["path"], dict(scope["headers"]), max_body=self.max_body)
        if refusal is not None:
            status, sentence = refusal
            body = json.dumps({"detail": sentence}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return

        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", CONTENT_POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def refused(method: str, path: str, headers: dict[bytes, bytes], *, max_body: int) -> tuple[int, str] | None:
    """Status and sentence for a request that is not let through; None for all others."""
    if path.startswith(NOT_NEEDED):
        return 404, "This page has no such address."
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    return refused_length(headers.get(b"content-length", b"").decode("latin-1"), max_body=max_body)


def serve(predictor: "PosePredictor", *, host: str, port: int, max_bytes: int) -> Any:
    """Start the page in threads of its own; returns the `gradio.Blocks`, to `close`.

    Args:
        predictor: finds the poses, one at a time.
        host, port: where to listen.
        max_bytes: of a photograph.

    Raises:
        PoseError: Gradio is missing, or nothing can listen there.
    """
    require_gradio()
    import gradio as gr
    from starlette.middleware import Middleware

    limit = None if is_local(host) else RateLimit(PER_MINUTE, seconds=60)

    def answer(photo: Any, client: str) -> list[Any]:
        if limit is not None:
            limit.check(client, time.monotonic())
        name, content, box = decode(photo, max_bytes=max_bytes)
        return shown(find(predictor, name, content, box), name)

    blocks = page(answer, max_bytes=max_bytes)
    try:
        blocks.launch(
            server_name=host, server_port=port, share=False, inbrowser=False, prevent_thread_lock=True, quiet=True,
            theme=gr.themes.Default(), css=LOOKS, footer_links=[], show_error=False, enable_monitoring=False,
            run_history=False, ssr_mode=False, pwa=False, mcp_server=False, max_file_size=max_bytes,
            # In base 64 three bytes take four; the rest is for the other fields.
            app_kwargs={"middleware": [Middleware(Guard, max_body=max_bytes * 4 // 3 + 10_000)]},
        )  # fmt: skip
    except OSError as error:
        raise PoseError(f"The page cannot listen at {host}:{port}; is another program there?") from error
    return blocks


if __name__ == "__main__":
    run(main)
