import { guarded } from './callback.js';

type Listener = () => void;

interface Listened {
  readonly listeners: Set<Listener>;
  readonly onAbort: () => void;
}

/** The signals that are listened to. */
const listened = new WeakMap<AbortSignal, Listened>();

/**
 * Calls `listener` if one of the signals aborts. Returns a function that removes it. A signal has at most one listener
 * of this package, however many calls share it: Node.js warns about many listeners, and keeps memory for each
 * `AbortSignal.any`.
 */
export function onAbort(signals: readonly AbortSignal[], listener: (reason: unknown) => void): () => void {
  const removes = signals.map((signal) => listen(signal, () => listener(signal.reason)));
  return () => {
    for (const remove of removes) remove();
  };
}

function listen(signal: AbortSignal, listener: Listener): () => void {
  const { listeners, onAbort } = listened.get(signal) ?? open(signal);
  listeners.add(listener);
  return () => {
    // Node.js keeps a signal that has a listener, so the last call removes it.
    if (!listeners.delete(listener) || listeners.size > 0) return;
    signal.removeEventListener('abort', onAbort);
    listened.delete(signal);
  };
}

function open(signal: AbortSignal): Listened {
  const listeners = new Set<Listener>();
  const onAbort = (): void => {
    for (const listener of [...listeners]) guarded('the end of a call', listener)();
  };
  const opened = { listeners, onAbort };
  listened.set(signal, opened);
  signal.addEventListener('abort', onAbort, { once: true });
  return opened;
}
