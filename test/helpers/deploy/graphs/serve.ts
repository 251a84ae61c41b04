import { spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClientOf, depends, endpoint, graph, onShutdown, onStart, service, serviceContext } from 'dynamo-node/sdk';

/** How a service of this graph misbehaves, by `--Splitter.mode=MODE`. */
export interface Misbehaviour {
  readonly mode?:
    | 'slow'
    | 'throw'
    | 'exit'
    | 'hang'
    | 'crash-on-signal'
    | 'hang-in-shutdown'
    | 'flood'
    | 'grandchild'
    | 'proc';
  readonly delayMs?: number;
}

const forever = new Promise<never>(() => {});

@service()
export class Splitter {
  readonly #context = serviceContext<Misbehaviour>();

  @onStart()
  async start() {
    const { mode } = this.#context.config;
    if (mode === 'slow') await sleep(1000);
    if (mode === 'throw') throw new Error('no such model');
    if (mode === 'exit') process.exit(7);
    if (mode === 'hang') await forever;
    if (mode === 'crash-on-signal') process.on('SIGUSR2', () => process.exit(3));
    if (mode === 'grandchild') spawn('sleep', ['1000'], { detached: true, stdio: 'inherit' }).unref();
    if (mode === 'proc') console.log(`/proc/self is ${readlinkSync('/proc/self')} of process ${process.pid}`);
    if (mode === 'flood') void this.#flood();
  }

  @endpoint()
  async *split(text: string) {
    await sleep(this.#context.config.delayMs ?? 0);
    yield* text.split(' ');
  }

  @endpoint()
  async pid(_: string) {
    return process.pid;
  }

  @onShutdown()
  async end() {
    if (this.#context.config.mode === 'hang-in-shutdown') await forever;
  }

  async #flood() {
    const line = `${'x'.repeat(1023)}\n`.repeat(256);
    for (;;) {
      process.stdout.write(line);
      await sleep(0);
    }
  }
}

@service()
export class Upper {
  @depends(Splitter) readonly splitter!: ClientOf<Splitter>;

  @endpoint()
  async *generate(text: string) {
    for await (const word of this.splitter.split(text, { attempts: 3 })) yield word.toUpperCase();
  }
}

@service()
export class Front {
  @depends(Upper) readonly upper!: ClientOf<Upper>;

  @endpoint()
  async generate(text: string) {
    const words: string[] = [];
    for await (const word of this.upper.generate(text)) words.push(word);
    return words.join('-');
  }
}

export default graph('serve-test', Front);
