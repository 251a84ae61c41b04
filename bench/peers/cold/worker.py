"""worker.py splitter|upper|front: a worker of the same graph as graph.ts"""

import asyncio
import sys

import uvloop
from dynamo.runtime import DistributedRuntime


async def client_of(runtime, service):
    client = await runtime.endpoint(f"dynamo.{service}.generate").client()
    await client.wait_for_instances()
    return client


async def splitter(runtime):
    async def generate(text, context):
        for word in text.split(" "):
            yield word

    return generate


async def upper(runtime):
    client = await client_of(runtime, "splitter")

    async def generate(text, context):
        async for word in await client.round_robin(text, annotated=False):
            yield word.upper()

    return generate


async def front(runtime):
    client = await client_of(runtime, "upper")

    async def generate(text, context):
        yield "-".join([word async for word in await client.round_robin(text, annotated=False)])

    return generate


SERVICES = {"splitter": splitter, "upper": upper, "front": front}


async def main(service):
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    handler = await SERVICES[service](runtime)
    await runtime.endpoint(f"dynamo.{service}.generate").serve_endpoint(handler)


uvloop.run(main(sys.argv[1]))
