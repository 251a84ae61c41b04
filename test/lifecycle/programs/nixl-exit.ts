// nixl-exit.ts KIND HOW: ends with an agent open and a transfer in flight.
import { setTimeout as sleep } from 'node:timers/promises';

import { loadNixl, NixlAgent } from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';

const [kind, how] = process.argv.slice(2);
const library =
  kind === 'mock'
    ? loadNixl({ mode: 'mock', mock: { completion: 'delayed', neverComplete: true } })
    : loadNixl({ mode: 'real' });

const [a, b] = [
  await NixlAgent.create(`a-${process.pid}`, { library }),
  await NixlAgent.create(`b-${process.pid}`, { library }),
];
const [mine, theirs] = [await a.allocate(64 << 20), await b.allocate(64 << 20)];
const remote = (await a.connect(await b.metadata())).memory(theirs.descriptor());
const controller = new AbortController();
const writing = a.write(mine, remote, { signal: controller.signal }).catch(() => {});

const ends: Record<string, () => unknown> = {
  'process.exit': () => process.exit(7),
  throw: () =>
    setImmediate(() => {
      throw new Error('not caught');
    }),
  signal: () => sleep(60_000),
  // An awaited transfer keeps the process alive; an abandoned one does not.
  dry: () => {
    controller.abort();
    return writing;
  },
};
emit('done', { at: Date.now() });
await ends[how ?? '']?.();
