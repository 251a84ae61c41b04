// nixlDoctor() runs it in a separate process. It loads files to find out why they cannot be loaded. It also reads the
// memory of its parent, to find out whether a process may do that.
import { arg, invokeSync, native } from '../../addon/invoke.js';
import { answer, question } from './probe.js';

export interface FilesQuestion {
  readonly files: readonly string[];
  /** An address in the memory of the parent process. */
  readonly address: number;
}

export interface FilesAnswer {
  /** Why each file cannot be loaded. Empty if it can. */
  readonly reasons: readonly string[];
  /** Why the memory of the parent cannot be read. Empty if it can. */
  readonly memory: string;
}

function reasonOf(file: string): string {
  try {
    process.dlopen({ exports: {} }, file);
    return '';
  } catch (error) {
    // A library that is not an addon has been loaded before Node.js rejects it.
    const { message } = error as Error;
    return /did not self-register|initialize|napi/i.test(message) ? '' : (message.split('\n')[0] as string);
  }
}

const { files, address } = await question<FilesQuestion>();
const parent = { a: arg('process', process.ppid), b: arg('address', address) };
const memory = Buffer.from(invokeSync(native.nixlProcessRead, 'nixlDoctor', parent)).toString();
answer({ memory, reasons: files.map(reasonOf) } satisfies FilesAnswer);
