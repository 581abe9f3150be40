"""How the app looks, and what its pages may load: nothing from another server.

Gradio's own colours and spacing are kept, so that dark and light follow the system; the rest is here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")

CSS = """
:root { --looked: #0072b2; --read: #e69f00; --wrote: #009e73; }
.gradio-container { width: 100%; max-width: 1360px !important; margin: 0 auto !important; }
.gradio-container > .main { padding: 0 20px 12px !important; }
footer { display: none !important; }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.faint { color: var(--body-text-color-subdued); }
#head { padding: 6px 0 0; }
#head h1 { margin: 0; font-size: 1.3rem; letter-spacing: -0.01em; display: inline; }
#head p { margin: 0 0 0 12px; display: inline; color: var(--body-text-color-subdued); }
.panel h2 { margin: 0; font-size: 1rem; font-weight: 600; }
.panel .faint, .caption { font-size: 0.8rem; }
.status, .hint { padding: 0 2px; }
.status { min-height: 1.4em; }
.status p, .hint p { color: var(--body-text-color-subdued); font-size: 0.875rem; margin: 0; }

#chat { height: calc(100vh - 312px) !important; min-height: 360px; }
#chat .placeholder { padding: 12px 20px 0; }
#chat .message-content { white-space: pre-wrap; overflow-wrap: anywhere; }
#chat .message-row img { max-width: 200px; max-height: 160px; width: auto; }
/* Gradio's button posts a picture to another server. */
#chat .message-buttons:has([aria-label="Share"]) { display: none; }
#chat .examples { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px; padding: 12px 20px;
  width: 100%; max-width: none; }
#chat .example { padding: 8px; border: 1px solid var(--border-color-primary); border-radius: 8px; width: 100%;
  background: var(--background-fill-primary); }
#chat .example:hover { border-color: var(--color-accent); }
#chat .example-content { align-items: center; gap: 6px; }
#chat .example-image-container { width: 100%; height: 78px; background: none; }
#chat .example-image-container img { width: 100%; height: 100%; object-fit: contain; }
#chat .example-text { font-size: 0.85rem; }

#status { margin: -6px 0; }
#page-picker .grid-wrap { max-height: 200px; }
#crops .grid-wrap { min-height: 0; max-height: 290px; padding: 2px; }
#crops .grid-container { grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)) !important; }
#crops .caption-label { font-size: 0.7rem; left: 4px; right: auto; bottom: 4px; padding: 1px 5px; }

.stages .bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; gap: 1px; }
.stages .bar span { min-width: 3px; }
.stage-looked { background: var(--looked); } .stage-read { background: var(--read); }
.stage-wrote { background: var(--wrote); }
.stages .dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 7px; }
.stages table, table.summary { width: 100%; border-collapse: collapse; margin: 8px 0 0; font-size: 0.875rem;
  border: 0 !important; }
.stages tr, table.summary tr { border: 0 !important; background: none !important; }
.stages th { white-space: nowrap; }
.stages th, .stages td, table.summary th, table.summary td { text-align: left; padding: 5px 10px 5px 2px;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; font-weight: 400;
  vertical-align: top; }
.stages td:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  padding-right: 2px; }
.stages tr.sum > *, table.summary thead th, table.summary tbody th { font-weight: 600; }
.stages tr.sum > * { border-bottom: 0 !important; }
table.summary tbody th { white-space: nowrap; }
table.summary td:not(.answer):not([colspan]) { white-space: nowrap; }
table.summary td { font-variant-numeric: tabular-nums; }
table.summary td.answer { overflow-wrap: anywhere; min-width: 9rem; }
table.summary caption { text-align: left; font-size: 0.875rem; padding-top: 10px;
  color: var(--body-text-color-subdued); }
.scroll { overflow-x: auto; }
.early { color: #b45309; font-size: 0.875rem; margin: 8px 0 0; }
.dark .early { color: #fbbf24; }
.found { font-size: 1.15rem; white-space: pre-wrap; margin: 2px 0 8px; }
.tight { margin: -2px 0 -10px !important; padding: 0 2px !important; }
.policy { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px !important; }
.answer-text textarea { font-size: 1rem; line-height: 1.45; }
#kept .wrap { flex-direction: column; }
#document-text { padding: 2px 4px; overflow-wrap: anywhere; }
button:focus-visible, a:focus-visible, [role="tab"]:focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }

@media (max-width: 700px) {
  .gradio-container > .main { padding: 0 10px 10px !important; }
  #head p { display: block; margin: 2px 0 0; }
  #chat { height: 58vh !important; }
  #chat .examples { grid-template-columns: repeat(2, 1fr); padding: 10px; }
  #chat .placeholder { padding: 8px 12px 0; }
  /* The panel comes right after the chat, what is seldom needed comes last. */
  #chat-row > .column { display: contents; }
  #chat-row .saw { order: 1; }
  #chat-row .late { order: 2; }
  .gradio-container .row:not(.keep) { flex-direction: column; }
  .gradio-container .row:not(.keep) > * { min-width: 0 !important; width: 100%; }
}
"""

# What gradio leaves without a name for those who don't see it.
JS = """
() => {
  const name = () => {
    document.querySelectorAll('#chat .message-row img[alt=""], #chat .message-row img:not([alt])')
      .forEach((image) => { image.alt = 'Image of the question'; });
    document.querySelectorAll('#question .thumbnail-item img[alt=""]')
      .forEach((image) => { image.alt = 'Attached image'; });
    document.querySelectorAll('textarea:not([aria-label])').forEach((box) => {
      const says = box.closest('.block')?.querySelector('[data-testid="block-info"]')?.textContent.trim();
      if (says && !box.labels.length) box.setAttribute('aria-label', says);
    });
    document.querySelectorAll('#chat .example-image').forEach((image) => { if (image.alt) image.alt = ''; });
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}
"""

# 'unsafe-inline' and 'unsafe-eval': gradio's page has inline scripts and makes functions of strings.
_POLICY = "; ".join((
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self' data: blob:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'self'",
))  # fmt: skip
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]

Message = MutableMapping[str, Any]


class Headers:
    """ASGI middleware: a browser is told to load nothing from elsewhere, whatever a model says.

    An answer may hold Markdown that a picture dictated, and an image's address in it would carry the
    conversation to another server.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Add the headers to the response's start."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self._app(scope, receive, sending)


def theme() -> Any:
    """Gradio's soft theme in system fonts."""
    return gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO)
