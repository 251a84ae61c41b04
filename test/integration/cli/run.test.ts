import { mkdtempSync } from 'node:fs';
import { copyFile, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RunningCommand, runCommand, startCommand } from '../../helpers/cli/command.js';
import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const MODEL = 'examples/tiny-llama/model';
const ENGINES = 'test/helpers/cli/programs/engines.ts';

/** Folders of discovery go there, so that other tests do not see them. */
const temporary = mkdtempSync(join(tmpdir(), 'dynamo-cli-'));
process.env['TMPDIR'] = temporary;
afterAll(() => rm(temporary, { recursive: true }));

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dynamo-cli-'));
});

afterEach(() => rm(folder, { recursive: true }));

/** Folders of discovery that runs have not removed. */
const leftBehind = async () => (await readdir(temporary)).filter((name) => name.startsWith('dynamo-run-'));

const lines = (text: string): unknown[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

/** What the command says when it is ready, as JSON. */
async function ready<T>(command: RunningCommand): Promise<T> {
  const state = () => ({ stdout: command.stdout, stderr: command.stderr });
  await waitFor('the command is ready', state, ({ stdout }) => stdout.includes('\n'), 60_000);
  return JSON.parse(command.stdout.split('\n')[0] as string) as T;
}

describe('dynamo run in=stdin', () => {
  it('answers one prompt by out=echo, and leaves no folder', async () => {
    expect(await runCommand(['run', 'out=echo'], { input: 'hello brave new world\n' })).toEqual({
      code: 0,
      stdout: 'hello brave new world\n',
      stderr: '',
    });
    expect(await leftBehind()).toEqual([]);
  });

  it('answers as JSON with figures by out=mocker', async () => {
    const { code, stdout } = await runCommand(['run', 'out=mocker', MODEL, '--max-tokens', '5', '--json'], {
      input: 'What is a block?',
    });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ text: 'What is a block?', tokens_in: 9, tokens_out: 5 });
  });

  it('answers by the class, the function or the object of out=js:', async () => {
    for (const name of ['SlowEngine', 'createFastEngine']) {
      const { code, stdout, stderr } = await runCommand(
        ['run', `out=js:${ENGINES}#${name}`, '--max-tokens=3', '--json'],
        {
          input: 'Why?',
        },
      );
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(JSON.parse(stdout)).toMatchObject({ tokens_out: 3, ttft_ms: expect.any(Number) });
    }
  });

  it('stops with the first Ctrl-C', async () => {
    const command = startCommand(['run', `out=js:${ENGINES}#SlowEngine`], { input: 'Why?' });
    await waitFor(
      'an answer',
      () => command.stdout + command.stderr,
      (text) => text !== '',
    );
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
  });

  it('stops while it waits for its input', async () => {
    const command = startCommand(['run', 'out=echo']);
    const listening = () => {
      try {
        command.signal('SIGTERM');
        return true;
      } catch {
        return false;
      }
    };
    await waitFor('a handler of SIGTERM', listening);
    expect(await command.exitCode).toBe(143);
  });

  it('reports an engine that fails', async () => {
    const { code, stderr } = await runCommand(['run', `out=js:${ENGINES}#failing`], { input: 'Why?' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error\[E_REQUEST_FAILED\]: the model answers /);
  });
});

describe('dynamo run in=text', () => {
  it('holds a conversation with its history, and leaves with /quit', async () => {
    const input = 'one\n\ntwo\n/clear\nthree\n/quit\nfour\n';
    const args = ['run', 'in=text', `out=js:${ENGINES}#createFastEngine`, '--max-tokens=2', '--json'];
    const { code, stdout } = await runCommand(args, { input });
    expect(code).toBe(0);
    const answers = lines(stdout) as { text: string; tokens_in: number; tokens_out: number }[];
    expect(answers.map(({ text, tokens_out }) => [text, tokens_out])).toEqual([
      ['one', 2],
      ['two', 2],
      ['three', 2],
    ]);
    const [one, two, three] = answers.map(({ tokens_in }) => tokens_in) as [number, number, number];
    expect(two).toBeGreaterThan(one + 3);
    expect(three).toBeLessThan(two);
  });

  it('shows the time to the first token and the tokens a second after each answer', async () => {
    const { stdout, stderr } = await runCommand(['run', 'in=text', 'out=echo'], { input: 'good morning\n' });
    expect(stdout).toBe('good morning\n');
    expect(stderr).toMatch(/^\[TTFT \d+ ms, \d+ tokens, [\d.]+ tokens\/s\]\n$/);
  });

  it('goes on after a request that failed', async () => {
    const { code, stderr } = await runCommand(['run', 'in=text', `out=js:${ENGINES}#failing`], { input: 'a\nb\n' });
    expect(code).toBe(0);
    expect(stderr.match(/error\[E_REQUEST_FAILED\]/g)).toHaveLength(2);
  });

  it('stops an answer with Ctrl-C, keeps the conversation, and leaves with the second', async () => {
    const command = startCommand(['run', 'in=text', `out=js:${ENGINES}#SlowEngine`]);
    for (let turn = 1; turn <= 2; turn++) {
      const before = command.stdout.length;
      command.stdin.write('Why?\n');
      await waitFor(
        'some text',
        () => command.stdout.length,
        (length) => length > before + 10,
      );
      command.signal('SIGINT');
      await waitFor(
        'the end of the answer',
        () => command.stdout,
        (text) => text.match(/\[stopped\]\n/g)?.length === turn,
      );
    }
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
  });
});

describe('dynamo run in=batch', () => {
  const write = (text: string) => writeFile(join(folder, 'prompts.jsonl'), text);
  const run = (...args: string[]) => runCommand(['run', 'in=batch:prompts.jsonl', ...args], { cwd: folder });
  const output = async () => lines(await readFile(join(folder, 'output.jsonl'), 'utf8'));

  it('answers each line in the order of the file, with the original fields', async () => {
    const texts = Array.from({ length: 40 }, (_, index) => `prompt ${index}`);
    await write(`${texts.map((text) => JSON.stringify({ text })).join('\n\n')}\n`);
    const { code, stdout } = await run('out=echo', '--json');
    expect(code).toBe(0);
    const answers = (await output()) as Record<string, unknown>[];
    expect(answers.map(({ text, response }) => [text, response])).toEqual(texts.map((text) => [text, text]));
    for (const answer of answers)
      expect(Object.keys(answer)).toEqual(['text', 'response', 'tokens_in', 'tokens_out', 'elapsed_ms']);
    expect(JSON.parse(stdout)).toMatchObject({ output: join(folder, 'output.jsonl'), requests: 40, failed: 0 });
  });

  it('shows progress on a terminal, within its width, and statistics', async () => {
    await write('{"text":"a"}\n{"text":"b"}\n');
    const options = { cwd: folder, isTerminal: true, columns: 40 };
    const { code, stdout, stderr } = await runCommand(['run', 'in=batch:prompts.jsonl', 'out=echo'], options);
    expect(code).toBe(0);
    const shown = stderr.split('\r\x1b[K').filter((text) => text !== '');
    expect(shown.map((text) => text.slice(0, 26))).toEqual([
      '[##########..........] 1/2',
      '[####################] 2/2',
    ]);
    for (const text of shown) expect(text.length).toBeLessThan(40);
    expect(stdout).toMatch(/^2 requests in [\d.]+ s, 0 failed\n/);
    expect(stdout).toContain(`wrote ${join(folder, 'output.jsonl')}`);
  });

  it('writes the reason of each failed line, and returns 1', async () => {
    await write('{"text":"a"}\n');
    const engine = join(process.cwd(), ENGINES);
    const { code, stderr } = await run(`out=js:${engine}#failing`);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '1 lines have a field "error"\n' });
    expect(await output()).toEqual([
      expect.objectContaining({ text: 'a', response: '', error: expect.stringContaining('the model answers') }),
    ]);
  });

  it('keeps what is answered when Ctrl-C stops it', async () => {
    await write('{"text":"a"}\n'.repeat(200));
    const engine = join(process.cwd(), ENGINES);
    const args = ['run', 'in=batch:prompts.jsonl', `out=js:${engine}#SlowEngine`, '--max-tokens=2', '--concurrency=2'];
    const command = startCommand(args, { cwd: folder, isTerminal: true });
    await waitFor(
      'some answers',
      () => command.stderr,
      (text) => text.includes(' 4/200'),
    );
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
    const count = (await output()).length;
    expect(count).toBeGreaterThanOrEqual(4);
    expect(count).toBeLessThan(200);
  });

  it.each([
    ['{"text":"a"}\n{"txt":"b"}\n', 'prompts.jsonl:2: expected {"text": "…"}, got {"txt":"b"}'],
    ['{"text":"a"}\n\nnot JSON\n', 'prompts.jsonl:3: expected {"text": "…"}, got not JSON'],
    ['null\n', 'prompts.jsonl:1: expected {"text": "…"}, got null'],
  ])('rejects the file %j before it starts anything', async (text, message) => {
    await write(text);
    const { code, stderr } = await run('out=mocker', '/no/such/model');
    expect(code).toBe(65);
    expect(stderr).toContain(message);
    expect(await readdir(folder)).toEqual(['prompts.jsonl']);
  });

  it('answers a file without lines with none', async () => {
    await write('');
    expect(await run('out=echo')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0 requests/) });
    expect(await readFile(join(folder, 'output.jsonl'), 'utf8')).toBe('');
  });

  it('ends with an error when the disk is full', async () => {
    await write('{"text":"a"}\n'.repeat(3));
    await symlink('/dev/full', join(folder, 'output.jsonl'));
    expect(await run('out=echo')).toMatchObject({ code: 73, stderr: expect.stringContaining('error[E_ENOSPC]') });
    expect(await leftBehind()).toEqual([]);
  });

  it('rejects a file that is not there, and the file that it would write', async () => {
    expect(await run('out=echo')).toMatchObject({ code: 66 });
    await writeFile(join(folder, 'output.jsonl'), '{"text":"a"}');
    expect(await runCommand(['run', 'in=batch:output.jsonl', 'out=echo'], { cwd: folder })).toMatchObject({ code: 64 });
  });
});

describe('dynamo run in=http', () => {
  const chat = (url: string, model: string) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'good morning' }], max_tokens: 4 }),
    });

  it('serves the OpenAI API until SIGTERM', async () => {
    const command = startCommand(['run', 'in=http', 'out=echo', 'my-echo', '--http-port=0', '--json']);
    const { url, model } = await ready<{ url: string; model: string }>(command);
    expect(model).toBe('my-echo');
    const { choices } = (await (await chat(url, model)).json()) as { choices: { message: { content: string } }[] };
    expect(choices[0]?.message.content).toBe('good morning');
    command.signal('SIGTERM');
    expect(await command.exitCode).toBe(143);
    await expect(chat(url, model)).rejects.toThrow('fetch failed');
  });

  it('names the port that is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await waitFor('the server listens', () => server.listening);
    const { port } = server.address() as { port: number };
    const { code, stderr } = await runCommand(['run', 'in=http', 'out=echo', `--http-port=${port}`]);
    server.close();
    expect(code).toBe(69);
    expect(stderr).toContain(String(port));
  });

  it('routes by the mode of a flag', async () => {
    const args = ['run', 'in=http', 'out=mocker', MODEL, '--http-port=0', '--router-mode=kv', '--json'];
    const command = startCommand([...args, '--router-temperature=0.5', '--kv-cache-block-size=32']);
    const { url, model } = await ready<{ url: string; model: string }>(command);
    expect(model).toBe('model');
    expect((await chat(url, model)).status).toBe(200);
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
  });
});

describe('dynamo run in=dyn:// and out=dyn', () => {
  it('serve a worker and find it', async () => {
    const env = { DYN_FILE_KV: folder };
    const engine = ['--extra-engine-args', join(folder, 'engine.json')];
    await writeFile(join(folder, 'engine.json'), '{"speedup_ratio": 100}');
    const args = ['run', 'in=dyn://test.worker.generate', 'out=mocker', MODEL, '--json', ...engine];
    const worker = startCommand(args, { env });
    expect(await ready(worker)).toEqual({ endpoint: 'test.worker.generate', model: 'model' });

    const found = await runCommand(['run', 'out=dyn', '--max-tokens=3', '--json'], { env, input: 'Why?' });
    expect(found).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(found.stdout)).toMatchObject({ tokens_out: 3 });

    worker.signal('SIGTERM');
    expect(await worker.exitCode).toBe(143);
  });

  it('says that no model came', async () => {
    const options = { env: { DYN_FILE_KV: folder }, input: 'Why?' };
    const any = await runCommand(['run', 'out=dyn', '--ready-timeout-ms=300'], options);
    expect(any).toMatchObject({ code: 69, stderr: expect.stringContaining('no model within 300 ms') });
    const one = await runCommand(['run', 'out=dyn', 'some-model', '--ready-timeout-ms=300'], options);
    expect(one).toMatchObject({ code: 69, stderr: expect.stringContaining('no worker of some-model within 300 ms') });
  });
});

describe('dynamo run rejects', () => {
  it.each([
    [['in=x'], 64, "error[E_USAGE]: Invalid in= option 'x'"],
    [['out=x'], 64, "error[E_USAGE]: Invalid out= option 'x'"],
    [['out=mocker'], 64, 'out=mocker needs a model'],
    [['out=mocker', './nope'], 66, '/nope: no such model'],
    [['out=echo', '--tensor-parallel-size=2'], 64, 'out=echo does not use --tensor-parallel-size'],
    [['out=mocker', MODEL, '--context-length=9'], 64, 'out=mocker does not use --context-length'],
    [
      ['out=dyn', '--context-length=9'],
      64,
      "'--context-length' flag should only be used on the worker node, not on the ingress",
    ],
    [['out=echo', '--', '--flag'], 64, 'words after -- go to a Python engine'],
    [['in=http', '--tls-cert-path=x'], 64, 'expected --tls-cert-path and --tls-key-path together'],
    [['out=echo', '--router-temperature=1'], 64, '--router-temperature needs --router-mode kv'],
    [['out=mocker', MODEL, '--extra-engine-args=nope.json'], 66, 'nope.json: no such file'],
    [['out=mocker', MODEL, '--extra-engine-args=README.md'], 65, 'README.md: expected JSON'],
    [['in=batch:nope.jsonl'], 66, 'nope.jsonl: no such file'],
    [['in=batch:README.md/nope.jsonl'], 66, 'error[E_NO_INPUT]: ROOT/README.md/nope.jsonl: no such file'],
    [['in=batch:test'], 66, 'error[E_NO_INPUT]: ROOT/test: expected a file, got a folder'],
    [['in=batch:.'], 66, 'error[E_NO_INPUT]: ROOT: expected a file, got a folder'],
    [['in=batch:/dev/null'], 66, 'error[E_NO_INPUT]: /dev/null: expected a file, got a device'],
    [
      ['out=mocker', MODEL, '--extra-engine-args=test'],
      66,
      'error[E_BAD_FILE]: ROOT/test: expected a file, got a folder',
    ],
    [['out=js:test'], 66, 'error[E_NO_ENGINE]: ROOT/test: expected a file, got a folder'],
    [['out=js:nope.ts'], 66, 'nope.ts: no such file'],
    [[`out=js:${ENGINES}`], 65, "has no export 'default'; it has "],
    [[`out=js:${ENGINES}#notAnEngine`], 65, "expected 'notAnEngine' to be an LLMEngine, with start and generate"],
    [[`out=js:${ENGINES}#unstartable`], 1, 'the weights are missing'],
  ])('%j with exit code %d', async (args, code, message) => {
    const result = await runCommand(['run', ...args], { input: 'Why?' });
    expect(result).toMatchObject({
      code,
      stdout: '',
      stderr: expect.stringContaining(message.replace('ROOT', resolve(root))),
    });
    expect(await leftBehind()).toEqual([]);
  });

  it.each([
    ['mocker', [], 'config.json'],
    [`js:${ENGINES}#SlowEngine`, [], 'config.json'],
    ['mocker', ['config.json', 'tokenizer_config.json'], 'tokenizer.json'],
  ])('out=%s with a folder of %j, which lacks a file of a model', async (engine, files, missing) => {
    for (const name of files) await copyFile(join(MODEL, name), join(folder, name));
    const { code, stderr } = await runCommand(['run', `out=${engine}`, folder], { input: 'Why?' });
    expect(code).toBe(66);
    expect(stderr).toContain(`error[E_NO_MODEL]: ${folder}: expected a model, but there is no ${missing}`);
    expect(await leftBehind()).toEqual([]);
  });

  it('a file as the model', async () => {
    const { code, stderr } = await runCommand(['run', 'out=mocker', './README.md'], { input: 'Why?' });
    expect(code).toBe(66);
    expect(stderr).toContain(
      `error[E_NO_MODEL]: ${join(root, 'README.md')}: expected the folder of a model, got a file`,
    );
  });
});
