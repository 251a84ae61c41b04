// Run by doctor() in a process of its own: loads files to learn why they cannot be loaded, and reads the memory of its
// parent to learn whether a process may.
import { openSync, readFileSync, readSync } from 'node:fs';

import { answer, question } from './probe.js';

export interface FilesQuestion {
  readonly files: readonly string[];
}

export interface FilesAnswer {
  /** Why each cannot be loaded; empty where it can. */
  readonly reasons: readonly string[];
  /** Why the parent's memory cannot be read; empty where it can. */
  readonly memory: string;
}

function reasonOf(file: string): string {
  try {
    process.dlopen({ exports: {} }, file);
    return '';
  } catch (error) {
    // A library that is no addon was loaded all the same.
    const { message } = error as Error;
    return /did not self-register|initialize|napi/i.test(message) ? '' : message.split('\n')[0] as string;
  }
}

// The kernel asks of it what it asks of process_vm_readv, but for filters of the call itself.
function memoryOfParent(): string {
  try {
    const maps = readFileSync(`/proc/${process.ppid}/maps`, 'utf8');
    const start = /^([0-9a-f]+)-[0-9a-f]+ r/m.exec(maps)?.[1];
    if (start === undefined) return 'its map shows nothing to read';
    const file = openSync(`/proc/${process.ppid}/mem`, 'r');
    readSync(file, Buffer.alloc(8), 0, 8, BigInt(`0x${start}`));
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

const { files } = await question<FilesQuestion>();
answer({ memory: memoryOfParent(), reasons: files.map(reasonOf) } satisfies FilesAnswer);
