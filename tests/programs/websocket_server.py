"""A WebSocket application that returns every message: `websocket_server.py PORT`."""

import asyncio
import json
import sys

import websockets


def tell(**event):
    print(json.dumps(event), flush=True)


async def echo(socket):
    tell(event="request", path=socket.path, headers=dict(socket.request_headers.raw_items()))
    async for message in socket:
        await socket.send(message)
    tell(event="closed", code=socket.close_code)


async def main():
    port = int(sys.argv[1])
    async with websockets.serve(echo, None, port):
        tell(event="listening", port=port)
        await asyncio.Future()


asyncio.run(main())
