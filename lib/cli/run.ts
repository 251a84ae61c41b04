import {
  boolean,
  custom,
  integer,
  milliseconds,
  number,
  type OptionTable,
  oneOf,
  optionTable,
  text,
} from '../options.js';
import type { Command } from './command.js';

const MODES = [
  'round-robin',
  'random',
  'power-of-two-choices',
  'kv',
  'direct',
  'least-loaded',
  'device-aware-weighted',
] as const;

/** The options of `dynamo run`. */
export interface RunOptions {
  readonly modelPath?: string;
  readonly modelName?: string;
  readonly httpHost?: string;
  readonly httpPort?: number;
  readonly tlsCertPath?: string;
  readonly tlsKeyPath?: string;
  readonly contextLength?: number;
  readonly kvCacheBlockSize?: number;
  readonly disaggregationMode?: 'agg' | 'prefill' | 'decode';
  readonly tensorParallelSize?: number;
  readonly baseGpuId?: number;
  readonly numNodes?: number;
  readonly nodeRank?: number;
  readonly leaderAddr?: string;
  readonly extraEngineArgs?: string;
  readonly routerMode?: (typeof MODES)[number];
  readonly kvOverlapScoreCredit?: number;
  readonly routerTemperature?: number;
  readonly useKvEvents?: boolean;
  readonly requestTemplate?: string;
  readonly migrationLimit?: number;
  readonly namespace?: string;
  readonly discoveryBackend?: 'file' | 'etcd' | 'kubernetes';
  readonly requestPlane?: 'tcp' | 'nats';
  readonly eventPlane?: 'zmq' | 'nats';
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly concurrency?: number;
  readonly readyTimeoutMs?: number;
  readonly logLevel?: string;
}

const path = custom<string>('the path of a file', () => {}, 'text');

const OPTIONS: OptionTable<RunOptions> = optionTable<RunOptions>({
  modelPath: text.about('The model, if it is not among the words.'),
  modelName: text.about('Name of the model for clients.'),
  httpHost: text.env('DYN_HTTP_HOST').about('IP address of in=http; 0.0.0.0 for every address. Default 127.0.0.1.'),
  httpPort: integer(0, 65535).env('DYN_HTTP_PORT').about('Port of in=http; 0 for any free port. Default 8000.'),
  tlsCertPath: path.about('PEM file of the certificate of in=http.'),
  tlsKeyPath: path.about('PEM file of its private key.'),
  contextLength: integer(1).about('The longest context of the engine, in tokens.'),
  kvCacheBlockSize: integer(1).about('Tokens in a KV cache block of the engine.'),
  disaggregationMode: oneOf('agg', 'prefill', 'decode').about('The part of a request that the worker does.'),
  tensorParallelSize: integer(1).about('GPUs over which the engine divides the model.'),
  baseGpuId: integer(0).about('The first GPU of the engine.'),
  numNodes: integer(1).about('Machines over which the engine divides the model.'),
  nodeRank: integer(0).about('The number of this machine among them.'),
  leaderAddr: text.about('HOST:PORT of the machine with rank 0.'),
  extraEngineArgs: path.about('JSON file with more options of the engine.'),
  routerMode: oneOf(...MODES)
    .env('DYN_ROUTER_MODE')
    .about('How a worker is chosen.'),
  kvOverlapScoreCredit: number(0).about('Credit of router mode kv for a cached block of the prompt.'),
  routerTemperature: number(0).about('Temperature of router mode kv; 0 takes the best worker.'),
  useKvEvents: boolean.about('Router mode kv learns cached blocks from events of the workers.'),
  requestTemplate: path.about('JSON file with default values of requests.'),
  migrationLimit: integer(0).about('How often a request may move to another worker after its worker is lost.'),
  namespace: text.env('DYN_NAMESPACE').about('Namespace of the worker; with out=dyn, only models of it.'),
  discoveryBackend: oneOf('file', 'etcd', 'kubernetes').about(
    'Where instances are found. Default: a private folder, or with dyn the value of $DYN_DISCOVERY_BACKEND, else file.',
  ),
  requestPlane: oneOf('tcp', 'nats').env('DYN_REQUEST_PLANE').about('The transport of requests.'),
  eventPlane: oneOf('zmq', 'nats').env('DYN_EVENT_PLANE').about('The transport of events.'),
  maxTokens: integer(1).about('The longest answer of in=text, stdin and batch, in tokens.'),
  temperature: number(0).about('The temperature of in=text, stdin and batch.'),
  concurrency: integer(1).about('Requests of in=batch that run concurrently. Default 16.'),
  readyTimeoutMs: milliseconds(1).about('How long to wait for the model. Default 60000; 1800000 for Python engines.'),
  logLevel: text.env('DYN_LOG').about('Log of the native side, such as info or warn,dynamo_llm=debug.'),
});

export const runCommand: Command<RunOptions> = {
  name: 'run',
  summary: 'Run a model: chat on the terminal, answer a prompt or a file, or serve HTTP.',
  usage: '[words...]',
  description: [
    'Words: [in=INPUT] [out=ENGINE] [MODEL]',
    '',
    'in=text             a chat; the default on a terminal',
    'in=stdin            one prompt; the default otherwise',
    'in=http             the OpenAI API',
    'in=batch:FILE       each line {"text": …}, answered in output.jsonl',
    'in=dyn://N.C.E      a worker on the endpoint of namespace, component',
    'in=none             a worker on dynamo.backend.generate',
    'out=echo            the words of the prompt; the default',
    'out=mocker          random tokens with the timing of an engine',
    'out=js:FILE#EXPORT  an LLMEngine in TypeScript or JavaScript',
    'out=vllm            a Python engine; also sglang and trtllm',
    'out=dyn             the workers that discovery finds',
    'MODEL               a folder in Hugging Face layout, or a name on the hub',
    '',
    'Words after -- go to a Python engine unchanged.',
  ].join('\n'),
  options: OPTIONS,
  takesRest: true,
  examples: [
    'run out=echo',
    'run in=http out=mocker ./model --http-port 8080',
    'run in=batch:prompts.jsonl out=js:engine.ts#MyEngine ./model',
    'run in=http out=vllm Qwen/Qwen3-0.6B --tensor-parallel-size 2 -- --gpu-memory-utilization 0.8',
    'run in=dyn://dynamo.backend.generate out=mocker ./model',
    'run in=text out=dyn',
  ],
  load: () => import('./run-action.js'),
};
