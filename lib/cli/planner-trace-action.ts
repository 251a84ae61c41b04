import { formatMooncake } from '../planner/core/simulate/mooncake.js';
import { synthesizeTrace, TRACE_SHAPES, type TraceShape } from '../planner/core/simulate/trace.js';
import { type CommandArgs, type CommandIo, usageError } from './command.js';
import { print, printJson } from './output.js';
import type { PlannerTraceOptions } from './planner.js';
import { writeOutput } from './planner-plot.js';

/** The requests and the blocks of their prompts that one text of JavaScript holds. */
const MAX_PARTS = 1e7;
const BLOCK_TOKENS = 512;

/** Writes a synthetic trace. */
export async function run(
  { positionals, options, json }: CommandArgs<PlannerTraceOptions>,
  io: CommandIo,
): Promise<void> {
  const [shape = ''] = positionals;
  if (!TRACE_SHAPES.includes(shape as TraceShape))
    throw usageError(`shape: expected one of ${TRACE_SHAPES.join(', ')}, got '${shape}'`);
  const { output, seed = 1, durationSeconds = 900, rate = 10, inputTokens = 1500, outputTokens = 200 } = options;
  const mostSeconds = Math.floor(MAX_PARTS / (rate * (1 + inputTokens / BLOCK_TOKENS)));
  if (durationSeconds > mostSeconds)
    throw usageError(
      `--duration-seconds: expected at most ${mostSeconds} with this rate and prompt length, got ${durationSeconds}`,
    );
  const durationMs = durationSeconds * 1000;
  const trace = synthesizeTrace({ shape: shape as TraceShape, seed, durationMs, rate, inputTokens, outputTokens });
  const content = formatMooncake(trace);
  if (output === undefined) return void io.stdout.write(content);
  const file = writeOutput(output, content, io);
  if (json) printJson(io, { file, requests: trace.length });
  else print(io, `${file}: ${trace.length} requests`);
}
