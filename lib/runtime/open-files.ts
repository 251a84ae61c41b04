import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';

/** Open files of a process that do not belong to a request: listeners, discovery, the event queues of its threads. */
const KEPT = 64;
/** A request has one connection to its caller. That of a request that ends may overlap that of the next one. */
const FILES_PER_REQUEST = 2;
/** How many requests the crates' request server runs by default. */
const RUNNING = 10_000;
/** How many requests then wait for one of those to end. More are refused, and may go to another worker. */
const WAITING = 1024;

/** With fewer free file descriptors than this a process reports that it is not ready. */
const FEW = 16;
const CHECK_MS = 2000;

/** How many files this process may open, or undefined if that is not limited or not known. */
export function openFileLimit(): number | undefined {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

const POOL = 'DYN_TCP_WORKER_POOL_SIZE';
const QUEUE = 'DYN_TCP_WORK_QUEUE_SIZE';
/** Has the value of `POOL` if this package has set it. Child processes inherit both, and may have another limit. */
const MARK = 'DYNAMO_NODE_WORKER_POOL_SIZE';

/**
 * The variables that keep the request server within a limit of open files. Beyond it the crates accept requests whose
 * callers they can no longer connect to, and these callers wait forever.
 * Source: dynamo-runtime `pipeline/network/ingress/shared_tcp_endpoint.rs`.
 */
export function openFileSettings(limit: number | undefined, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isInherited = env[MARK] !== undefined && env[MARK] === env[POOL];
  const isChosen = !isInherited && (POOL in env || 'DYN_ENGINE_REQUEST_LIMIT' in env);
  if (limit === undefined || isChosen) return {};
  const running = Math.min(RUNNING, Math.max(1, Math.floor((limit - KEPT) / FILES_PER_REQUEST)));
  if (running === RUNNING && !isInherited) return {};
  const size = String(running);
  return { [POOL]: size, [MARK]: size, ...(QUEUE in env ? {} : { [QUEUE]: String(WAITING) }) };
}

let own: NodeJS.ProcessEnv | undefined;

/** Those of this process. They do not change, because the crates read them once. */
export function ownOpenFileSettings(): NodeJS.ProcessEnv {
  own ??= openFileSettings(openFileLimit(), process.env);
  return own;
}

async function hasFew(limit: number): Promise<boolean> {
  try {
    return (await readdir('/proc/self/fd')).length > limit - FEW;
  } catch {
    return true;
  }
}

/** Calls `changed` when few file descriptors are left, and when there are enough again. Returns how to end that. */
export function watchOpenFiles(changed: (isFew: boolean) => void): () => void {
  const limit = openFileLimit();
  if (limit === undefined) return () => {};
  let [was, isOver] = [false, false];
  const timer = setInterval(() => {
    void hasFew(limit).then((isFew) => {
      if (isOver || isFew === was) return;
      was = isFew;
      changed(isFew);
    });
  }, CHECK_MS).unref();
  return () => {
    isOver = true;
    clearInterval(timer);
  };
}
