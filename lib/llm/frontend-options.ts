import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkOptions,
  checkString,
  MAX_U32,
} from '../check.js';
import { DynamoError } from '../errors.js';
import { defined } from '../options.js';
import { policyArgs } from '../router/policy.js';
import { checkPath } from '../runtime/paths.js';
import type { ProcessorFactory } from './processor.js';
import { checkRouter, type RouterOptions, routerArgs } from './router-options.js';
import { checkRoutes, type FrontendRoutes } from './routes.js';

/** Who answers a frontend's requests. */
export type FrontendEngine =
  /** The workers that discovery finds. */
  | { readonly kind: 'workers' }
  /** This process, with the words of the prompt. */
  | { readonly kind: 'echo'; readonly modelName?: string };

/** Certificates, as paths of PEM files. */
export interface TlsOptions {
  readonly certPath: string;
  readonly keyPath: string;
  /** Clients must show a certificate that this authority signed. @default none is asked for */
  readonly clientCaPath?: string;
}

/** What every frontend takes. */
export interface FrontendBaseOptions {
  /** @default workers */
  readonly engine?: FrontendEngine;
  readonly router?: RouterOptions;
  /** Tokens in a KV cache block, for models whose cards do not say. @default 16 */
  readonly kvCacheBlockSize?: number;
  /** How often a request that has begun may move to another worker when its own is lost. @default 0 */
  readonly migrationLimit?: number;
  /** Requests longer than this, in tokens, do not move. @default no limit */
  readonly migrationMaxTokens?: number;
  /** Models of this namespace alone. @default every namespace */
  readonly namespace?: string;
  /** Models of the namespaces that begin so. */
  readonly namespacePrefix?: string;
  /** A JSON file with `model`, `temperature` and `max_completion_tokens` for requests that lack them. */
  readonly requestTemplate?: string;
  /** @default $DYN_TOKENIZER or 'default' */
  readonly tokenizer?: 'default' | 'fastokens' | 'basetenkenizer';
  /** Go on with the tokenizer of Hugging Face where the other one cannot load a model's. @default $DYN_TOKENIZER_FALLBACK or true */
  readonly tokenizerFallback?: boolean;
  /** What the names of metrics begin with. @default $DYN_METRICS_PREFIX or 'dynamo_frontend' */
  readonly metricsPrefix?: string;
}

/** The OpenAI-compatible server. */
export interface HttpFrontendOptions extends FrontendBaseOptions {
  readonly input?: 'http';
  /** An IP address. @default '0.0.0.0' */
  readonly host?: string;
  /** 0 for any free one. @default 8000 */
  readonly port?: number;
  /** @default plain HTTP */
  readonly tls?: TlsOptions;
  /** Offer Anthropic's messages API too. @default $DYN_ENABLE_ANTHROPIC_API or false */
  readonly anthropicApi?: boolean;
  /** Remove the billing preamble of Anthropic clients. @default $DYN_STRIP_ANTHROPIC_PREAMBLE or true */
  readonly stripAnthropicPreamble?: boolean;
  /** Send each tool call as an event of its own as soon as it is complete. @default $DYN_ENABLE_STREAMING_TOOL_DISPATCH or false */
  readonly streamingToolDispatch?: boolean;
  /** The same for reasoning. @default $DYN_ENABLE_STREAMING_REASONING_DISPATCH or false */
  readonly streamingReasoningDispatch?: boolean;
  /** The field of chat messages that has the reasoning. @default $DYN_REASONING_FIELD_NAME or 'reasoning_content' */
  readonly reasoningField?: 'reasoning' | 'reasoning_content';
  /** Chat requests are processed by these in place of the frontend's own template and tokenizer. For engine `workers`. */
  readonly processor?: ProcessorFactory;
  /** Paths of your own that answer `GET`, such as `/version`. */
  readonly routes?: FrontendRoutes;
}

/** The KServe server; it listens on every address. */
export interface GrpcFrontendOptions extends FrontendBaseOptions {
  readonly input: 'grpc';
  /** 0 for any free one. @default 8787 */
  readonly port?: number;
  /** Of the HTTP server with its metrics, 0 for any free one. @default 8788 */
  readonly metricsPort?: number;
}

/** A conversation on this process's standard input and output. */
export interface TextFrontendOptions extends FrontendBaseOptions {
  /** `text` converses, `stdin` answers one prompt that ends with the input. */
  readonly input: 'text' | 'stdin';
}

/** How a frontend is started: by its `input`, HTTP unless told otherwise. */
export type FrontendOptions = HttpFrontendOptions | GrpcFrontendOptions | TextFrontendOptions;

const BASE = [
  'input',
  'engine',
  'router',
  'kvCacheBlockSize',
  'migrationLimit',
  'migrationMaxTokens',
  'namespace',
  'namespacePrefix',
  'requestTemplate',
  'tokenizer',
  'tokenizerFallback',
  'metricsPrefix',
];
const KNOWN = {
  http: [
    ...BASE,
    'host',
    'port',
    'tls',
    'anthropicApi',
    'stripAnthropicPreamble',
    'streamingToolDispatch',
    'streamingReasoningDispatch',
    'reasoningField',
    'processor',
    'routes',
  ],
  grpc: [...BASE, 'port', 'metricsPort'],
  text: BASE,
  stdin: BASE,
};
const STRINGS = ['host', 'namespace', 'namespacePrefix', 'requestTemplate', 'metricsPrefix'];
const BOOLEANS = [
  'tokenizerFallback',
  'anthropicApi',
  'stripAnthropicPreamble',
  'streamingToolDispatch',
  'streamingReasoningDispatch',
];
/** The least and the most of each. */
const INTEGERS: Record<string, [number, number]> = {
  port: [0, 65535],
  metricsPort: [0, 65535],
  migrationLimit: [0, MAX_U32],
  migrationMaxTokens: [0, MAX_U32],
  kvCacheBlockSize: [1, MAX_U32],
};
const CHOICES: Record<string, readonly string[]> = {
  tokenizer: ['default', 'fastokens', 'basetenkenizer'],
  reasoningField: ['reasoning', 'reasoning_content'],
};

function checkTls(path: string, tls: unknown): asserts tls is TlsOptions {
  checkObject(path, tls, ['certPath', 'keyPath', 'clientCaPath']);
  checkString(`${path}.certPath`, tls['certPath']);
  checkString(`${path}.keyPath`, tls['keyPath']);
  if (tls['clientCaPath'] !== undefined) checkString(`${path}.clientCaPath`, tls['clientCaPath']);
}

function engineArgs(path: string, engine: FrontendEngine): Record<string, unknown> {
  checkObject(path, engine, ['kind', 'modelName']);
  checkOneOf(`${path}.kind`, engine.kind, ['workers', 'echo']);
  if (engine.kind === 'echo' && engine.modelName !== undefined) checkString(`${path}.modelName`, engine.modelName);
  return engine.kind === 'echo' ? { engine: 'echo', modelName: engine.modelName } : {};
}

/** As `EntrypointArgs` of `native/core/src/llm/entrypoint.rs` has them. */
export function frontendArgs(path: string, options: FrontendOptions): Record<string, unknown> {
  checkObject(path, options);
  const { input = 'http' } = options as FrontendOptions;
  checkOneOf(`${path}.input`, input, ['http', 'grpc', 'text', 'stdin']);
  checkOptions(path, options, KNOWN[input]);
  const values = options as Record<string, unknown>;
  for (const name of STRINGS) if (values[name] !== undefined) checkString(`${path}.${name}`, values[name]);
  if (values['requestTemplate'] !== undefined) checkPath(`${path}.requestTemplate`, values['requestTemplate']);
  for (const name of BOOLEANS) if (values[name] !== undefined) checkBoolean(`${path}.${name}`, values[name]);
  for (const [name, [least, most]] of Object.entries(INTEGERS)) {
    if (values[name] !== undefined) checkInteger(`${path}.${name}`, values[name], least, most);
  }
  for (const [name, choices] of Object.entries(CHOICES)) {
    if (values[name] !== undefined) checkOneOf(`${path}.${name}`, values[name], choices);
  }
  const {
    engine = { kind: 'workers' },
    router,
    tls,
    migrationMaxTokens,
    processor,
    routes,
    ...rest
  } = options as HttpFrontendOptions;
  if (router !== undefined) checkRouter(`${path}.router`, router);
  const policy = router?.policy;
  if (policy !== undefined && (input !== 'http' || engine.kind !== 'workers')) {
    throw new DynamoError(
      'NotImplemented',
      `${path}.router.policy: Dynamo takes a policy on an HTTP frontend before workers only, got ${input} before ${engine.kind}`,
    );
  }
  if (tls !== undefined) checkTls(`${path}.tls`, tls);
  if (processor !== undefined) checkFunction(`${path}.processor`, processor);
  if (processor !== undefined && engine.kind !== 'workers') {
    throw new TypeError(`${path}.processor: expected engine workers, got ${String(engine.kind)}`);
  }
  if (routes !== undefined) checkRoutes(`${path}.routes`, routes);
  return defined({
    ...rest,
    ...engineArgs(`${path}.engine`, engine),
    input,
    migrationMaxSeqLen: migrationMaxTokens,
    router: router && routerArgs(router),
    policy: policy && policyArgs(policy),
    tlsCertPath: tls?.certPath,
    tlsKeyPath: tls?.keyPath,
    tlsClientCaCertPath: tls?.clientCaPath,
    processor: processor && true,
    routes: routes && Object.keys(routes),
  });
}
