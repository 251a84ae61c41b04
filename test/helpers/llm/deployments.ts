import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  DistributedRuntime,
  Frontend,
  type HttpFrontendOptions,
  type LLMEngine,
  type RawEngine,
  type RuntimeOptions,
  type ServedEngine,
  type ServeEngineOptions,
  serveEngine,
} from 'dynamo-node';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { closeAfterEach } from '../closing.js';
import { privateCluster } from '../runtime/cluster.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

export interface Deployment {
  readonly options: RuntimeOptions;
  runtime(): Promise<DistributedRuntime>;
  /** Serves an engine on `runtime`, by default a new one, and waits until it is ready. */
  serve(
    engine: LLMEngine | RawEngine,
    options?: ServeEngineOptions & { readonly endpoint?: string; readonly runtime?: DistributedRuntime },
  ): Promise<{ worker: ServedEngine; runtime: DistributedRuntime }>;
  frontend(options?: HttpFrontendOptions): Promise<Frontend>;
}

/** Creates deployments for the tests of one file. After each test their parts are closed, the last one first. */
export function deployments(): (options?: RuntimeOptions) => Deployment {
  const onEnd = closeAfterEach();
  return (more = {}) => {
    const cluster = privateCluster();
    onEnd(() => cluster.remove());
    const options = { ...cluster.options, ...more };
    const runtime = async (): Promise<DistributedRuntime> => {
      const made = await DistributedRuntime.create(options);
      onEnd(() => made.close({ timeoutMs: 5000 }));
      return made;
    };
    return {
      options,
      runtime,
      async serve(engine, { endpoint = 'test.backend.generate', runtime: given, ...serving } = {}) {
        const served = given ?? (await runtime());
        const worker = await serveEngine(served.endpoint(endpoint), engine, { modelPath, ...serving });
        onEnd(() => worker.close({ timeoutMs: 1000 }));
        await worker.ready;
        return { worker, runtime: served };
      },
      async frontend(frontend = {}) {
        const started = await Frontend.start(options, { host: '127.0.0.1', port: 0, ...frontend });
        onEnd(() => started.close({ timeoutMs: 5000 }));
        await started.ready;
        return started;
      },
    };
  };
}

/** The card that a worker published, from the folder of file discovery. */
export function cardOf({ options }: Deployment, instanceId: bigint): Record<string, unknown> {
  const folder = join((options.discovery as { dir: string }).dir, 'v1/mdc');
  const file = readdirSync(folder).find((name) => name.includes(instanceId.toString(16)));
  return (JSON.parse(readFileSync(join(folder, file as string), 'utf8')) as { card_json: Record<string, unknown> })
    .card_json;
}

/** Posts JSON to a frontend. */
export function post({ url }: Frontend, path: string, body: object, init: RequestInit = {}): Promise<Response> {
  const { headers, ...rest } = init;
  return fetch(`${url}${path}`, {
    method: 'POST',
    ...rest,
    headers: { 'content-type': 'application/json', ...(headers as Record<string, string>) },
    body: JSON.stringify(body),
  });
}

export function chat(frontend: Frontend, body: object, init?: RequestInit): Promise<Response> {
  return post(
    frontend,
    '/v1/chat/completions',
    { messages: [{ role: 'user', content: 'hello there' }], ...body },
    init,
  );
}

/** The server-sent events of a response: their names, if they have one, and their data. */
export async function serverSentEvents(response: Response): Promise<{ event: string | undefined; data: string }[]> {
  const text = await response.text();
  return text
    .split('\n\n')
    .filter((block) => block.includes('data:') || block.includes('event:'))
    .map((block) => {
      const lines = block.split('\n');
      const field = (name: string): string | undefined =>
        lines
          .find((line) => line.startsWith(`${name}:`))
          ?.slice(name.length + 1)
          .trim();
      return { event: field('event'), data: field('data') ?? '' };
    });
}
