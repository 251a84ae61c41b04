import { existsSync } from 'node:fs';
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { request as requestHttp } from 'node:http';
import { type RequestOptions, request as requestHttps } from 'node:https';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';

import { DeployError } from '../deploy-error.js';
import { errorOfStatus, unreachableServer } from './api-error.js';

/** Which cluster is meant. */
export interface ClusterOptions {
  /** @default `$KUBECONFIG`, else `~/.kube/config`, else the service account of the pod */
  readonly kubeconfig?: string | undefined;
  /** @default the current context */
  readonly context?: string | undefined;
  /** The namespace of Kubernetes. @default that of the context, else `default` */
  readonly namespace?: string | undefined;
  /** How long a request may take. @default 30000 */
  readonly timeoutMs?: number | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** One request to an API server. */
export interface ApiRequest {
  readonly method?: 'GET' | 'PATCH' | 'DELETE';
  /** Sent as JSON. */
  readonly body?: unknown;
  /** @default 'application/json' */
  readonly contentType?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

type ClientNode = typeof import('@kubernetes/client-node');

async function clientNode(): Promise<ClientNode> {
  try {
    return await import('@kubernetes/client-node');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = code === 'ERR_MODULE_NOT_FOUND' ? 'is not installed' : `cannot be loaded: ${message}`;
    throw new DeployError('E_NO_KUBERNETES_CLIENT', `the package @kubernetes/client-node ${reason}`, {
      exitCode: 69,
      hint: 'Install it in the project: npm install @kubernetes/client-node@1.4.0',
      cause,
    });
  }
}

/** The files that are read, in the order of `kubectl`. None: the service account of the pod. */
function configFiles({ kubeconfig, env }: ClusterOptions): string[] | undefined {
  if (kubeconfig !== undefined) return [kubeconfig];
  const listed = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '');
  if (listed.length > 0) return listed;
  const ours = join(env['HOME'] ?? homedir(), '.kube', 'config');
  if (existsSync(ours)) return [ours];
  if ((env['KUBERNETES_SERVICE_HOST'] ?? '') !== '') return undefined;
  throw new DeployError('E_NO_KUBECONFIG', `no cluster is configured: ${ours} does not exist`, {
    exitCode: 69,
    path: ours,
    hint: 'Name a file with --kubeconfig or $KUBECONFIG.',
  });
}

function readFiles(config: KubeConfig, Config: ClientNode['KubeConfig'], files: readonly string[]): void {
  for (const file of files) {
    if (!existsSync(file))
      throw new DeployError('E_NO_KUBECONFIG', `${file}: no such file`, { exitCode: 66, path: file });
    try {
      const one = new Config();
      one.loadFromFile(file);
      config.mergeConfig(one, true);
      config.currentContext ||= one.currentContext;
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new DeployError('E_BAD_KUBECONFIG', `${file}: ${message}`, { exitCode: 65, path: file, cause });
    }
  }
}

/** The API server of a cluster. Credentials and certificates come from `@kubernetes/client-node`. */
export class KubernetesApi {
  readonly #config: KubeConfig;
  readonly #timeoutMs: number;

  private constructor(
    config: KubeConfig,
    /** The URL of the server. */
    readonly server: string,
    /** The namespace that was asked for. */
    readonly namespace: string,
    timeoutMs: number,
  ) {
    this.#config = config;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Reads the configuration of a cluster and sends nothing.
   *
   * @throws DeployError `E_NO_KUBERNETES_CLIENT`, `E_NO_KUBECONFIG` (69), `E_BAD_KUBECONFIG` (65), `E_BAD_CONTEXT` (64)
   */
  static async fromConfig(options: ClusterOptions): Promise<KubernetesApi> {
    const { KubeConfig: Config } = await clientNode();
    const config = new Config();
    const files = configFiles(options);
    if (files === undefined) config.loadFromCluster();
    else readFiles(config, Config, files);
    const name = options.context ?? config.currentContext ?? '';
    const known = config.getContexts().map((context) => context.name);
    if (!known.includes(name))
      throw new DeployError('E_BAD_CONTEXT', `context: expected one of ${known.join(', ') || 'none'}, got '${name}'`, {
        exitCode: 64,
      });
    config.setCurrentContext(name);
    const cluster = config.getCurrentCluster();
    if (cluster === null)
      throw new DeployError('E_BAD_KUBECONFIG', `context ${name}: its cluster is not in the kubeconfig`, {
        exitCode: 65,
      });
    const namespace = options.namespace ?? config.getContextObject(name)?.namespace ?? 'default';
    return new KubernetesApi(config, cluster.server, namespace, options.timeoutMs ?? TIMEOUT_MS);
  }

  /**
   * Sends a request and returns the object of the answer.
   *
   * @param path from the root of the server, such as `/apis/nvidia.com/v1beta1`
   * @throws DeployError with the exit code that fits, as `errorOfStatus`; `E_KUBERNETES_TIMEOUT` and
   *   `E_KUBERNETES_UNREACHABLE` (69)
   * @throws the reason of `signal`
   */
  async request(path: string, request: ApiRequest = {}): Promise<unknown> {
    const deadline = AbortSignal.timeout(this.#timeoutMs);
    const signal = request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal]);
    try {
      const response = await this.#send(path, request, signal);
      return await this.#answer(path, response);
    } catch (error) {
      throw this.#explained(error, deadline, request.signal);
    }
  }

  /**
   * The lines of an answer, such as a log that is followed. There is no deadline after the server has answered.
   *
   * @throws DeployError as `request`
   */
  async *lines(path: string, request: ApiRequest = {}): AsyncGenerator<string> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), this.#timeoutMs);
    const signals = request.signal === undefined ? [deadline.signal] : [deadline.signal, request.signal];
    try {
      const response = await this.#send(path, request, AbortSignal.any(signals));
      clearTimeout(timer);
      if ((response.statusCode ?? 0) >= 400) await this.#answer(path, response);
      let pending = '';
      for await (const part of response.setEncoding('utf8')) {
        const lines = (pending + String(part)).split('\n');
        pending = lines.pop() ?? '';
        yield* lines;
      }
      if (pending !== '') yield pending;
    } catch (error) {
      throw this.#explained(error, deadline.signal, request.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  async #send(path: string, { method = 'GET', body, contentType, query }: ApiRequest, signal: AbortSignal) {
    const url = new URL(this.server.replace(/\/+$/, '') + path);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const content = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers: OutgoingHttpHeaders = { accept: 'application/json', 'user-agent': 'dynamo-node' };
    if (content !== undefined) {
      headers['content-type'] = contentType ?? 'application/json';
      headers['content-length'] = content.length;
    }
    const options: RequestOptions = { method, headers };
    await this.#config.applyToHTTPSOptions(options);
    const send = url.protocol === 'http:' ? requestHttp : requestHttps;
    return new Promise<IncomingMessage>((resolve, reject) => {
      const sent = send(url, { ...options, signal }, resolve);
      sent.on('error', reject);
      sent.end(content);
    });
  }

  async #answer(path: string, response: IncomingMessage): Promise<unknown> {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size > MAX_ANSWER_BYTES)
        throw new DeployError(
          'E_KUBERNETES_PROTOCOL',
          `${this.server}${path}: the answer exceeds ${MAX_ANSWER_BYTES} bytes`,
        );
    }
    const text = Buffer.concat(parts).toString('utf8');
    const status = response.statusCode ?? 0;
    if (status >= 300) throw errorOfStatus(`${this.server}${path}`, status, text);
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      const shown = text.slice(0, 80);
      throw new DeployError('E_KUBERNETES_PROTOCOL', `${this.server}${path}: expected JSON, got '${shown}'`, { cause });
    }
  }

  #explained(error: unknown, deadline: AbortSignal, signal: AbortSignal | undefined): unknown {
    if (error instanceof DeployError) return error;
    if (signal?.aborted === true) return signal.reason;
    if (!deadline.aborted) return unreachableServer(this.server, error);
    const message = `${this.server} did not answer within ${this.#timeoutMs / 1000} s`;
    return new DeployError('E_KUBERNETES_TIMEOUT', message, { exitCode: 69, cause: error });
  }
}
