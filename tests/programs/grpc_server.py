"""A gRPC application without protoc: `grpc_server.py PORT NAME`.

Messages are JSON. The method's name says the kind of call, whatever the service is called:

    Unary          one answer that tells what arrived, metadata too
    ServerStream   `count` answers, `every` seconds apart
    ClientStream   one answer with the number of messages
    Bidi           each message is answered before the next is read
    Fail           ends with the status code `code` and the text `details`

`grpc.health.v1.Health/Check` is answered by the standard's rules; the message is the one that is not JSON.

Each call's beginning is a JSON line on standard output, as `weir-testprog http` has it, and
`cancelled` one whose caller went before its end. Standard input takes orders, `NUMBER ORDER`, each
answered by the event `ordered` with that number and the counts so far:

    fail CODE [N]             the next N calls, or all, end with this status; `fail OK` mends it
    health STATUS [SERVICE]   SERVING, NOT_SERVING; of a service that was never named, nothing is known
    counts                    nothing
    forget                    begins to count anew
"""

import collections
import json
import sys
import threading
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


HEALTH = "/grpc.health.v1.Health/Check"
# grpc.health.v1.HealthCheckResponse.ServingStatus
SERVING_STATUS = {"SERVING": 1, "NOT_SERVING": 2}


class Orders:
    """What the test says while the server runs."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.code, self.left = "OK", 0
        self.health = {"": "SERVING"}

    def listen(self):
        for line in sys.stdin:
            number, _, order = line.strip().partition(" ")
            with self.lock:
                error = self.take(order.split(" "))
                counts = {"requests": sum(self.counts.values()), "by_path": dict(self.counts)}
            tell(event="ordered", number=int(number), error=error, counts=counts)

    def take(self, words):
        verb, *rest = words
        if verb == "fail":
            self.code, self.left = rest[0], int(rest[1]) if len(rest) > 1 else float("inf")
        elif verb == "health":
            self.health[rest[1] if len(rest) > 1 else ""] = rest[0]
        elif verb == "forget":
            self.counts.clear()
        elif verb != "counts":
            return f"no such order: {verb}"
        return None

    def count(self, path):
        """Whether this call is to fail, and how."""
        with self.lock:
            self.counts[path] += 1
            if path == HEALTH or self.code == "OK" or self.left == 0:
                return None
            self.left -= 1
            return self.code


class Calls(grpc.GenericRpcHandler):
    def __init__(self, name, orders):
        self.name, self.orders = name, orders

    def service(self, call):
        if call.method == HEALTH:
            self.orders.count(HEALTH)
            return grpc.unary_unary_rpc_method_handler(self.check)
        kinds = {
            "ServerStream": lambda: grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": lambda: grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": lambda: grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fail": lambda: grpc.unary_unary_rpc_method_handler(self.fail),
        }
        tell(event="request", server=self.name, path=call.method)
        if code := self.orders.count(call.method):
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(status(code), "as ordered")
            )
        kind = call.method.rsplit("/", 1)[-1]
        plain = lambda: grpc.unary_unary_rpc_method_handler(self.unary)
        return kinds.get(kind, plain)()

    def answer(self, context, **more):
        report = {"server": self.name, "metadata": metadata(context), "peer": context.peer(), **more}
        return json.dumps(report).encode()

    def check(self, message, context):
        # HealthCheckRequest: field 1, a string; HealthCheckResponse: field 1, an enum.
        service = message[2:].decode() if message else ""
        with self.orders.lock:
            health = self.orders.health.get(service)
        if health is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([0x08, SERVING_STATUS[health]])

    def unary(self, message, context):
        done = threading.Event()
        context.add_callback(lambda: done.is_set() or tell(event="cancelled", server=self.name))
        answer = self.answered(message, context)
        done.set()
        return answer

    def answered(self, message, context):
        remaining = context.time_remaining()
        context.send_initial_metadata((("x-initial", "sent"),))
        context.set_trailing_metadata((("x-trailing", "sent"), ("bytes-bin", b"\x00\xff")))
        asked = json.loads(message or b"{}")
        time.sleep(asked.get("delay", 0))
        return self.answer(context, message=asked, remaining=remaining)

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
        context.abort(status(asked["code"]), asked["details"])


def status(name):
    return next(code for code in grpc.StatusCode if code.name == name)


def main():
    port, name = sys.argv[1:]
    orders = Orders()
    server = grpc.server(futures.ThreadPoolExecutor(64), handlers=[Calls(name, orders)])
    if server.add_insecure_port(f"[::]:{port}") == 0:
        sys.exit(f"cannot listen on {port}")
    server.start()
    threading.Thread(target=orders.listen, daemon=True).start()
    tell(event="listening", port=int(port))
    server.wait_for_termination()


main()
