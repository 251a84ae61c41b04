import { DistributedRuntime, Frontend, serveEngine } from 'dynamo-node';
import { expect, it } from 'vitest';
import { modelPath, TinyLlamaEngine } from '../../../examples/tiny-llama/engine.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { missingPeers, type Peer, startPeer } from '../../helpers/interop/peers.js';
import { freePort, privateCluster } from '../../helpers/runtime/cluster.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);
process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const START_UP_MS = 90_000;

const onEnd = closeAfterEach();

function cluster() {
  const made = privateCluster();
  onEnd(() => made.remove());
  return made;
}

function peer(dir: string, ...args: string[]): Peer {
  const started = startPeer(dir, ...args);
  onEnd(() => started.stop());
  return started;
}

async function models(url: string): Promise<string[]> {
  try {
    const response = await fetch(`${url}/v1/models`);
    return ((await response.json()) as { data: { id: string }[] }).data.map(({ id }) => id);
  } catch {
    return [];
  }
}

async function chat(url: string, model: string): Promise<{ content: string; tokens: number | undefined }> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      messages: [{ role: 'user', content: 'What is KVBM?' }],
      max_tokens: 40,
      temperature: 0,
    }),
  });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  const { choices, usage } = JSON.parse(text) as {
    choices: { message: { content: string } }[];
    usage?: { completion_tokens: number };
  };
  return { content: choices[0]?.message.content ?? '', tokens: usage?.completion_tokens };
}

async function waitForModel(peer: Peer, url: string, model: string): Promise<void> {
  const seen = waitFor(
    'the model',
    () => models(url),
    (all) => all.includes(model) || peer.process.exitCode !== null,
    START_UP_MS,
  );
  const all = await seen.catch((error: Error) => Promise.reject(new Error(`${error.message}\n${peer.log()}`)));
  if (!all.includes(model)) throw new Error(`the peer ended early:\n${peer.log()}`);
}

describeUnless(missingPeers, 'with the Python wheels', () => {
  it.each(['round-robin', 'kv'])(
    'the Python frontend reaches a TypeScript worker, router %s',
    async (mode) => {
      const { dir, options } = cluster();
      const runtime = await DistributedRuntime.create(options);
      onEnd(() => runtime.close());
      const worker = await serveEngine(runtime.endpoint('dynamo.backend.generate'), new TinyLlamaEngine(), {
        modelPath,
      });
      onEnd(() => worker.close());
      await worker.ready;
      const port = await freePort();
      const python = peer(dir, '-m', 'dynamo.frontend', '--http-port', String(port), '--router-mode', mode);
      await waitForModel(python, `http://127.0.0.1:${port}`, 'tiny-llama');
      expect((await chat(`http://127.0.0.1:${port}`, 'tiny-llama')).content).toMatch(/block/i);
    },
    START_UP_MS + 30_000,
  );

  it.each(['round_robin', 'kv'] as const)(
    'the TypeScript frontend reaches the Python mocker, router %s',
    async (mode) => {
      const { dir, options } = cluster();
      const python = peer(
        dir,
        '-m',
        'dynamo.mocker',
        '--model-path',
        modelPath,
        '--model-name',
        'mocked',
        '--speedup-ratio',
        '100',
      );
      const frontend = await Frontend.start(options, { host: '127.0.0.1', port: 0, router: { mode } });
      onEnd(() => frontend.close());
      await frontend.ready;
      await waitForModel(python, frontend.url, 'mocked');
      expect((await chat(frontend.url, 'mocked')).tokens).toBe(40);
    },
    START_UP_MS + 30_000,
  );
});
