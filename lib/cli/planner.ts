import {
  boolean,
  integer,
  listOf,
  milliseconds,
  number,
  type OptionTable,
  oneOf,
  optionTable,
  text,
} from '../options.js';
import { PLANNERS, type PlannerName } from '../planner/core/simulate/planner-names.js';
import { TRACE_SHAPES } from '../planner/core/simulate/trace.js';
import type { Command } from './command.js';

/** What a simulated fleet and its load have in common. */
export interface PlannerScenarioOptions {
  readonly mode?: 'agg' | 'disagg';
  readonly ttftMs?: number;
  readonly itlMs?: number;
  readonly attainment?: number;
  readonly maxGpus?: number;
  readonly gpusPerWorker?: number;
  readonly coldStartMs?: number;
  readonly intervalMs?: number;
  readonly predictor?: 'adaptive' | 'constant' | 'kalman' | 'autoregressive' | 'seasonal' | 'burst';
  readonly maxBatchedTokens?: number;
  readonly maxRequests?: number;
  readonly kvTokens?: number;
  readonly profile?: readonly string[];
  readonly prefixCache?: boolean;
  readonly speedup?: number;
  readonly seed?: number;
}

/** The options of `dynamo planner simulate`. */
export interface PlannerSimulateOptions extends PlannerScenarioOptions {
  readonly initial?: string;
  readonly planner?: readonly PlannerName[];
  readonly fleet?: readonly string[];
  readonly runs?: number;
  readonly plot?: string;
  readonly decisions?: string;
  readonly replay?: 'round_robin' | 'kv';
}

/** The options of `dynamo planner tune`. */
export interface PlannerTuneOptions extends PlannerScenarioOptions {
  readonly runs?: number;
  readonly plot?: string;
}

/** The options of `dynamo planner trace`. */
export interface PlannerTraceOptions {
  readonly output?: string;
  readonly seed?: number;
  readonly durationSeconds?: number;
  readonly rate?: number;
  readonly inputTokens?: number;
  readonly outputTokens?: number;
}

const SCENARIO = {
  mode: oneOf('agg', 'disagg').about('One kind of workers, or prefill and decode workers. Default: agg.'),
  ttftMs: number(1).about('The limit of the time to first token. Default: 2000.'),
  itlMs: number(0.1).about('The limit of the inter-token latency, the mean of a request. Default: 50.'),
  attainment: number(0.5, 0.9999).about('The share of requests that should be within the limits. Default: 0.99.'),
  maxGpus: integer(1, 1024).about('GPUs of the largest fleet. Default: 16.'),
  gpusPerWorker: integer(1, 1024).about('Default: 1.'),
  coldStartMs: milliseconds(0).about('The time from the start of a worker until it is ready. Default: 30000.'),
  intervalMs: milliseconds(100).about('The time between two decisions. Default: 5000.'),
  predictor: oneOf('adaptive', 'constant', 'kalman', 'autoregressive', 'seasonal', 'burst').about(
    'How the arrival rate is predicted. Default: adaptive.',
  ),
  maxBatchedTokens: integer(1).about('The most prompt tokens of a pass of the engine. Default: 8192.'),
  maxRequests: integer(1).about('The most concurrent requests of a worker. Default: 256.'),
  kvTokens: integer(1).about('The tokens that fit into the KV cache of a worker. Default: 1048576.'),
  profile: listOf(text).about(
    'Profiling data (.npz) of the engine, of prefill or decode. Default: the default engine of the simulator crate.',
  ),
  prefixCache: boolean.about('Blocks of earlier prompts of the trace are in a cache that all workers share.'),
  speedup: number(0.001, 1000).about('Factor by which requests arrive faster than in the trace. Default: 1.'),
  seed: integer(0, 0xffff_ffff).about('The first seed of repeated runs. Default: 1.'),
};

const SIMULATE: OptionTable<PlannerSimulateOptions> = optionTable<PlannerSimulateOptions>({
  ...SCENARIO,
  initial: text.about('The workers at the start: 4, or 3P2D. Default: the fewest that serve the first minute.'),
  planner: listOf(oneOf(...PLANNERS)).about(`A planner: ${PLANNERS.join(', ')}. Default: all.`),
  fleet: listOf(text).about('A static fleet: 4, or 3P2D. Default: each size until one serves all requests.'),
  runs: integer(1, 1000).about('Runs on traces that are drawn from the trace. Default: 1, on the trace itself.'),
  plot: text.about('Write a diagram to this file, as SVG.'),
  replay: oneOf('round_robin', 'kv').about(
    "Use Dynamo's own simulator and its router in this mode. Default: that of this package, without prefix caches.",
  ),
  decisions: text.about('Write the decisions of planner sla to this file, one line of JSON each.'),
});

const TUNE: OptionTable<PlannerTuneOptions> = optionTable<PlannerTuneOptions>({
  ...SCENARIO,
  runs: integer(2, 1000).about('Runs of each configuration, on traces that are drawn from the trace. Default: 10.'),
  plot: text.about('Write a diagram to this file, as SVG.'),
});

const MAX_TRACE_TOKENS = 1e6;

const TRACE: OptionTable<PlannerTraceOptions> = optionTable<PlannerTraceOptions>({
  output: text.about('The file. Default: the standard output.'),
  seed: integer(0, 0xffff_ffff).about('The same seed gives the same trace. Default: 1.'),
  durationSeconds: number(1, 1e7).about('Default: 900.'),
  rate: number(0.001, 1e5).about('Requests per second at the base of the shape. Default: 10.'),
  inputTokens: integer(1, MAX_TRACE_TOKENS).about('Mean prompt length. Default: 1500.'),
  outputTokens: integer(1, MAX_TRACE_TOKENS).about('Mean answer length. Default: 200.'),
});

const simulate: Command<PlannerSimulateOptions> = {
  name: 'planner simulate',
  summary: 'Compare planners and static fleets on a recorded load, in virtual time.',
  usage: '<trace>',
  description:
    'The trace has a request per line in the format of Mooncake: timestamp, input_length, output_length, hash_ids.',
  options: SIMULATE,
  examples: [
    'planner simulate trace.jsonl',
    'planner simulate trace.jsonl --ttft-ms 1000 --plot planners.svg',
    'planner simulate trace.jsonl --mode disagg --planner sla --fleet 2P2D --fleet 3P1D --runs 5',
  ],
  load: () => import('./planner-simulate-action.js'),
};

const tune: Command<PlannerTuneOptions> = {
  name: 'planner tune',
  summary: 'Find the cheapest fleet or planner that meets an SLA on a recorded load.',
  usage: '<trace>',
  description:
    'Runs each configuration several times, on traces that might have been recorded under the same load, and says ' +
    'how sure the result is. The exit code is 1 if no configuration meets the SLA.',
  options: TUNE,
  examples: ['planner tune trace.jsonl --ttft-ms 1000 --itl-ms 30 --attainment 0.95'],
  load: () => import('./planner-tune-action.js'),
};

const trace: Command<PlannerTraceOptions> = {
  name: 'planner trace',
  summary: 'Write a synthetic trace in the format of Mooncake.',
  usage: '<shape>',
  description: `The shape is one of ${TRACE_SHAPES.join(', ')}.`,
  options: TRACE,
  short: { output: 'o' },
  examples: ['planner trace spike -o spike.jsonl', 'planner trace diurnal --duration-seconds 3600 --rate 5'],
  load: () => import('./planner-trace-action.js'),
};

/** The commands of the group `planner`. */
export const PLANNER_COMMANDS: readonly Command[] = [simulate, tune, trace];
