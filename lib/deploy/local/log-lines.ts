import { StringDecoder } from 'node:string_decoder';

/** The longest line that is kept, in characters. */
export const MAX_LINE_CHARACTERS = 16 * 1024;

/** Divides the output of a process into lines. It keeps at most one line, and cuts a longer one off. */
export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8');
  #open = '';
  #cut = 0;

  constructor(readonly maxCharacters = MAX_LINE_CHARACTERS) {}

  /** The lines that end in `chunk`, without their ends. */
  push(chunk: Buffer): string[] {
    const parts = this.#decoder.write(chunk).split('\n');
    const last = parts.pop() as string;
    const lines = parts.map((part) => this.#close(part));
    this.#append(last);
    return lines;
  }

  /** The rest, if the output did not end with a line. */
  end(): string[] {
    const rest = this.#decoder.end();
    return this.#open === '' && rest === '' ? [] : [this.#close(rest)];
  }

  #append(part: string): void {
    const space = this.maxCharacters - this.#open.length;
    this.#open += part.slice(0, Math.max(0, space));
    this.#cut += Math.max(0, part.length - space);
  }

  #close(part: string): string {
    this.#append(part);
    const line = this.#open.endsWith('\r') ? this.#open.slice(0, -1) : this.#open;
    const [open, cut] = [line, this.#cut];
    this.#open = '';
    this.#cut = 0;
    return cut === 0 ? open : `${open}… (${cut} characters cut off)`;
  }
}
