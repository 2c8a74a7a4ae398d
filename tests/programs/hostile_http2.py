"""HTTP/2 that nobody should send, frame by frame.

    hostile_http2.py client ADDR PORT KIND   says KIND on one connection, tells how that ended
    hostile_http2.py server PORT KIND        answers every request with KIND

Kinds are in client_frames() and server_frames().
"""

import json
import socket
import struct
import sys
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# More than any peer should take.
FLOOD = 50_000


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field without indexing (RFC 7541 §6.2.2), both texts shorter than 127."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


# :method GET, :scheme http, :path /, :authority web
REQUEST = b"\x82\x86\x84" + literal(b":authority", b"web")
# :status 200
ANSWER = b"\x88"


def headers(stream, block, flags=END_HEADERS | END_STREAM):
    return frame(HEADERS, flags, stream, block)


def client_frames(kind):
    """What to say after the settings."""
    if kind == "rapid-reset":
        for number in range(FLOOD):
            stream = 2 * number + 1
            yield headers(stream, REQUEST) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
    elif kind == "continuation":
        yield frame(HEADERS, END_STREAM, 1, REQUEST)
        for number in range(FLOOD):
            yield frame(CONTINUATION, 0, 1, literal(b"x-%06d" % number, b"y" * 100))
    elif kind == "empty-frames":
        yield frame(HEADERS, END_STREAM, 1, REQUEST)
        for _ in range(FLOOD):
            yield frame(CONTINUATION, 0, 1)
    elif kind == "settings":
        for _ in range(FLOOD):
            yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 20
        yield headers(1, REQUEST)
    elif kind == "ping":
        for _ in range(FLOOD):
            yield frame(PING, 0, 0, b"12345678") * 20
        yield headers(1, REQUEST)
    elif kind == "headers-list":
        block = REQUEST + b"".join(literal(b"x-%04d" % n, b"y" * 100) for n in range(2000))
        yield frame(HEADERS, END_STREAM, 1, block[:16000])
        pieces = [block[at : at + 16000] for at in range(16000, len(block), 16000)]
        for piece in pieces[:-1]:
            yield frame(CONTINUATION, 0, 1, piece)
        yield frame(CONTINUATION, END_HEADERS, 1, pieces[-1])
    elif kind == "window":
        yield frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2
    elif kind == "data-on-0":
        yield frame(DATA, 0, 0, b"x")
    elif kind == "oversized":
        yield frame(DATA, 0, 1, b"x" * (1 << 22))
    elif kind == "upper-case":
        yield headers(1, REQUEST + literal(b"X-Upper", b"1"))
    elif kind == "connection-header":
        yield headers(1, REQUEST + literal(b"connection", b"close"))
    elif kind == "transfer-encoding":
        yield headers(1, REQUEST + literal(b"transfer-encoding", b"chunked"))
    elif kind == "no-path":
        yield headers(1, b"\x82\x86" + literal(b":authority", b"web"))
    elif kind == "two-hosts":
        yield headers(1, REQUEST + literal(b"host", b"other"))
    elif kind == "crlf":
        yield headers(1, REQUEST + literal(b"x-a", b"b\r\nx-smuggled: 1"))
    elif kind == "length-lies":
        yield headers(1, REQUEST + literal(b"content-length", b"5"), END_HEADERS)
        yield frame(DATA, END_STREAM, 1, b"hello, and more")
    else:
        sys.exit(f"no such kind: {kind}")


def server_frames(kind, stream):
    """The answer to a request."""
    if kind == "reset":
        yield frame(RST_STREAM, 0, stream, struct.pack(">I", 2))
    elif kind == "goaway":
        yield frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11))
    elif kind == "continuation":
        yield frame(HEADERS, 0, stream, ANSWER)
        for number in range(FLOOD):
            yield frame(CONTINUATION, 0, stream, literal(b"x-%06d" % number, b"y" * 100))
    elif kind == "garbage":
        yield b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 10
    elif kind == "data-first":
        yield frame(DATA, END_STREAM, stream, b"hello")
    elif kind == "headers-list":
        block = ANSWER + b"".join(literal(b"x-%04d" % n, b"y" * 100) for n in range(2000))
        yield frame(HEADERS, END_STREAM, stream, block[:16000])
        pieces = [block[at : at + 16000] for at in range(16000, len(block), 16000)]
        for piece in pieces[:-1]:
            yield frame(CONTINUATION, 0, stream, piece)
        yield frame(CONTINUATION, END_HEADERS, stream, pieces[-1])
    elif kind == "oversized":
        yield headers(stream, ANSWER, END_HEADERS) + frame(DATA, 0, stream, b"x" * (1 << 22))
    elif kind == "length-lies":
        yield headers(stream, ANSWER + literal(b"content-length", b"5"), END_HEADERS)
        yield frame(DATA, END_STREAM, stream, b"hello, and more")
    elif kind == "empty-frames":
        yield headers(stream, ANSWER, END_HEADERS)
        for _ in range(FLOOD):
            yield frame(DATA, 0, stream) * 20
        yield frame(DATA, END_STREAM, stream)
    elif kind != "silent":
        sys.exit(f"no such kind: {kind}")


def read_exactly(sock, length):
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def frames(sock):
    while True:
        head = read_exactly(sock, 9)
        length = int.from_bytes(head[:3], "big")
        payload = read_exactly(sock, length)
        yield head[3], head[4], int.from_bytes(head[5:], "big"), payload


def client(addr, port, kind):
    sock = socket.create_connection((addr, int(port)), timeout=20)
    report = {"kind": kind, "ended": None, "code": None, "sent": 0, "status": None}

    def send():
        try:
            sock.sendall(PREFACE + frame(SETTINGS, 0, 0))
            for said in client_frames(kind):
                sock.sendall(said)
                report["sent"] += 1
        except OSError:
            pass

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        for kind_of_frame, flags, stream, payload in frames(sock):
            if kind_of_frame == SETTINGS and not flags & ACK and kind != "settings":
                sock.sendall(frame(SETTINGS, ACK, 0))
            elif kind_of_frame == HEADERS and stream == 1:
                # Weir's answers begin with an indexed or a literal status; its digits are enough.
                report["status"] = payload.hex()
                report["ended"] = "answer"
                break
            elif kind_of_frame == RST_STREAM and stream == 1 and kind != "rapid-reset":
                report["ended"], report["code"] = "reset", int.from_bytes(payload, "big")
                break
            elif kind_of_frame == GOAWAY:
                report["ended"], report["code"] = "goaway", int.from_bytes(payload[4:8], "big")
                break
    except socket.timeout:
        report["ended"] = "timeout"
    except (EOFError, OSError):
        report["ended"] = "closed"
    print(json.dumps(report), flush=True)


def serve(sock, kind):
    try:
        if kind == "garbage":
            sock.recv(100)
            sock.sendall(b"".join(server_frames(kind, 1)))
            return sock.close()
        read_exactly(sock, len(PREFACE))
        sock.sendall(frame(SETTINGS, 0, 0))
        for kind_of_frame, flags, stream, payload in frames(sock):
            if kind_of_frame == SETTINGS and not flags & ACK:
                sock.sendall(frame(SETTINGS, ACK, 0))
            elif kind_of_frame == HEADERS:
                for said in server_frames(kind, stream):
                    sock.sendall(said)
    except (EOFError, OSError):
        pass


def server(port, kind):
    listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    print(json.dumps({"event": "listening", "port": int(port)}), flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, kind), daemon=True).start()


role, *args = sys.argv[1:]
{"client": client, "server": server}[role](*args)
