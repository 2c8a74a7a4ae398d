"""A gRPC client without protoc: `grpc_client.py ADDR METHOD [OPTIONS]`.

The last part of METHOD (`/package.Service/Bidi`) is the kind of call, as grpc_server.py has it; the
standard's health check takes the service from the message.
One channel carries all of `--calls`; each tells a JSON line at its end: the status code's name,
its text, both kinds of metadata, the answers, and after how many seconds each of them came.
"""

import argparse
import json
import time

import grpc


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("addr")
    parser.add_argument("method")
    parser.add_argument("--message", default="{}", help="JSON")
    parser.add_argument("--messages", type=int, default=1, help="of a client's stream")
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds")
    return parser.parse_args()


class Messages:
    """A stream that sends its next message when the last one has been answered."""

    def __init__(self, message, count, answered):
        self.message, self.count, self.answered = message, count, answered

    def __iter__(self):
        for number in range(self.count):
            while self.answered() < number:
                time.sleep(0.001)
            yield json.dumps({**self.message, "number": number}).encode()


HEALTH = "/grpc.health.v1.Health/Check"
SERVING_STATUS = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]


def health_request(service):
    """HealthCheckRequest: field 1, a string."""
    return bytes([0x0A, len(service)]) + service.encode() if service else b""


def health_answer(message):
    """HealthCheckResponse: field 1, an enum."""
    return json.dumps({"health": SERVING_STATUS[message[1] if message else 0]})


def start(channel, args, answers):
    message = json.loads(args.message)
    options = {
        "timeout": args.deadline,
        "metadata": [tuple(pair.split("=", 1)) for pair in args.metadata],
    }
    if args.method == HEALTH:
        check = channel.unary_unary(args.method, response_deserializer=health_answer)
        return check.future(health_request(message.get("service", "")), **options)
    kind = args.method.rsplit("/", 1)[-1]
    if kind == "ServerStream":
        return channel.unary_stream(args.method)(json.dumps(message).encode(), **options)
    if kind == "Bidi":
        messages = Messages(message, args.messages, lambda: len(answers))
        return channel.stream_stream(args.method)(iter(messages), **options)
    if kind == "ClientStream":
        messages = Messages(message, args.messages, lambda: args.messages)
        return channel.stream_unary(args.method).future(iter(messages), **options)
    return channel.unary_unary(args.method).future(json.dumps(message).encode(), **options)


def call(channel, args):
    began = time.monotonic()
    answers, at = [], []
    call = start(channel, args, answers)
    try:
        is_stream = args.method.endswith(("/ServerStream", "/Bidi"))
        for answer in call if is_stream else [call.result()]:
            at.append(time.monotonic() - began)
            answers.append(json.loads(answer))
    except grpc.RpcError:
        pass
    pairs = lambda found: {
        key: value if isinstance(value, str) else value.hex() for key, value in found or ()
    }
    report = {
        "event": "called",
        "code": call.code().name,
        "details": call.details(),
        "initial": pairs(call.initial_metadata()),
        "trailing": pairs(call.trailing_metadata()),
        "answers": answers,
        "at": at,
        "took": time.monotonic() - began,
    }
    print(json.dumps(report), flush=True)


def main():
    args = arguments()
    with grpc.insecure_channel(args.addr, options=[("grpc.enable_http_proxy", 0)]) as channel:
        for _ in range(args.calls):
            call(channel, args)


main()
