"""Pages of an attached document: thumbnails to choose from, a sheet at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from .pictures import many_paged, page_thumbs, pages_of
from .wiring import QUICK, REFUSED, refusal

SHEET = 12  # thumbnails shown at a time


class PagePicker:
    """Shown while the question's box holds a document of several pages."""

    def __init__(self) -> None:
        self._file = gr.State("")
        with gr.Column(visible=False, elem_id="page-picker") as self._side:
            self._thumbs = gr.Gallery(
                label="Pages", columns=6, height=210, allow_preview=False, interactive=False, buttons=[],
                object_fit="contain",
            )  # fmt: skip
            with gr.Row(elem_classes="keep"):
                self.pages = gr.Textbox(
                    label="Pages to ask about, as in 1-3,7",
                    placeholder="empty: the model looks for the right page",
                    max_length=200,
                    scale=4,
                )
                self._sheet = gr.Slider(
                    1, 2, value=1, step=1, label="Show pages from", scale=2, min_width=140
                )

    def wire(self, box: Any) -> None:
        """Follow the files of the question's box."""
        outputs = [self._file, self._side, self._thumbs, self._sheet, self.pages]
        box.change(self._attached, [box, self._file], outputs, trigger_mode="always_last", **QUICK)
        self._sheet.release(self._turned, [self._file, self._sheet], self._thumbs, **QUICK)
        self._thumbs.select(self._chosen, self.pages, self.pages, **QUICK)

    @staticmethod
    def _attached(value: dict[str, Any] | None, before: str) -> list[Any]:
        files = (value or {}).get("files", [])
        if before in files or (not before and not files):
            return [gr.skip()] * 5
        try:
            several = many_paged(files)
        except REFUSED as error:
            raise refusal(error) from None
        if not several:
            return ["", gr.update(visible=False), [], gr.skip(), ""]
        path = several[0]
        count = len(pages_of(path))
        more = gr.update(maximum=max(2, count), value=1, visible=count > SHEET, step=1)
        label = f"Pages of {Path(path).name} ({count}): click to choose"
        thumbs = gr.update(value=page_thumbs(path, 1, SHEET), label=label)
        return [path, gr.update(visible=True), thumbs, more, ""]

    @staticmethod
    def _turned(path: str, first: int) -> Any:
        return page_thumbs(path, int(first), SHEET) if path else gr.skip()

    @staticmethod
    def _chosen(pages: str, at: gr.SelectData) -> str:
        number = str(at.value["caption"])
        chosen = [part.strip() for part in pages.split(",") if part.strip()]
        chosen = [one for one in chosen if one != number] if number in chosen else [*chosen, number]
        return ",".join(chosen)
