"""Prints lib/runtime/metric-names.ts from the wheel's own list: metric-names.py > lib/runtime/metric-names.ts"""

import inspect
import json

from dynamo import prometheus_names


def lines(group, depth):
    for name, value in vars(group).items():
        if name.startswith("_"):
            continue
        indent = "  " * depth
        if inspect.isclass(value):
            yield f"{indent}{name}: {{"
            yield from lines(value, depth + 1)
            yield f"{indent}}},"
        elif isinstance(value, str):
            yield f"{indent}{name}: {json.dumps(value)},".replace('"', "'")


print("""/**
 * The names of Dynamo's own metrics and labels, without their prefix, under the paths that Rust and Python have them: made by
 * `scripts/metric-names.py`. Source: `dynamo-runtime/src/metrics/prometheus_names.rs`.
 *
 * @example
 * const name = `dynamo_frontend_${prometheusNames.frontend_service.TIME_TO_FIRST_TOKEN_SECONDS}`;
 */
export const prometheusNames = {""")
print("\n".join(lines(prometheus_names, 1)))
print("} as const;")
