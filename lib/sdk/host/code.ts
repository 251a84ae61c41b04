import type { CloseOptions } from '../../runtime/close-options.js';
import type { EndpointDefinition } from '../endpoint-definition.js';
import type { ServiceProgram } from '../program.js';
import type { HookKind, Service } from '../service.js';
import type { ServiceContext } from '../service-context.js';
import { type Answer, answerOf } from './answers.js';
import { probeOf, runShutdownHooks, runStartHooks } from './hooks.js';
import { HttpHost, httpAddressOf } from './http.js';
import { type OnRequest, observedAnswer } from './observed.js';
import { ProbeWatch } from './probe-watch.js';
import type { StartedProgram } from './started.js';

type CodeService = Service & { readonly program: Extract<ServiceProgram, { kind: 'code' }> };

/** How its endpoints are served. */
interface CodeOptions {
  readonly httpPort?: number;
  readonly onRequest?: OnRequest;
}

/** Serves the endpoints of a service of code: first over HTTP, then for Dynamo's clients. */
export async function startCode(
  service: CodeService,
  context: ServiceContext,
  { httpPort, onRequest }: CodeOptions,
): Promise<StartedProgram> {
  const { runtime, namespace, component } = context;
  const self = await service.program.create(context);
  await runStartHooks(service, self, context);

  const served: { close(options: CloseOptions): Promise<void> }[] = [];
  const closeAll = async (options: CloseOptions): Promise<void> => {
    await Promise.all(served.map((one) => one.close(options)));
  };
  const shutdown = (): Promise<void> => runShutdownHooks(service, self, context);
  const answer = (endpoint: EndpointDefinition): Answer => {
    const own = answerOf(endpoint, self, context);
    return onRequest === undefined ? own : observedAnswer(endpoint.name, own, onRequest);
  };
  const probe = (kind: HookKind) => probeOf(service, kind, self, context);
  try {
    const http = await startHttp();
    for (const endpoint of service.endpoints) {
      if (!endpoint.transports.includes('dynamo')) continue;
      const { name, concurrency } = endpoint;
      const options = concurrency === undefined ? {} : { concurrency };
      const address = runtime.endpoint(`${namespace}.${component}.${name}`);
      served.push(await address.serve(answer(endpoint) as never, options));
    }
    const has = (kind: HookKind): boolean => service.hooks.some((hook) => hook.kind === kind);
    const watch = new ProbeWatch(runtime, service.name, {
      liveness: has('liveness') ? probe('liveness') : undefined,
      readiness: has('readiness') ? probe('readiness') : undefined,
    });
    return {
      url: http?.url,
      ended: watch.ended,
      close(options) {
        watch.stop();
        return closeAll(options);
      },
      shutdown,
    };
  } catch (error) {
    await closeAll({ timeoutMs: 0 }).catch(() => {});
    await shutdown().catch(() => {});
    throw error;
  }

  async function startHttp(): Promise<HttpHost | undefined> {
    const address = httpAddressOf(service, context.worker, httpPort);
    if (address === undefined) return undefined;
    const endpoints = service.endpoints.filter(({ transports }) => transports.includes('http'));
    const http = await HttpHost.listen(address, {
      routes: endpoints.map((endpoint) => ({ endpoint, answer: answer(endpoint) })),
      probes: { healthz: probe('liveness'), readyz: probe('readiness') },
      maxBodyBytes: runtime.limits.maxMessageBytes,
    });
    served.push(http);
    return http;
  }
}
