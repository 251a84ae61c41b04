import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** How the processes of a graph are ended if the supervisor is killed. */
export interface Containment {
  /** The words before the command of the supervisor: they end it and everything below it when this process ends. */
  readonly supervisor: readonly string[] | undefined;
  /** The words before the command of a worker: they end it when the supervisor ends. Not its children. */
  readonly worker: readonly string[];
  /** The words before the command of a worker that show it the `/proc` of its namespace. */
  readonly proc: readonly string[];
  /** What the machine lacks, and the consequence, in words. */
  readonly lacks: string | undefined;
}

const DEATH_SIGNAL = ['setpriv', '--pdeathsig', 'KILL'] as const;
const NAMESPACE = ['unshare', '--pid', '--fork', '--kill-child'] as const;
/** A user that is not root needs a user namespace too, in which it keeps its id, or is root if that is not known. */
const USERS = [
  ['--user', '--map-current-user'],
  ['--user', '--map-root-user'],
] as const;

/**
 * Libraries look up their own process in `/proc`. UCX 1.23 makes no connection if its id is not there. The supervisor
 * keeps the `/proc` of the machine, for the ids that it reports.
 */
const OWN_PROC = ['unshare', '--mount-proc', 'setpriv', '--inh-caps', '-all', '--ambient-caps', '-all'] as const;
const OWN_PROC_OF_ROOT = OWN_PROC.slice(0, 2);

/**
 * The shell is the first process of the namespace: it waits for the orphans of workers, which Node.js would not. It
 * does not replace itself by its last command.
 */
const REAPER = ['sh', '-c', '"$@"; exit $?', 'sh'] as const;

const PROBE_TIMEOUT_MS = 5000;

async function probe(words: readonly string[]): Promise<string | undefined> {
  const [program, ...args] = [...words, 'true'];
  try {
    await promisify(execFile)(program as string, args, { timeout: PROBE_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    const { code, message, stderr = '' } = error as NodeJS.ErrnoException & { stderr?: string };
    return code === 'ENOENT' ? `${program} is missing` : (stderr.trim().split('\n')[0] ?? '') || message;
  }
}

/** Tries what the machine has and allows. */
export async function findContainment(): Promise<Containment> {
  const missing = await probe(DEATH_SIGNAL);
  if (missing !== undefined) {
    const lacks = `${missing}: if dynamo serve is killed with -9, its workers end, but processes of theirs may not`;
    return { supervisor: undefined, worker: [], proc: [], lacks };
  }
  const isRoot = process.getuid?.() === 0;
  const ways = (isRoot ? [[]] : USERS).map((user) => [...DEATH_SIGNAL, ...NAMESPACE, ...user]);
  const proc = isRoot ? OWN_PROC_OF_ROOT : OWN_PROC;
  for (const words of ways) {
    const supervisor = [...words, ...(isRoot ? [] : ['--keep-caps']), ...REAPER];
    if ((await probe([...supervisor, ...proc])) === undefined)
      return { supervisor, worker: [], proc, lacks: undefined };
  }
  let refusal: string | undefined;
  for (const words of ways) {
    refusal = await probe(words);
    if (refusal !== undefined) continue;
    const lacks = 'no own /proc for a worker: NIXL may find no connection in workers that are started later';
    return { supervisor: [...words, ...REAPER], worker: [], proc: [], lacks };
  }
  return {
    supervisor: undefined,
    worker: DEATH_SIGNAL,
    proc: [],
    lacks: `no PID namespace (${refusal}): if dynamo serve is killed with -9, what its workers started may survive`,
  };
}
