"""worker.py MODEL_PATH MODEL_NAME: the counterpart of worker.mjs"""

import asyncio
import sys

import uvloop
from dynamo.llm import ModelInput, ModelType, WorkerType, register_model
from dynamo.runtime import DistributedRuntime
from load import answer_commands, report


async def generate(request, context):
    prompt = request["token_ids"]
    for index in range(request["stop_conditions"]["max_tokens"]):
        yield {"token_ids": [prompt[index % len(prompt)]]}
    yield {"token_ids": [], "finish_reason": "length"}


async def main(model_path, name):
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    endpoint = runtime.endpoint(f"{name}.backend.generate")
    serving = asyncio.ensure_future(endpoint.serve_endpoint(generate))
    await register_model(
        ModelInput.Tokens,
        ModelType.Chat,
        endpoint,
        model_path,
        name,
        worker_type=WorkerType.Aggregated,
        kv_cache_block_size=64,
        ignore_weights=True,
    )
    report({"ready": True})
    await answer_commands(lambda command: asyncio.sleep(0, {}))
    await serving


uvloop.run(main(*sys.argv[1:]))
