const everyMs = 30_000;

/** The progress of a long step in one line. On a terminal it is updated in place, else printed twice a minute. */
export class Progress {
  #title;
  #text = 'starting';
  #start = Date.now();
  #timer;

  constructor(title) {
    this.#title = title;
    this.#timer = setInterval(() => this.#print(), process.stdout.isTTY ? 1000 : everyMs);
    this.#print();
  }

  set text(text) {
    this.#text = text;
  }

  end(text) {
    clearInterval(this.#timer);
    this.#text = text;
    this.#print();
    if (process.stdout.isTTY) process.stdout.write('\n');
  }

  #print() {
    const seconds = Math.round((Date.now() - this.#start) / 1000);
    const elapsed = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
    const line = `${this.#title}: ${this.#text}, ${elapsed}`;
    process.stdout.write(process.stdout.isTTY ? `\r\x1b[K${line.slice(0, process.stdout.columns - 1)}` : `${line}\n`);
  }
}
