"""A gRPC application without protoc: `grpc_server.py PORT NAME`.

Messages are JSON. The method's name says the kind of call, whatever the service is called:

    Unary          one answer that tells what arrived, metadata too
    ServerStream   `count` answers, `every` seconds apart
    ClientStream   one answer with the number of messages
    Bidi           each message is answered before the next is read
    Fail           ends with the status code `code` and the text `details`

Each call's beginning is a JSON line on standard output, as `weir-testprog http` has it.
"""

import json
import sys
import time
from concurrent import futures

import grpc


def tell(**event):
    print(json.dumps(event), flush=True)


def metadata(context):
    lists = {}
    for key, value in context.invocation_metadata():
        text = value if isinstance(value, str) else value.hex()
        lists.setdefault(key, []).append(text)
    return lists


class Calls(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, call):
        kinds = {
            "ServerStream": lambda: grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": lambda: grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": lambda: grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fail": lambda: grpc.unary_unary_rpc_method_handler(self.fail),
        }
        tell(event="request", server=self.name, path=call.method)
        kind = call.method.rsplit("/", 1)[-1]
        plain = lambda: grpc.unary_unary_rpc_method_handler(self.unary)
        return kinds.get(kind, plain)()

    def answer(self, context, **more):
        report = {"server": self.name, "metadata": metadata(context), "peer": context.peer(), **more}
        return json.dumps(report).encode()

    def unary(self, message, context):
        context.send_initial_metadata((("x-initial", "sent"),))
        context.set_trailing_metadata((("x-trailing", "sent"), ("bytes-bin", b"\x00\xff")))
        asked = json.loads(message or b"{}")
        time.sleep(asked.get("delay", 0))
        return self.answer(context, message=asked)

    def server_stream(self, message, context):
        asked = json.loads(message)
        for number in range(asked["count"]):
            yield self.answer(context, number=number)
            time.sleep(asked.get("every", 0))

    def client_stream(self, messages, context):
        received = [json.loads(message) for message in messages]
        return self.answer(context, received=len(received), last=received[-1])

    def bidi(self, messages, context):
        for message in messages:
            yield self.answer(context, message=json.loads(message))
        context.set_trailing_metadata((("x-trailing", "sent"),))

    def fail(self, message, context):
        asked = json.loads(message)
        context.set_trailing_metadata((("x-trailing", "sent"),))
        code = next(code for code in grpc.StatusCode if code.name == asked["code"])
        context.abort(code, asked["details"])


def main():
    port, name = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[Calls(name)])
    if server.add_insecure_port(f"[::]:{port}") == 0:
        sys.exit(f"cannot listen on {port}")
    server.start()
    tell(event="listening", port=int(port))
    server.wait_for_termination()


main()
