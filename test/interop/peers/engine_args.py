"""engine_args.py ENGINE ARGS...: prints what Dynamo's own parser of an engine reads, and what it leaves to the engine.

vLLM and SGLang are not needed. TensorRT-LLM's package has the defaults of the parser: a module without any stands in.
"""

import argparse
import json
import sys
import types

engine, *args = sys.argv[1:]


def trtllm():
    limits = ("max_batch_size", "max_num_tokens", "max_seq_len", "max_beam_width")
    fields = {name: types.SimpleNamespace(default=None) for name in limits}
    llmapi = types.ModuleType("tensorrt_llm.llmapi")
    llmapi.BuildConfig = types.SimpleNamespace(model_fields=fields)
    sys.modules["tensorrt_llm"] = types.ModuleType("tensorrt_llm")
    sys.modules["tensorrt_llm.llmapi"] = llmapi
    from dynamo.trtllm.args import parse_args

    config = parse_args(args)
    return {
        "endpoint": f"{config.namespace}.{config.component}.{config.endpoint}",
        "model": config.model,
        "name": config.served_model_name,
        "mode": config.disaggregation_mode.value,
        "tensorParallelSize": config.tensor_parallel_size,
        "blockSize": config.kv_block_size,
        "contextLength": config.max_seq_len,
        "overrides": json.loads(config.override_engine_args),
    }


def mocker():
    from dynamo.mocker.args import parse_args

    config = parse_args(args)
    return {
        "endpoint": config.endpoint.removeprefix("dyn://"),
        "model": config.model_path,
        "name": config.model_name,
        "mode": config.disaggregation_mode,
        "engine": config.engine_type,
        "blockSize": config.block_size,
        "contextLength": config.max_model_len,
    }


def rest_of(group):
    from dynamo.common.configuration.groups.runtime_args import DynamoRuntimeArgGroup

    parser = argparse.ArgumentParser()
    for one in (DynamoRuntimeArgGroup, group):
        one().add_arguments(parser)
    config, rest = parser.parse_known_args(args)
    return {
        "endpoint": (config.endpoint or "").removeprefix("dyn://"),
        "mode": getattr(config, "disaggregation_mode", None),
        "rest": rest,
    }


def sglang():
    from dynamo.sglang.backend_args import DynamoSGLangArgGroup

    return rest_of(DynamoSGLangArgGroup)


def vllm():
    from dynamo.vllm.backend_args import DynamoVllmArgGroup

    return rest_of(DynamoVllmArgGroup)


readers = {"trtllm": trtllm, "mocker": mocker, "sglang": sglang, "vllm": vllm}
print(json.dumps(readers[engine]()))
