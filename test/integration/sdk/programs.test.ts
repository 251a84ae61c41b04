import { builtInService, engineService, frontendService, graph, type Service } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { hostings } from '../../helpers/sdk/hosting.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const hosting = hostings();

const Front = frontendService('Front', ({ config }) => ({ host: '127.0.0.1', port: 0, ...(config as object) }));

/** The status and the text of a chat answer over HTTP, once the frontend knows the model. */
async function chat(worker: Service, model: string): Promise<{ status: number; content: string | undefined }> {
  const host = hosting();
  const one = graph('chat', Front).with(worker);
  await host.start(one, worker);
  const { url, service } = await host.start(one, 'Front');
  expect(service).toBe(Front);
  const known = async (): Promise<unknown> => (await fetch(`${url}/v1/models`)).json();
  await expect.poll(known).toMatchObject({ data: [expect.objectContaining({ id: model })] });
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'one two three' }], max_tokens: 8 }),
  });
  const { choices } = (await response.json()) as { choices?: { message: { content: string } }[] };
  return { status: response.status, content: choices?.[0]?.message.content };
}

describe('a graph behind the frontend', () => {
  it('answers chat requests with an engine in TypeScript', async () => {
    const Engine = engineService('Engine', () => ({ engine: new CountingEngine('counting'), modelPath }));
    const { status, content } = await chat(Engine, 'counting');
    expect(status).toBe(200);
    expect(content).not.toBe('');
  });

  it("answers chat requests with Dynamo's echo engine", async () => {
    const Echo = builtInService('Echo', ({ service }) => ({ kind: 'echo', modelName: service.toLowerCase() }));
    const { status, content } = await chat(Echo, 'echo');
    expect(status).toBe(200);
    expect(content).toContain('one two three');
  });

  it("answers chat requests with Dynamo's mocker", async () => {
    const engine = {
      kind: 'mocker',
      modelPath,
      modelName: 'mock',
      config: { engine: { speedup_ratio: 100 } },
    } as const;
    const { status } = await chat(builtInService('Mocker', engine), 'mock');
    expect(status).toBe(200);
  });

  it('rejects the start of a service whose program cannot start', async () => {
    const host = hosting();
    const Broken = engineService('Broken', () => {
      throw new Error('no weights');
    });
    await expect(host.start(graph('g', Broken), Broken)).rejects.toThrow('no weights');
    await expect(host.start(graph('g', Front), Front, { config: { prot: 0 } })).rejects.toThrow('prot: unknown option');
    const Gone = builtInService('Gone', { kind: 'mocker', modelPath: '/no/such/model' });
    await expect(host.start(graph('g', Gone), Gone)).rejects.toThrow('/no/such/model');
  });

  it('aborts the signal of its services after their end', async () => {
    let signal: AbortSignal | undefined;
    const Engine = engineService('Engine', (context) => {
      signal = context.signal;
      return { engine: new CountingEngine('counting'), modelPath };
    });
    const running = await hosting().start(graph('g', Engine), Engine);
    expect(signal?.aborted).toBe(false);
    await running.close({ timeoutMs: 1000 });
    expect(signal?.aborted).toBe(true);
    await running.ended;
  });
});
