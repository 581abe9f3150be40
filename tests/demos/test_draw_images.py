"""The committed images are those that the script draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from demos.draw_images import FOLDER, IMAGES, draw_all
from pan_and_scan import load_image, named_policy, windows_of


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "images"
    draw_all(folder)
    return folder


@pytest.mark.parametrize("name", IMAGES)
def test_drawing_again_gives_the_committed_pixels(drawn: Path, name: str) -> None:
    with Image.open(drawn / name) as again, Image.open(FOLDER / name) as committed:
        assert (again.mode, again.size) == (committed.mode, committed.size)
        assert again.tobytes() == committed.tobytes()


def test_every_committed_image_is_drawn_and_small() -> None:
    # The README also shows what `vlm windows --save`, `vlm ask --save-evidence` and `vlm bench plot` draw,
    # and the app, of which tests/browser takes pictures.
    drawn = {"windows.png", "evidence.png", "speed.png"}
    shown = drawn | {"ui-chat.png", "ui-compare.png", "ui-documents.png"}
    assert {path.name for path in FOLDER.iterdir()} - shown == set(IMAGES)
    assert all((FOLDER / name).stat().st_size < 150_000 for name in IMAGES)
    assert all((FOLDER / name).stat().st_size < 200_000 for name in shown)


@pytest.mark.parametrize(
    ("name", "side", "kinds"),
    [
        ("sign.png", 896, ["whole"]),  # smaller than one window: never magnified
        ("sign.png", 224, ["whole", "crop", "crop"]),
        ("receipt.png", 224, ["whole", "crop", "crop"]),
        ("scan.png", 896, ["whole", "crop", "crop", "crop", "blank"]),
    ],
)
def test_the_images_show_what_windows_do(name: str, side: int, kinds: list[str]) -> None:
    windows = windows_of(load_image(FOLDER / name), named_policy("adaptive", window_size=side))
    assert [window.kind for window in windows] == kinds
