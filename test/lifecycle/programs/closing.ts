/** closing.ts CASE: runs a close on a signal and reports it. The test observes the process. */
import { closeOnSignal } from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';

const told = (): void => emit('closing');
const endless = (): Promise<never> => {
  told();
  return new Promise(() => {});
};

const cases: Record<string, () => unknown> = {
  whole: () => closeOnSignal(async () => told()),
  rejects: () =>
    closeOnSignal(async () => {
      told();
      throw new Error('the store is gone');
    }),
  throws: () =>
    closeOnSignal(() => {
      told();
      throw new Error('the store is gone');
    }),
  endless: () => closeOnSignal(endless),
  undone: () => closeOnSignal(async () => told())(),
  'undone-meanwhile': () => {
    const undo = closeOnSignal(() => {
      undo();
      return endless();
    });
  },
  again: () => {
    closeOnSignal(endless)();
    closeOnSignal(async () => told());
  },
  'SIGHUP-alone': () => closeOnSignal(async () => told(), ['SIGHUP']),
};

cases[process.argv[2] ?? '']?.();
setInterval(() => {}, 60_000);
emit('ready');
