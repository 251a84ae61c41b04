"""Serves endpoints that TypeScript calls: worker.py NAMESPACE."""

import asyncio
import sys

from dynamo import _core
from dynamo.llm.exceptions import HttpError
from dynamo.runtime import DistributedRuntime, serve_unary_endpoint
from lines import commands, describe, emit, finish

ERRORS = {
    "value": lambda: ValueError("wrong value"),
    "type": lambda: TypeError("wrong type"),
    "runtime": lambda: RuntimeError("broken"),
    "http": lambda: HttpError(404, "no such model"),
    "invalid": lambda: _core.InvalidArgument("bad argument"),
    "cancelled": lambda: _core.Cancelled("not wanted"),
    "timeout": lambda: _core.ConnectionTimeout("too slow"),
    "refused": lambda: ConnectionRefusedError("database"),
    "shutdown": lambda: _core.EngineShutdown("engine left"),
}


async def echo(request, context):
    yield request


async def describe_request(request, context):
    yield describe(request)


async def count(request, context):
    for index in range(request):
        yield index


async def context_of(request, context):
    yield {"id": context.id(), "metadata": dict(context.metadata.items())}


async def trace_of(request, context):
    yield {"trace": context.trace_id, "caller": context.parent_span_id}


async def annotated(request, context):
    yield {"_dynamo_annotated": True, "event": "progress", "comment": ["half"]}
    yield {"_dynamo_annotated": True, "data": 1, "id": "first"}
    yield 2


async def fail(request, context):
    for index in range(request["items"]):
        yield index
    raise ERRORS[request["error"]]()


async def endless(request, context):
    emit("started", id=context.id())
    index = 0
    try:
        while not context.is_stopped():
            yield index
            index += 1
            await asyncio.sleep(0.005)
    finally:
        emit("ended", id=context.id(), stopped=context.is_stopped(), killed=context.is_killed())


async def silent(request, context):
    emit("started", id=context.id())
    await context.async_killed_or_stopped()
    emit("ended", id=context.id(), stopped=context.is_stopped(), killed=context.is_killed())
    if request == "never":
        yield None


async def total(requests, context):
    value = 0
    async for item in requests:
        value += item
        yield value


async def double(request, context):
    return request * 2


async def main(namespace):
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")

    async def relay(request, context):
        """Asks an endpoint as a part of the request."""
        client = await runtime.endpoint(request).client()
        await client.wait_for_instances()
        async for item in await client.generate(None, context=context):
            yield item.data()

    handlers = {
        "echo": echo,
        "describe": describe_request,
        "count": count,
        "context": context_of,
        "trace": trace_of,
        "relay": relay,
        "annotated": annotated,
        "fail": fail,
        "endless": endless,
        "silent": silent,
    }
    endpoints = {name: runtime.endpoint(f"{namespace}.python.{name}") for name in [*handlers, "total", "double"]}
    serving = [endpoints[name].serve_endpoint(handler) for name, handler in handlers.items()]
    serving.append(endpoints["total"].serve_bidirectional_endpoint(total))
    serving.append(asyncio.ensure_future(serve_unary_endpoint(endpoints["double"], double)))
    emit("ready")
    async for command in commands():
        if command["do"] == "unregister":
            await endpoints[command["endpoint"]].unregister_endpoint_instance()
        elif command["do"] == "register":
            await endpoints[command["endpoint"]].register_endpoint_instance()
        elif command["do"] == "shutdown":
            runtime.shutdown()
            await asyncio.gather(*serving, return_exceptions=True)
            emit("done", do="shutdown")
            finish()
        emit("done", do=command["do"])
    finish()


asyncio.run(main(sys.argv[1]))
