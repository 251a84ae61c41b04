import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { ClosedError, Frontend, serveEngine } from 'dynamo-node';
import {
  recorded,
  type Script,
  ScriptedEngine,
  startCluster,
  startMockers,
  TestLink,
  waitFor,
  waitForModel,
} from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';

const listen = (server: ReturnType<typeof createServer>): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });

describe('startCluster', () => {
  it('connects runtimes by a folder of its own, and removes it when it is closed', async (test) => {
    const cluster = await startCluster({ test });
    const [one, other] = [await cluster.runtime(), await cluster.runtime()];
    const echo = recorded(async function* (text: string) {
      yield text;
    });
    await one.endpoint<string, string>('test.echo.generate').serve(echo);
    const client = await other.endpoint<string, string>('test.echo.generate').client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    const received = echo.requests.next();
    expect(await client.unary('moved', { id: 'first' })).toBe('moved');
    expect(await received).toMatchObject({ id: 'first', request: 'moved' });
    await expect(echo.requests.count(2, 50)).rejects.toThrow(/2 requests: not so within 50 ms;.*'moved'/s);
    await cluster.close();
    await cluster.close();
    expect(existsSync(cluster.folder)).toBe(false);
  });

  it('rejects what is started after its close with ClosedError, and closes all parts if one fails', async () => {
    const cluster = await startCluster();
    const closed: string[] = [];
    cluster.use({ close: async () => closed.push('first') });
    cluster.use({ close: () => Promise.reject(new Error('cannot close')) });
    cluster.use({ close: async () => closed.push('last') });
    const creating = cluster.runtime();
    await expect(cluster.close()).rejects.toThrow('cannot close');
    expect(closed).toEqual(['last', 'first']);
    const runtime = await creating;
    expect(() => runtime.endpoint('test.echo.generate')).toThrow(ClosedError);
    await expect(cluster.runtime()).rejects.toThrow('the cluster is closed');
    expect(() => cluster.command('true')).toThrow(ClosedError);
    expect(() => cluster.program('any.ts')).toThrow(ClosedError);
    await expect(cluster.link('test.echo.generate')).rejects.toThrow(ClosedError);
    expect(() => cluster.use({ close: async () => closed.push('late') })).toThrow(ClosedError);
    expect(closed).toEqual(['last', 'first', 'late']);
    expect(existsSync(cluster.folder)).toBe(false);
  });

  it('starts a program that finds the cluster by its environment', async () => {
    await using cluster = await startCluster();
    const program = cluster.program('test/helpers/testing/programs/environment.ts');
    expect(await program.line('discovery ')).toBe(`discovery file ${cluster.folder}/discovery`);
    expect(await program.drain()).toEqual({ code: null, signal: 'SIGTERM' });
    await expect(program.line('more')).rejects.toThrow('ended before a line more');
  });

  it('rejects wrong options with the path of the field', async () => {
    await expect(startCluster({ discovery: 'redis' as never })).rejects.toThrow(
      'startCluster options.discovery: expected one of file, etcd, got "redis"',
    );
    await expect(startCluster({ test: {} as never })).rejects.toThrow(
      'startCluster options.test: expected the context of a test of vitest or node:test',
    );
  });
});

describe('a link of a cluster', () => {
  it('delays, holds and cuts the requests to one instance, and transports them again after restore', async () => {
    await using cluster = await startCluster();
    const worker = await cluster.runtime();
    await worker.endpoint<string, string>('test.echo.generate').serve(async function* (text: string) {
      yield text;
    });
    const link = await cluster.link('test.echo.generate');
    const client = await (await cluster.runtime({})).endpoint<string, string>('test.echo.generate').client();
    await client.waitForInstances({ timeoutMs: 10_000 });
    expect(await client.unary('a')).toBe('a');
    expect(link.connections).toBeGreaterThan(0);

    link.slow(150);
    const from = performance.now();
    expect(await client.unary('b')).toBe('b');
    expect(performance.now() - from).toBeGreaterThan(140);

    link.restore();
    link.hold();
    const held = client.unary('c');
    expect(await Promise.race([held, new Promise((resolve) => setTimeout(resolve, 300, 'held'))])).toBe('held');
    link.restore();
    expect(await held).toBe('c');

    link.cut();
    await expect(client.unary('d')).rejects.toMatchObject({ retryable: true });
    link.restore();
    await waitFor('an answer after the cut', () => client.unary('e').catch(() => undefined));
  });

  it('rejects an endpoint without an instance', async () => {
    await using cluster = await startCluster();
    await expect(cluster.link('none')).rejects.toThrow('cluster.link endpoint: expected');
  });
});

describe('TestLink', () => {
  it('transports both directions to their ends, and resets connections while it is cut', async () => {
    const server = createServer((socket) => socket.pipe(socket)).on('connection', (socket) =>
      socket.on('error', () => {}),
    );
    const port = await listen(server);
    await using link = await TestLink.start(`http://127.0.0.1:${port}/path`);
    expect(link.address).toBe(`http://127.0.0.1:${link.port}/path`);
    const { connect } = await import('node:net');
    const text = 'x'.repeat(1_000_000);
    const echoed = await new Promise<number>((resolve, reject) => {
      let bytes = 0;
      connect({ port: link.port, host: '127.0.0.1', allowHalfOpen: true })
        .on('data', (chunk) => (bytes += chunk.length))
        .on('end', () => resolve(bytes))
        .on('error', reject)
        .end(text);
    });
    expect(echoed).toBe(text.length);
    link.cut();
    const refused = new Promise((resolve) => {
      connect(link.port, '127.0.0.1')
        .on('error', ({ message }) => resolve(message))
        .on('close', () => resolve('closed'));
    });
    expect(await refused).toMatch(/ECONNRESET|closed/);
    server.close();
  });

  it('rejects an address without a port', async () => {
    await expect(TestLink.start('localhost')).rejects.toThrow('TestLink.start to: expected HOST:PORT, or a URL with a');
  });
});

describe('a scripted engine and mockers', () => {
  it('rejects mockers whose cluster closes while they start with ClosedError, and leaves no folder', async () => {
    const cluster = await startCluster();
    const starting = startMockers({ cluster, modelPath });
    await Promise.all([expect(starting).rejects.toThrow(ClosedError), cluster.close()]);
    expect(existsSync(cluster.folder)).toBe(false);
    await expect(startMockers({ modelPath, count: 257 })).rejects.toThrow('expected an integer from 0 to 256, got 257');
  });

  it('answer behind a frontend by their script, text included', async () => {
    await using cluster = await startCluster();
    const scripts: Script[] = [['Moved', ' in blocks'], [{ error: 'CapacityExhausted', message: 'full' }]];
    const engine = new ScriptedEngine({ model: 'scripted', scripts });
    const worker = await cluster.runtime();
    await using served = await serveEngine(worker.endpoint('dynamo.backend.generate'), engine, { modelPath });
    await served.ready;
    await using frontend = await Frontend.start(await cluster.runtime(), { port: 0 });
    await frontend.ready;
    expect(await waitForModel(frontend.url, 'scripted')).toContain('scripted');
    const ask = async () => {
      const response = await fetch(`${frontend.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'scripted', messages: [{ role: 'user', content: 'What is a block?' }] }),
      });
      return { status: response.status, body: (await response.json()) as any };
    };
    const { status, body } = await ask();
    expect({ status, text: body.choices?.[0].message.content }).toEqual({ status: 200, text: 'Moved in blocks' });
    expect((await ask()).status).toBe(529);
    expect((await engine.requests.count(2)).every(({ request }) => request.token_ids.length > 0)).toBe(true);
    await expect(waitForModel(frontend.url, 'another', 50)).rejects.toThrow(/lists another: .*'scripted'/);
  });

  it('are a pool that grows, shrinks and leaves nothing', async () => {
    await using pool = await startMockers({ modelPath, modelName: 'mock', config: { engine: { speedup_ratio: 100 } } });
    const client = await (await pool.cluster.runtime()).endpoint('dynamo.backend.generate').client();
    await client.waitForInstances({ count: 2, timeoutMs: 10_000 });
    await pool.add();
    await client.waitForInstances({ count: 3, timeoutMs: 10_000 });
    await pool.remove();
    await waitFor(
      'two instances',
      () => client.instances().length,
      (count) => count === 2,
    );
    expect(pool.workers).toHaveLength(2);
    await expect(startMockers({ modelPath: 5 as never })).rejects.toThrow('startMockers options.modelPath: expected a');
  });
});
