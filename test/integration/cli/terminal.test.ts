import { mkdtempSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dynamo, Terminal } from '../../helpers/cli/process.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { waitFor } from '../../helpers/wait.js';

const CTRL_C = '\x03';
const SLOW = 'out=js:test/helpers/cli/programs/engines.ts#SlowEngine';

const onEnd = closeAfterEach();
let TMPDIR: string;

beforeEach(() => {
  TMPDIR = mkdtempSync(join(tmpdir(), 'dynamo-terminal-'));
});

afterEach(() => rm(TMPDIR, { recursive: true, maxRetries: 5 }));

const foldersOfRuns = () => readdirSync(TMPDIR).filter((name) => name.startsWith('dynamo-run-'));

function onTerminal(args: readonly string[], options: { columns?: number; env?: NodeJS.ProcessEnv } = {}): Terminal {
  const terminal = new Terminal(args, { ...options, env: { TMPDIR, ...options.env } });
  onEnd(() => terminal.stop());
  return terminal;
}

describe('a chat on a terminal', () => {
  it('streams, stops an answer with Ctrl-C, and leaves with the second', async () => {
    const chat = onTerminal(['run', SLOW, '--max-tokens=400']);
    await chat.shows('Model slow. /clear forgets the conversation, /quit leaves.');
    chat.press('Why?\r');
    await chat.shows(/Why\?\s+\S+/);
    const before = chat.output.length;
    await chat.shows(/.{20}/, before);
    chat.press(CTRL_C);
    await chat.shows(/\[stopped\]\s+\S*\[TTFT \d+ ms, \d+ tokens, [\d.]+ tokens\/s\]/);
    chat.press(CTRL_C);
    expect(await chat.exit()).toBe(130);
    expect(foldersOfRuns()).toEqual([]);
  });

  it('leaves at the end of the input with exit code 0', async () => {
    const chat = onTerminal(['run', 'out=echo'], { columns: 40 });
    await chat.shows('Model echo.');
    chat.press('good morning\r');
    await chat.shows(/good morning\s+good morning/);
    chat.press('\x04');
    expect(await chat.exit()).toBe(0);
  });
});

describe('a server', () => {
  it('stops with one Ctrl-C on a terminal', async () => {
    const server = onTerminal(['run', 'in=http', 'out=echo', '--http-port=0']);
    await server.shows('listening on http://127.0.0.1:');
    server.press(CTRL_C);
    expect(await server.exit()).toBe(130);
    expect(foldersOfRuns()).toEqual([]);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stops with %s with exit code %d', async (signal, code) => {
    const server = dynamo(['run', 'in=http', 'out=echo', '--http-port=0'], { env: { TMPDIR } });
    onEnd(() => server.stop());
    await waitFor(
      'the server listens',
      () => server.output,
      (text) => text.includes('listening on http://'),
      60_000,
    );
    server.kill(signal);
    expect(await server.exit()).toMatchObject({ code });
    expect(foldersOfRuns()).toEqual([]);
  });
});

describe('a doctor', () => {
  it('fits into a terminal of 40 columns', async () => {
    const doctor = onTerminal(['doctor', '--timeout-ms=200'], { columns: 40, env: { NO_COLOR: '1' } });
    expect(await doctor.exit()).toBe(0);
    const lines = doctor.output.split(/\r?\n/).filter((line) => line.startsWith(' ') || /^(ok|--|!!)/.test(line));
    expect(lines.length).toBeGreaterThan(10);
    // A path or another long word is not divided.
    const words = (line: string) => line.slice(20).replace(/^-> /, '').trim().split(' ').length;
    expect(lines.filter((line) => line.length > 40 && words(line) > 1)).toEqual([]);
  });
});
