"""The least that an ASGI application can answer: what the server software itself costs. For `python -m uvicorn`."""

import gc

gc.freeze()  # as the product's server does: the comparison is of the applications
gc.set_threshold(50_000, 20, 50)


async def app(scope, receive, send):
    """200 and an empty JSON object to every request."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
        }
    )
    await send({"type": "http.response.body", "body": b"{}"})
