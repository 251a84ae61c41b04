import { describe, expect, it } from 'vitest';

import { ChildProcess, type CommandLine, programBeside } from '../../../lib/runtime/child-process.js';

const script = (code: string): CommandLine => [process.execPath, '-e', code];

describe('ChildProcess', () => {
  it('returns the lines of the output, also a last one without a newline', async () => {
    const lines: string[] = [];
    const child = ChildProcess.start(script("process.stdout.write('one\\ntwo\\u2028\\nthree')"), {
      onLine: (line) => lines.push(line),
    });
    expect(await child.ended).toEqual({ code: 0, signal: null, timedOut: false, errorText: '' });
    expect(lines).toEqual(['one', 'two\u2028', 'three']);
  });

  it('passes input, environment and working directory', async () => {
    const lines: string[] = [];
    const code = "console.log(process.env.ADDED, process.cwd(), require('fs').readFileSync(0, 'utf8'))";
    const child = ChildProcess.start(script(code), {
      env: { ADDED: 'yes' },
      cwd: '/',
      input: 'text',
      onLine: (line) => lines.push(line),
    });
    await child.ended;
    expect(lines).toEqual(['yes / text']);
  });

  it('reports the exit code and the end of the standard error', async () => {
    const child = ChildProcess.start(
      script("process.stderr.write('x'.repeat(9999) + 'the end\\n'); process.exitCode = 3"),
    );
    const { code, errorText } = await child.ended;
    expect(code).toBe(3);
    expect(errorText).toHaveLength(4095);
    expect(errorText).toMatch(/xthe end$/);
  });

  it('kills the process after timeoutMs', async () => {
    const child = ChildProcess.start(script('setInterval(() => {}, 1000)'), { timeoutMs: 50 });
    expect(await child.ended).toMatchObject({ code: null, signal: 'SIGKILL', timedOut: true });
  });

  it('kills the process when the signal is aborted, before or after the start', async () => {
    const controller = new AbortController();
    const child = ChildProcess.start(script('setInterval(() => {}, 1000)'), { signal: controller.signal });
    controller.abort();
    expect(await child.ended).toMatchObject({ signal: 'SIGKILL', timedOut: false });
    const late = ChildProcess.start(script('setInterval(() => {}, 1000)'), { signal: controller.signal });
    expect(await late.ended).toMatchObject({ signal: 'SIGKILL', timedOut: false });
  });

  it('exchanges messages with a Node.js program', async () => {
    const echo = "process.on('message', (message) => { process.send({ echo: message }); process.disconnect(); })";
    const received: unknown[] = [];
    const child = ChildProcess.start(script(echo), { onMessage: (message) => received.push(message) });
    child.send({ text: 'hello' });
    expect(await child.ended).toMatchObject({ code: 0 });
    expect(received).toEqual([{ echo: { text: 'hello' } }]);
    child.send('dropped');
  });

  it('stops a process with SIGTERM', async () => {
    const child = ChildProcess.start(script('setInterval(() => {}, 1000)'));
    expect(await child.stop(10_000)).toMatchObject({ signal: 'SIGTERM', timedOut: false });
  });

  it('kills a process that ignores SIGTERM', async () => {
    let started = (): void => {};
    const ready = new Promise<void>((resolve) => (started = resolve));
    const code = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('ready')";
    const child = ChildProcess.start(script(code), { onLine: () => started() });
    await ready;
    expect(await child.stop(50)).toMatchObject({ signal: 'SIGKILL', timedOut: false });
  });

  it('rejects if the program cannot be started', async () => {
    const child = ChildProcess.start(['/nowhere/program']);
    await expect(child.ended).rejects.toThrow(/ENOENT/);
    expect(child.pid).toBeUndefined();
  });
});

describe('programBeside', () => {
  it('names the program beside a module, with the loader of TypeScript for a .ts file', () => {
    expect(programBeside('file:///a/b.ts', 'c')).toEqual([process.execPath, '--import', 'tsx', '/a/c.ts']);
    expect(programBeside('file:///a/b.js', 'c')).toEqual([process.execPath, '/a/c.js']);
  });
});
