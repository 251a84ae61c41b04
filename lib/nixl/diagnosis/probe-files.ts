// Run by doctor() in a process of its own: loads files to learn why they cannot be loaded, and reads the memory of its
// parent to learn whether a process may.
import { invokeSync, native } from '../../addon/invoke.js';
import { answer, question } from './probe.js';

export interface FilesQuestion {
  readonly files: readonly string[];
  /** Of memory of the process that asks. */
  readonly address: number;
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
    return /did not self-register|initialize|napi/i.test(message) ? '' : (message.split('\n')[0] as string);
  }
}

const { files, address } = await question<FilesQuestion>();
const memory = Buffer.from(
  invokeSync(native.nixlProcessRead, 'nixlDoctor', { a: process.ppid, b: address }),
).toString();
answer({ memory, reasons: files.map(reasonOf) } satisfies FilesAnswer);
