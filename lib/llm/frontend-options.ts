import { checkObject, checkOneOf, MAX_BLOCK_TOKENS, MAX_U32 } from '../check.js';
import { badArgument, DynamoError } from '../errors.js';
import {
  boolean,
  callback,
  custom,
  defined,
  integer,
  milliseconds,
  nested,
  type OptionRows,
  type OptionTable,
  oneOf,
  optionTable,
  text,
  variants,
} from '../options.js';
import { policyArgs } from '../router/policy.js';
import { checkPath } from '../runtime/paths.js';
import type { ProcessorFactory } from './processor.js';
import { type RouterOptions, routerArgs, routerRow } from './router-options.js';
import { checkRoutes, type FrontendRoutes } from './routes.js';

/** What answers the requests of a frontend. */
export type FrontendEngine =
  /** The workers that discovery finds. */
  | { readonly kind: 'workers' }
  /** This process. It returns the words of the prompt. */
  | { readonly kind: 'echo'; readonly modelName?: string };

/** Certificates, as paths of PEM files. */
export interface TlsOptions {
  readonly certPath: string;
  readonly keyPath: string;
  /** Clients must present a certificate that this authority has signed. @default no client certificate is required */
  readonly clientCaPath?: string;
}

/** The options of every frontend. */
export interface FrontendBaseOptions {
  /** @default workers */
  readonly engine?: FrontendEngine;
  readonly router?: RouterOptions;
  /** Tokens in a KV cache block, for models whose cards do not state it. @default 16 */
  readonly kvCacheBlockSize?: number;
  /** How often a request that has begun may move to another worker after its worker is lost. @default 0 */
  readonly migrationLimit?: number;
  /** Requests with more tokens than this do not move. @default no limit */
  readonly migrationMaxTokens?: number;
  /** Offer only models of this namespace. @default every namespace */
  readonly namespace?: string;
  /** Offer only models of namespaces with this prefix. */
  readonly namespacePrefix?: string;
  /** A JSON file with default values of `model`, `temperature` and `max_completion_tokens`. */
  readonly requestTemplate?: string;
  /** @default $DYN_TOKENIZER or 'default' */
  readonly tokenizer?: 'default' | 'fastokens' | 'basetenkenizer';
  /**
   * Fall back to the tokenizer of Hugging Face if the chosen one cannot load a model's tokenizer.
   * @default $DYN_TOKENIZER_FALLBACK or true
   */
  readonly tokenizerFallback?: boolean;
  /** The prefix of metric names. @default $DYN_METRICS_PREFIX or 'dynamo_frontend' */
  readonly metricsPrefix?: string;
}

/** The OpenAI-compatible server. */
export interface HttpFrontendOptions extends FrontendBaseOptions {
  readonly input?: 'http';
  /** An IP address. @default the `host` of the runtime, else '0.0.0.0' */
  readonly host?: string;
  /** 0 for any free port. @default 8000 */
  readonly port?: number;
  /** @default plain HTTP */
  readonly tls?: TlsOptions;
  /** Also offer the messages API of Anthropic. @default $DYN_ENABLE_ANTHROPIC_API or false */
  readonly anthropicApi?: boolean;
  /** Remove the billing preamble of Anthropic clients. @default $DYN_STRIP_ANTHROPIC_PREAMBLE or true */
  readonly stripAnthropicPreamble?: boolean;
  /**
   * Send each tool call as a separate event as soon as it is complete.
   * @default $DYN_ENABLE_STREAMING_TOOL_DISPATCH or false
   */
  readonly streamingToolDispatch?: boolean;
  /**
   * Send reasoning as a separate event as soon as it is complete.
   * @default $DYN_ENABLE_STREAMING_REASONING_DISPATCH or false
   */
  readonly streamingReasoningDispatch?: boolean;
  /**
   * The field of chat messages that contains the reasoning. @default $DYN_REASONING_FIELD_NAME or 'reasoning_content'
   */
  readonly reasoningField?: 'reasoning' | 'reasoning_content';
  /**
   * How long a stream waits for its first event, so that an error before it becomes an HTTP status. Without it, such an
   * error is an event of a response with status 200. All frontends of a process share the value; a second one is
   * `DYN_CONFLICT`. @default $DYN_HTTP_PRE_COMMIT_ERROR_PEEK_MS or 0, which does not wait
   */
  readonly preCommitErrorPeekMs?: number;
  /**
   * Whether clients may set `kv_transfer_params`, which select the memory that a worker reads. The APIs of OpenAI never
   * accept them. `$DYN_VLLM_ENABLE_INFERENCE_V1_GENERATE` opens a route that does, so it needs `accept`.
   * @default 'refuse'
   */
  readonly kvTransferParams?: 'refuse' | 'accept';
  /** Creates the processors that replace the frontend's chat template and tokenizer. For engine `workers`. */
  readonly processor?: ProcessorFactory;
  /** Custom paths that answer `GET`, such as `/version`. */
  readonly routes?: FrontendRoutes;
}

/** The KServe server. It listens on the `host` of the runtime; without one, on every address. */
export interface GrpcFrontendOptions extends FrontendBaseOptions {
  readonly input: 'grpc';
  /** 0 for any free port. @default 8787 */
  readonly port?: number;
  /** The port of the HTTP server with the metrics; 0 for any free port. @default 8788 */
  readonly metricsPort?: number;
}

/** A conversation on the standard input and output of this process. */
export interface TextFrontendOptions extends FrontendBaseOptions {
  /** `text` holds a conversation. `stdin` answers one prompt, which ends at the end of the input. */
  readonly input: 'text' | 'stdin';
}

/** How a frontend is started. `input` selects the server; the default is HTTP. */
export type FrontendOptions = HttpFrontendOptions | GrpcFrontendOptions | TextFrontendOptions;

type EngineOf<Kind> = Extract<FrontendEngine, { readonly kind: Kind }>;

const ENGINE = variants<FrontendEngine>({
  workers: optionTable<EngineOf<'workers'>>({ kind: oneOf('workers').required() }),
  echo: optionTable<EngineOf<'echo'>>({ kind: oneOf('echo').required(), modelName: text.about('Name of the model.') }),
});

const TLS_OPTIONS = optionTable<TlsOptions>({
  certPath: text.about('PEM file of the certificate.').required(),
  keyPath: text.about('PEM file of the private key.').required(),
  clientCaPath: text.about('PEM file of the authority that signs client certificates.'),
});

const port = integer(0, 65535);
const tokenCount = integer(0, MAX_U32);

const BASE: OptionRows<FrontendBaseOptions> = {
  engine: ENGINE.about('What answers the requests.'),
  router: routerRow,
  kvCacheBlockSize: integer(1, MAX_BLOCK_TOKENS).about(
    'Tokens in a KV cache block, for models whose cards do not state it.',
  ),
  migrationLimit: integer(0, MAX_U32).about('How often a request may move to another worker after its worker is lost.'),
  migrationMaxTokens: tokenCount.about('Requests with more tokens than this do not move.'),
  namespace: text.about('Offer only models of this namespace.'),
  namespacePrefix: text.about('Offer only models of namespaces with this prefix.'),
  requestTemplate: custom<string>('the path of a file', checkPath, 'text').about(
    'JSON file with default values of model, temperature and max_completion_tokens.',
  ),
  tokenizer: oneOf('default', 'fastokens', 'basetenkenizer').env('DYN_TOKENIZER').about('The tokenizer.'),
  tokenizerFallback: boolean
    .env('DYN_TOKENIZER_FALLBACK')
    .about('Fall back to the tokenizer of Hugging Face if the chosen one cannot load.'),
  metricsPrefix: text.env('DYN_METRICS_PREFIX').about('Prefix of metric names.'),
};

/** One table per input. `stdin` has the options of `text`. @internal */
export const FRONTEND_OPTIONS = {
  http: optionTable<HttpFrontendOptions>({
    ...BASE,
    input: oneOf('http').about('The OpenAI-compatible server.'),
    host: text.about('IP address on which the server listens.'),
    port: port.about('Port of the server; 0 for any free port.'),
    tls: nested(TLS_OPTIONS).about('Certificates for HTTPS.'),
    anthropicApi: boolean.env('DYN_ENABLE_ANTHROPIC_API').about('Also offer the messages API of Anthropic.'),
    stripAnthropicPreamble: boolean
      .env('DYN_STRIP_ANTHROPIC_PREAMBLE')
      .about('Remove the billing preamble of Anthropic clients.'),
    streamingToolDispatch: boolean
      .env('DYN_ENABLE_STREAMING_TOOL_DISPATCH')
      .about('Send each tool call as a separate event as soon as it is complete.'),
    streamingReasoningDispatch: boolean
      .env('DYN_ENABLE_STREAMING_REASONING_DISPATCH')
      .about('Send reasoning as a separate event as soon as it is complete.'),
    reasoningField: oneOf('reasoning', 'reasoning_content')
      .env('DYN_REASONING_FIELD_NAME')
      .about('The field of chat messages that contains the reasoning.'),
    preCommitErrorPeekMs: milliseconds(0)
      .env('DYN_HTTP_PRE_COMMIT_ERROR_PEEK_MS')
      .about('How long a stream waits for its first event, so that an error becomes an HTTP status.'),
    kvTransferParams: oneOf('refuse', 'accept').about('Whether clients may set kv_transfer_params.'),
    processor: callback<ProcessorFactory>().about('Replaces the chat template and tokenizer of the frontend.'),
    routes: custom<FrontendRoutes>('an object', checkRoutes).about('Custom paths that answer GET.'),
  }),
  grpc: optionTable<GrpcFrontendOptions>({
    ...BASE,
    input: oneOf('grpc').about('The KServe server.').required(),
    port: port.about('Port of the server; 0 for any free port.'),
    metricsPort: port.about('Port of the HTTP server with the metrics; 0 for any free port.'),
  }),
  text: optionTable<TextFrontendOptions>({
    ...BASE,
    input: oneOf('text', 'stdin').about('A conversation, or one prompt, on standard input and output.').required(),
  }),
};

function checkFrontend(path: string, options: unknown): asserts options is FrontendOptions {
  checkObject(path, options);
  const { input = 'http' } = options;
  checkOneOf(`${path}.input`, input, ['http', 'grpc', 'text', 'stdin']);
  const table: OptionTable<FrontendOptions> = FRONTEND_OPTIONS[input === 'stdin' ? 'text' : input];
  table.check(path, options);
}

/** On this route clients can set `kv_transfer_params`, and the frontend does not look at them. */
const TRANSFER_ROUTE = 'DYN_VLLM_ENABLE_INFERENCE_V1_GENERATE';

/** @throws DynamoError if the environment opens the route */
function checkTransferRoute(path: string): void {
  if (!/^(1|true|yes|on)$/i.test(process.env[TRANSFER_ROUTE] ?? '')) return;
  throw new DynamoError(
    'InvalidRequest',
    `${path}.kvTransferParams: expected accept, because ${TRANSFER_ROUTE} opens a route on which clients select the ` +
      'memory that a worker reads; unset the variable, or accept it for clients that are trusted',
    { reason: 'frontend.kv_transfer' },
  );
}

/** The arguments of the native side. Source: `EntrypointArgs` of `native/core/src/llm/entrypoint_args.rs`. */
export function frontendArgs(path: string, options: FrontendOptions): Record<string, unknown> {
  checkFrontend(path, options);
  const {
    input = 'http',
    engine = { kind: 'workers' },
    router,
    tls,
    migrationMaxTokens,
    kvTransferParams = 'refuse',
    processor,
    routes,
    ...rest
  } = options as HttpFrontendOptions;
  if (input === 'http' && kvTransferParams === 'refuse') checkTransferRoute(path);
  const policy = router?.policy;
  if (policy !== undefined && (input !== 'http' || engine.kind !== 'workers')) {
    throw new DynamoError(
      'NotImplemented',
      `${path}.router.policy: expected an HTTP frontend with engine workers, got ${input} with engine ${engine.kind}`,
    );
  }
  if (processor !== undefined && engine.kind !== 'workers') {
    throw badArgument(new TypeError(`${path}.processor: expected engine workers, got ${String(engine.kind)}`));
  }
  return defined({
    ...rest,
    ...(engine.kind === 'echo' ? { engine: 'echo', modelName: engine.modelName } : {}),
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
