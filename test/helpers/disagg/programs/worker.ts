// worker.ts DIR ROLE NIXL STYLE: a prefill or decode worker of the tiny Llama, which reports phases of its requests.
import { closeOnSignal, DistributedRuntime, loadNixl, serveEngine } from 'dynamo-node';
import type { KvTransfer, OfferEndpoint } from 'dynamo-node/disagg';
import { DecodeEngine } from '../../../../examples/tiny-llama/decode-engine.js';
import { modelPath } from '../../../../examples/tiny-llama/engine.js';
import { PrefillEngine } from '../../../../examples/tiny-llama/prefill-engine.js';
import { commands, emit } from '../../runtime/programs/lines.js';

const [dir, role, nixl, style] = process.argv.slice(2) as [string, 'prefill' | 'decode', 'mock' | 'real', string];
const LEASE_MS = 1500;
const cache = { blockSize: 16, blockCount: 128 };
/** How long the mock takes for a read, so that a fault can hit it. */
if (nixl === 'mock') loadNixl({ mode: 'mock', mock: { completion: 'delayed', latencyUs: 150_000 } });

/** The phase to report next, once, and the number of the command that asked for it. */
interface Armed {
  readonly phase: string;
  readonly number: number;
}
let armed: Armed | undefined;
function reached(phase: string): boolean {
  if (phase !== armed?.phase) return false;
  emit('phase', { ...armed });
  armed = undefined;
  return true;
}

/** Time for the test to make a fault in a phase that has no duration of its own. */
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 100));

const runtime = await DistributedRuntime.create({
  discovery: { kind: 'file', dir },
  host: '127.0.0.1',
  inhibitedSeconds: 0,
});
const endpoint = runtime.endpoint('test.prefill.kv_offers') as OfferEndpoint;

class PhasedPrefill extends PrefillEngine {
  override async *generate(...call: Parameters<PrefillEngine['generate']>) {
    if (reached('prefill')) await pause();
    for await (const item of super.generate(...call)) {
      if (reached('offered')) await pause();
      yield item;
    }
  }
}

class PhasedDecode extends DecodeEngine {
  override async start(...call: Parameters<DecodeEngine['start']>) {
    const config = await super.start(...call);
    const { receiver } = this;
    const accept = receiver.accept.bind(receiver);
    receiver.accept = (...request) => {
      const transfer = accept(...request);
      if (transfer !== undefined) observe(transfer);
      return transfer;
    };
    return config;
  }

  override async *generate(...call: Parameters<DecodeEngine['generate']>) {
    let tokens = 0;
    for await (const item of super.generate(...call)) {
      if (++tokens === 3) reached('decode');
      yield item;
    }
  }
}

function observe(transfer: KvTransfer): void {
  const into = transfer.into.bind(transfer);
  transfer.into = async (sequences) => {
    // The mock takes its time for the read. A real one of three blocks is over before a fault can hit it.
    if (reached('transfer') && nixl === 'real') await pause();
    const report = await into(sequences);
    if (reached('transferred')) await pause();
    return report;
  };
}

const engine =
  role === 'prefill'
    ? new PhasedPrefill(endpoint, { nixl, cache, leaseMs: LEASE_MS, bootstrap: style === 'together' })
    : new PhasedDecode(endpoint, { nixl, cache, timeoutMs: 5000, waitMs: 8000 });
const worker = await serveEngine(
  runtime.endpoint(role === 'prefill' ? 'test.prefill.generate' : 'test.backend.generate'),
  engine,
  { modelPath, workerType: role },
);
await worker.ready;
closeOnSignal(async () => {
  await worker.close();
  await runtime.close();
});
emit('ready');

const { manager } = engine instanceof PrefillEngine ? engine.offers : engine.receiver;

function state(): Record<string, number> {
  const used = manager.blockCount - manager.available;
  if (engine instanceof PrefillEngine) return { used, offers: engine.offers.size };
  const { quarantined, done } = engine.receiver.statistics();
  return { used, quarantined, done };
}

for await (const command of commands<{ arm?: Armed; state?: number; forget?: true }>()) {
  if (command.arm !== undefined) armed = command.arm;
  if (command.forget === true) manager.drainInactive();
  if (command.state !== undefined) emit('state', { number: command.state, ...state() });
}
process.exit(0);
