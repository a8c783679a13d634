"""gRPC as people run it: a server with every kind of call, and channels to a gateway's port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

SERVICE = "test.Echo"


def _bytes(data: bytes) -> bytes:
    return data


class EchoServer:
    """A grpcio server on a free port. Methods of test.Echo take and give plain bytes:

    Unary ``name|message``; Collect joins what comes; Count sends as many messages as it is told, Chat answers each message when it
    comes; Fail ends with the status that it is told; Wait lasts until the call ends; Meta gives the metadata back. ``calls`` counts
    by method, ``cancelled`` is set when a call that waited has been given up.
    """

    def __init__(self, name: str = "echo", credentials: grpc.ServerCredentials | None = None, workers: int = 64):
        self.name = name
        self.calls: dict[str, int] = {}
        self.cancelled = threading.Event()
        self.deadlines: list[float | None] = []
        self._lock = threading.Lock()
        self.server = grpc.server(
            ThreadPoolExecutor(workers), options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 2000)]
        )
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        self.health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server)
        place = "127.0.0.1:0"
        self.port = self.server.add_secure_port(place, credentials) if credentials else self.server.add_insecure_port(place)

    def __enter__(self) -> EchoServer:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None).wait(60)

    def _handlers(self) -> dict[str, Any]:
        kinds = {
            "Unary": (grpc.unary_unary_rpc_method_handler, self.unary),
            "Collect": (grpc.stream_unary_rpc_method_handler, self.collect),
            "Count": (grpc.unary_stream_rpc_method_handler, self.count),
            "Chat": (grpc.stream_stream_rpc_method_handler, self.chat),
            "Fail": (grpc.unary_unary_rpc_method_handler, self.fail),
            "Wait": (grpc.unary_unary_rpc_method_handler, self.wait),
            "Meta": (grpc.unary_unary_rpc_method_handler, self.meta),
        }
        return {
            name: kind(self._counted(name, method), request_deserializer=_bytes, response_serializer=_bytes)
            for name, (kind, method) in kinds.items()
        }

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self.calls[name] = self.calls.get(name, 0) + 1
            return method(request, context)

        return call

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return self.name.encode() + b"|" + request

    def collect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b",".join(requests)

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for i in range(int(request)):
            yield b"%d" % i

    def chat(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield b"re: " + request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        number, _, message = request.decode().partition(" ")
        code = next(one for one in grpc.StatusCode if one.value[0] == int(number))
        context.set_trailing_metadata((("x-trailer", "seen"), ("x-trailer-bin", bytes(range(8)))))
        context.abort(code, message)
        raise AssertionError("abort returns")

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.deadlines.append(context.time_remaining())
        ended = threading.Event()
        context.add_callback(ended.set)
        if ended.wait(60):
            self.cancelled.set()
        return b""

    def meta(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-initial", "1"), ("x-initial-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\xfe\x01")))
        return "\n".join(f"{key}={value!r}" for key, value in context.invocation_metadata()).encode()


class Echo:
    """A client of the server: one channel, the methods by name."""

    def __init__(self, port: int, host: str, credentials: grpc.ChannelCredentials | None = None, **options: Any):
        settings = [("grpc.default_authority", host), ("grpc.enable_retries", 0), *options.items()]
        if credentials is not None:
            settings.append(("grpc.ssl_target_name_override", host))
            self.channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, settings)
        else:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", settings)
        c = self.channel
        self.unary = c.unary_unary(f"/{SERVICE}/Unary", _bytes, _bytes)
        self.collect = c.stream_unary(f"/{SERVICE}/Collect", _bytes, _bytes)
        self.count = c.unary_stream(f"/{SERVICE}/Count", _bytes, _bytes)
        self.chat = c.stream_stream(f"/{SERVICE}/Chat", _bytes, _bytes)
        self.fail = c.unary_unary(f"/{SERVICE}/Fail", _bytes, _bytes)
        self.wait = c.unary_unary(f"/{SERVICE}/Wait", _bytes, _bytes)
        self.meta = c.unary_unary(f"/{SERVICE}/Meta", _bytes, _bytes)
        self.missing = c.unary_unary("/other.Service/Method", _bytes, _bytes)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


class Turns:
    """Requests of a stream that are sent one by one, when the test says so."""

    def __init__(self) -> None:
        self._go = threading.Condition()
        self._ready: list[bytes | None] = []

    def say(self, message: bytes | None) -> None:
        """None: no more."""
        with self._go:
            self._ready.append(message)
            self._go.notify()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._go:
                while not self._ready:
                    self._go.wait(60)
                message = self._ready.pop(0)
            if message is None:
                return
            yield message


def status_of(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """How a call that must fail ends."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call did not fail")
