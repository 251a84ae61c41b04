import type { Frontend, LLMEngine } from 'dynamo-node';
import { type DisaggregatedRole, type KvTransferReport, type OfferEndpoint, RoleWorker } from 'dynamo-node/disagg';
import { formatXPyD } from 'dynamo-node/sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DecodeEngine } from '../../../examples/tiny-llama/decode-engine.js';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { PrefillEngine } from '../../../examples/tiny-llama/prefill-engine.js';
import { complete, completion, type GreedyCase, greedyCases, OFFERS, SMALL } from '../../helpers/disagg/deployment.js';
import { type Deployment, deployments, serverSentEvents } from '../../helpers/llm/deployments.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();
/** Routers need a moment to learn that an instance has left. */
process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '1';

/** Prompts whose greedy answers are certain, and short enough to be streamed often. */
const cases = greedyCases.filter(
  ({ gaps, tokenIds, promptTokenIds }) =>
    gaps.every((gap) => gap > 1e-4) && tokenIds.length >= 8 && promptTokenIds.length < 200,
);

const reports: KvTransferReport[] = [];
/** Engines that have got requests. A frontend needs a moment to find a worker. */
const used = new Set<LLMEngine>();

class Prefill extends PrefillEngine {
  override generate(...request: Parameters<PrefillEngine['generate']>): ReturnType<PrefillEngine['generate']> {
    used.add(this);
    return super.generate(...request);
  }
}

class Decode extends DecodeEngine {
  override generate(...request: Parameters<DecodeEngine['generate']>): ReturnType<DecodeEngine['generate']> {
    used.add(this);
    return super.generate(...request);
  }
}

/** A worker, and the engine of its present role. */
interface Started {
  readonly worker: RoleWorker;
  engine: LLMEngine | undefined;
}

async function startWorker(here: Deployment, role: DisaggregatedRole): Promise<Started> {
  const present = <Engine extends LLMEngine>(engine: Engine): Engine => {
    started.engine = engine;
    return engine;
  };
  const started: { worker?: RoleWorker; engine: LLMEngine | undefined } = { engine: undefined };
  const worker = await RoleWorker.start(here.options, {
    role,
    prefill: {
      endpoint: 'test.prefill.generate',
      serve: { modelPath },
      engine: (runtime) => present(new Prefill(runtime.endpoint(OFFERS) as OfferEndpoint, SMALL)),
    },
    decode: {
      endpoint: 'test.backend.generate',
      serve: { modelPath },
      engine: (runtime) => {
        const onTransfer = (report: KvTransferReport): void => void reports.push(report);
        return present(new Decode(runtime.endpoint(OFFERS) as OfferEndpoint, { ...SMALL, onTransfer }));
      },
    },
  });
  onTestFinished(() => worker.close({ timeoutMs: 1000 }));
  return Object.assign(started, { worker });
}

const shapeOf = (workers: readonly Started[]): string => {
  const count = (role: DisaggregatedRole) => workers.filter(({ worker }) => worker.role === role).length;
  return formatXPyD({ prefill: count('prefill'), decode: count('decode') });
};

/** Clients that stream the greedy cases until they are ended. */
class Streams {
  readonly failures: string[] = [];
  answers = 0;
  #isOver = false;
  readonly #lanes: Promise<void>[];

  constructor(
    private readonly frontend: Frontend,
    private readonly workers: readonly Started[],
    lanes: number,
  ) {
    this.#lanes = Array.from({ length: lanes }, (_, lane) => this.#run(lane));
  }

  async #run(lane: number): Promise<void> {
    for (let turn = lane; !this.#isOver; turn++) {
      const { text, promptTokenIds, tokenIds, name } = cases[turn % cases.length] as GreedyCase;
      const response = await complete(this.frontend, promptTokenIds, { max_tokens: tokenIds.length, stream: true });
      const data = response.ok
        ? (await serverSentEvents(response)).map((event) => event.data)
        : [await response.text()];
      const answer = response.ok ? textOf(data) : undefined;
      if (answer !== text) this.failures.push(`${shapeOf(this.workers)} ${name}: ${response.status} ${data.slice(-2)}`);
      this.answers += 1;
    }
  }

  /** Waits for answers that come from now on. */
  async more(count: number): Promise<void> {
    const target = this.answers + count;
    await waitFor(
      'more answers',
      () => this.answers,
      (answers) => answers >= target,
    );
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#lanes);
  }
}

const textOf = (data: readonly string[]): string =>
  data
    .filter((each) => each.startsWith('{'))
    .map((each) => (JSON.parse(each) as { choices?: { text?: string }[] }).choices?.[0]?.text ?? '')
    .join('');

/** Workers of these roles, and a frontend that uses all of them. */
async function start(roles: readonly DisaggregatedRole[]): Promise<{ workers: Started[]; frontend: Frontend }> {
  const here = deployment();
  const workers: Started[] = [];
  for (const role of roles) workers.push(await startWorker(here, role));
  const frontend = await here.frontend({ migrationLimit: 3 });
  await frontend.waitForModel('tiny-llama');
  await waitFor('requests at all workers', async () => {
    await completion(frontend, (cases[0] as GreedyCase).promptTokenIds, { max_tokens: 1 }).catch(() => {});
    return workers.every(({ engine }) => used.has(engine as LLMEngine));
  });
  reports.length = 0;
  return { workers, frontend };
}

describe('workers that change their roles', () => {
  it('fail no request of the clients that stream in the meantime', async () => {
    const { workers, frontend } = await start(['prefill', 'prefill', 'decode', 'decode']);
    const streams = new Streams(frontend, workers, 3);
    const shapes: string[] = [];
    const changes = [
      [0, 'decode'],
      [2, 'prefill'],
      [3, 'prefill'],
      [1, 'decode'],
      [2, 'decode'],
      [0, 'prefill'],
    ] as const;
    for (const [index, role] of changes) {
      const changed = workers[index] as Started;
      const { worker } = changed;
      const before = worker.instanceId;
      await worker.changeRole(role);
      expect([worker.role, worker.instanceId === before]).toEqual([role, false]);
      shapes.push(shapeOf(workers));
      await waitFor('requests at the worker', () => used.has(changed.engine as LLMEngine));
      await streams.more(3);
    }
    await streams.end();
    expect(streams.failures.slice(0, 5)).toEqual([]);
    expect(shapes).toEqual(['1P3D', '2P2D', '3P1D', '2P2D', '1P3D', '2P2D']);
    console.log(`${streams.answers} streams over ${changes.length} changes, ${reports.length} transfers`);
    expect(reports.length).toBeGreaterThan(streams.answers / 2);
  });

  it('leave a model that answers 503 if none prefills, until one does again', async () => {
    const { workers, frontend } = await start(['prefill', 'decode']);
    const [{ worker: first }] = workers as [Started];
    const ask = async (): Promise<number> => {
      const response = await complete(frontend, (cases[0] as GreedyCase).promptTokenIds, { max_tokens: 2 });
      await response.text();
      return response.status;
    };
    await first.changeRole('decode');
    expect(await waitFor('a rejection', ask, (status) => status !== 200)).toBe(503);
    await first.changeRole('prefill');
    await waitFor('an answer', ask, (status) => status === 200);
  });

  it('keep their role if they have it, and change one after the other', async () => {
    const { workers } = await start(['prefill', 'decode']);
    const [{ worker: first }] = workers as [Started];
    const { instanceId } = first;
    await first.changeRole('prefill');
    expect(first.instanceId).toBe(instanceId);
    await Promise.all([first.changeRole('decode'), first.changeRole('prefill'), first.changeRole('decode')]);
    expect(first.role).toBe('decode');
    await first.close();
    expect([first.role, first.inFlight, first.served]).toEqual([undefined, 0, undefined]);
    await expect(first.changeRole('prefill')).rejects.toThrow(expect.objectContaining({ code: 'DYN_CLOSED' }));
  });

  it('have no role after a start that failed, and start with the next change', async () => {
    const here = deployment();
    let isBroken = true;
    const engine = (): LLMEngine => ({
      start: () => {
        if (isBroken) throw new Error('no weights');
        return { model: 'tiny-llama' };
      },
      async *generate() {},
    });
    const decode = { endpoint: 'test.backend.generate', engine };
    const prefill = {
      endpoint: 'test.prefill.generate',
      engine: () => ({ ...engine(), isQuiescent: () => true, start: () => ({ model: 'tiny-llama' }) }),
    };
    const worker = await RoleWorker.start(here.options, { role: 'prefill', prefill, decode });
    onTestFinished(() => worker.close());
    await expect(worker.changeRole('decode')).rejects.toThrow('no weights');
    expect(worker.role).toBeUndefined();
    isBroken = false;
    await worker.changeRole('decode');
    expect(worker.role).toBe('decode');
  });
});

describe('RoleWorker.start', () => {
  const role = { endpoint: 'test.backend.generate', engine: () => ({}) as LLMEngine };
  const other = { ...role, endpoint: 'test.prefill.generate' };

  it.each<[string, object, string]>([
    ['no role', { prefill: other, decode: role }, 'options.role: expected one of prefill, decode'],
    ['another role', { role: 'encode', prefill: other, decode: role }, 'options.role: expected one of prefill, decode'],
    [
      'one endpoint for both',
      { role: 'decode', prefill: role, decode: role },
      'options.decode.endpoint: expected another',
    ],
    ['no path', { role: 'decode', prefill: { ...role, endpoint: 'a' }, decode: role }, 'options.prefill.endpoint'],
    ['no engine', { role: 'decode', prefill: other, decode: { ...role, engine: 1 } }, 'options.decode.engine'],
    [
      'a worker type',
      { role: 'decode', prefill: other, decode: { ...role, serve: { workerType: 'decode' } } },
      'options.decode.serve.workerType: expected none, because the role is the worker type',
    ],
  ])('rejects %s', async (_, options, message) => {
    await expect(RoleWorker.start({ discovery: { kind: 'mem' } }, options as never)).rejects.toThrow(message);
  });
});
