import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';

import { LogFile, oldLogFile } from '../../../lib/deploy/local/log-file.js';
import { LineSplitter } from '../../../lib/deploy/local/log-lines.js';
import { descriptorOutput, LogOutput } from '../../../lib/deploy/local/log-output.js';
import { LogReader } from '../../../lib/deploy/local/log-reader.js';

const folder = mkdtempSync(join(tmpdir(), 'logs-'));
afterAll(() => rmSync(folder, { recursive: true }));
const ignore = (): void => {};

describe('descriptorOutput', () => {
  it('writes again what the descriptor did not accept, without a thread that waits', async () => {
    const written: string[] = [];
    const faults = ['EAGAIN', 'ENOBUFS'];
    type Done = (error: Error | null, count: number) => void;
    const write = (_: number, chunk: Buffer, from: number, length: number, __: null, done: Done) => {
      const code = faults.shift();
      if (code !== undefined) return setImmediate(done, Object.assign(new Error(code), { code }), 0);
      const count = Math.min(4, length);
      written.push(chunk.toString('utf8', from, from + count));
      setImmediate(done, null, count);
    };
    const out = descriptorOutput(1, write as never);
    await new Promise((resolve) => out.end('moved in', resolve as () => void));
    expect(written).toEqual(['move', 'd in']);
  });
});

describe('LineSplitter', () => {
  const split = (parts: readonly (string | Buffer)[], max?: number): string[] => {
    const splitter = new LineSplitter(max);
    return [...parts.flatMap((part) => splitter.push(Buffer.from(part as string))), ...splitter.end()];
  };

  it('returns lines over chunks, and the last one without an end', () => {
    expect(split(['a\nb', 'c\r\n\nd'])).toEqual(['a', 'bc', '', 'd']);
    expect(split(['a\n'])).toEqual(['a']);
  });

  it('returns a character whose bytes are in two chunks', () => {
    const bytes = Buffer.from('ü\n');
    expect(split([bytes.subarray(0, 1), bytes.subarray(1)])).toEqual(['ü']);
  });

  it('cuts a long line off, and says how much', () => {
    expect(split(['12345', '67', '\nok\n'], 4)).toEqual(['1234… (3 characters cut off)', 'ok']);
  });

  it('keeps no more of an endless line than its limit', () => {
    const splitter = new LineSplitter(8);
    for (let index = 0; index < 1000; index++) expect(splitter.push(Buffer.alloc(1000, 'x'))).toEqual([]);
    expect(splitter.end()).toEqual(['xxxxxxxx… (999992 characters cut off)']);
  });
});

describe('LogFile', () => {
  it('puts a full file aside and keeps one', () => {
    const path = join(folder, 'full', 'a.log');
    const file = new LogFile(path, ignore, 100);
    for (let index = 0; index < 10; index++) file.write(`${String(index).repeat(59)}\n`);
    file.close();
    expect([path, oldLogFile(path)].map((name) => statSync(name).size)).toEqual([0, 120]);
  });

  it('reports once that it cannot be written, and goes on', () => {
    const faults: string[] = [];
    const file = new LogFile('/dev/full', (message) => faults.push(message));
    file.write('a\n');
    file.write('b\n');
    expect(faults).toEqual([expect.stringMatching(/^\/dev\/full: no further log lines are written \(ENOSPC/)]);
  });
});

describe('LogReader', () => {
  it('returns the lines with their times, then those that were added, also over a change of the file', () => {
    const path = join(folder, 'read.log');
    const file = new LogFile(path, ignore, 40);
    const reader = new LogReader(path);
    expect(reader.read()).toEqual([]);
    file.write('t1 first line of many\nt2 second line of many\n');
    expect(reader.read()).toEqual([
      ['t1', 'first line of many'],
      ['t2', 'second line of many'],
    ]);
    file.write('t3 third\n');
    expect(reader.read()).toEqual([['t3', 'third']]);
    file.write('t4 fourth that fills the file again\n');
    file.write('t5 fifth\n');
    expect(reader.read()).toEqual([
      ['t4', 'fourth that fills the file again'],
      ['t5', 'fifth'],
    ]);
    appendFileSync(path, 't6 half');
    expect(reader.read()).toEqual([]);
    appendFileSync(path, ' whole\n');
    expect(reader.read()).toEqual([['t6', 'half whole']]);
    file.close();
  });
});

describe('LogOutput', () => {
  it('copies lines with their prefix, and waits for a slow reader', async () => {
    const written: string[] = [];
    let next: (() => void) | undefined;
    const out = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _, done) {
        written.push(chunk.toString());
        next = done;
      },
    });
    const file = new LogFile(join(folder, 'copy.log'), ignore);
    const copied = new LogOutput(out).copy(Readable.from([Buffer.from('a\nb'), Buffer.from('\nc')]), '[S#0] ', file);
    const steps: string[][] = [];
    while (await Promise.race([copied.then(() => false), new Promise((resolve) => setImmediate(resolve, true))])) {
      steps.push([...written]);
      next?.();
    }
    file.close();
    expect(written).toEqual(['[S#0] a\n', '[S#0] b\n', '[S#0] c\n']);
    expect(steps[0]?.length).toBeLessThan(3);
  });

  it('goes on without a reader, and reports that once', async () => {
    let lost = 0;
    const out = new Writable({ write: (_, __, done) => done(new Error('EPIPE')) });
    const output = new LogOutput(out, () => lost++);
    await output.write('a\n');
    await new Promise((resolve) => setImmediate(resolve));
    await output.write('b\n');
    expect(lost).toBe(1);
  });
});
