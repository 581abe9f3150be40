"""The page's wiring, asked over HTTP on loopback as the browser asks it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fakes import ScriptedEngine, page_served

from demos.handlers import Settings
from pan_and_scan import MAX_WINDOWS, POLICY_NAMES
from vlm.errors import UsageError

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'vlm[ui]'")
with warnings.catch_warnings():  # gradio's own imports are not ours to mend
    warnings.simplefilter("ignore")
    import httpx

    from demos.app import MAX_UPLOAD, serve

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_served(tmp_path_factory.mktemp("served"), says="Yes.") as url:
        yield url


def test_the_page_names_no_other_server(url: str) -> None:
    config = httpx.get(url + "config").json()
    assert config["analytics_enabled"] is False
    assert config["stylesheets"] == [] and config["space_id"] is None
    theme = httpx.get(url + "theme.css").text.replace("http://www.w3.org/2000/svg", "")  # a name, no address
    assert len(theme) > 1000 and "http://" not in theme and "https://" not in theme


def test_uploads_are_bounded(url: str) -> None:
    most = int(MAX_UPLOAD.removesuffix("mb")) << 20

    def upload(size: int) -> int:
        return httpx.post(url + "gradio_api/upload", files={"files": ("a.png", bytes(size))}).status_code

    assert (upload(1000), upload(most + 1000)) == (200, 413)


def test_nothing_is_offered_as_an_api(url: str) -> None:
    info = httpx.get(url + "gradio_api/info").json()
    assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}


def test_no_file_of_the_server_is_handed_out(url: str) -> None:
    assert httpx.get(url + "gradio_api/file=/etc/passwd").status_code == 403
    assert httpx.get(url + f"gradio_api/file={ROOT}/demos/app.py").status_code == 403


def test_settings_stand_at_the_session_s_own(url: str) -> None:
    props = [component["props"] for component in httpx.get(url + "config").json()["components"]]
    by_label = {prop.get("label"): prop for prop in props}
    policies = by_label["How images are cut"]
    assert policies["value"] == Settings().policy
    assert {value for _, value in policies["choices"]} == {*POLICY_NAMES, "guided"}
    model = by_label["Model"]
    assert model["value"] == "scripted" and [name for name, _ in model["choices"]] == ["scripted", "other"]
    windows = by_label["Windows an image at most, whole included"]
    assert (windows["minimum"], windows["maximum"], windows["value"]) == (1, MAX_WINDOWS, MAX_WINDOWS)


def test_the_browser_is_told_to_load_nothing_from_elsewhere(url: str) -> None:
    for path in ("", "config", "gradio_api/file=/etc/passwd"):
        policy = httpx.get(url + path).headers["content-security-policy"]
        assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy


def test_every_part_has_a_label_or_shows_none(url: str) -> None:
    said = {
        "textbox",
        "multimodaltextbox",
        "radio",
        "slider",
        "checkbox",
        "dropdown",
        "file",
        "gallery",
        "chatbot",
        "button",
    }
    for component in httpx.get(url + "config").json()["components"]:
        if component["type"] in said:
            assert component["props"].get("label") or component["props"].get("value"), component
    pictures = [one for one in httpx.get(url + "config").json()["components"] if one["type"] == "image"]
    assert pictures and all(one["props"].get("alt_text") or one["props"].get("label") for one in pictures)


def test_uploads_lie_apart_and_go_with_the_process(tmp_path: Path) -> None:
    with page_served(tmp_path, says="Yes.") as url:
        sent = httpx.post(url + "gradio_api/upload", files={"files": ("a.png", b"mine")}).json()
        place = Path(sent[0])
        folder = place.parents[1]
        assert place.read_bytes() == b"mine" and folder.name.startswith("vlm-uploads-")
        assert folder.stat().st_mode & 0o077 == 0  # nobody else on this machine may look
    assert not folder.exists()


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1 port {port}.*choose another --port"):
            serve(ScriptedEngine(tmp_path).vlm(), port=port)


@pytest.mark.slow
def test_the_wheel_carries_the_page_inside_the_package(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="building a wheel needs hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    tops = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"vlm", "pan_and_scan"}
    assert (site / "vlm" / "_demos" / "images" / "sign.png").is_file()
    code = (
        "import json, vlm._demos.app as app, vlm._demos.draw_images as drawn, sys\n"
        "print(json.dumps([app.__file__, str(drawn.FOLDER), 'demos' in sys.modules]))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=site, check=True, capture_output=True, text=True
    )
    home = str(site / "vlm" / "_demos")
    assert json.loads(ran.stdout) == [f"{home}/app.py", f"{home}/images", False]
