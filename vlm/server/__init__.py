"""An HTTP server that OpenAI's clients can talk to, over one model that many users share.

``app`` has the routes, ``service`` what they share: the model, the queue, the figures. A request goes
through ``guard`` (key, size) and ``wire`` (its shape) to ``asking`` (what it means for a ``VLM``), waits
at the gate of ``limits``, is answered by ``running`` in worker threads, and leaves through ``chat`` or
``responses``.
"""
