"""A WebSocket client: `websocket_client.py URL MESSAGE…`.

Sends each message, waits for what comes back before the next, and closes. `binary:N` is a message of N bytes.
Tells one JSON object: the answers (of binary ones the length), or why there is no connection.
"""

import asyncio
import json
import sys

import websockets


async def converse(url, messages):
    answers = []
    async with websockets.connect(url, max_size=None, open_timeout=10) as socket:
        for message in messages:
            binary = message.startswith("binary:")
            await socket.send(b"x" * int(message[7:]) if binary else message)
            answer = await asyncio.wait_for(socket.recv(), 20)
            answers.append(len(answer) if isinstance(answer, bytes) else answer)
        await socket.ping()
    return {"answers": answers, "code": socket.close_code}


def main():
    url, *messages = sys.argv[1:]
    try:
        report = asyncio.run(converse(url, messages))
    except websockets.InvalidStatusCode as error:
        report = {"status": error.status_code, "reason": error.headers.get("x-weir-reason")}
    except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
        report = {"error": repr(error)}
    print(json.dumps(report), flush=True)


main()
