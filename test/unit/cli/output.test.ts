import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { CommandIo } from '../../../lib/cli/command.js';
import { clipped, printFailure, printJson, styled, tableLines, widthOf, wrapped } from '../../../lib/cli/output.js';

const io = (more: Partial<CommandIo> = {}): CommandIo => ({
  stdin: new PassThrough(),
  stdout: new PassThrough(),
  stderr: new PassThrough(),
  env: {},
  cwd: '/',
  isTerminal: true,
  columns: 40,
  onSignal: () => () => {},
  ...more,
});

describe('output', () => {
  it('has colours on a terminal only, and none with $NO_COLOR or a dumb terminal', () => {
    expect(styled(io(), 'red', 'x')).toBe('\x1b[31mx\x1b[0m');
    for (const plain of [{ isTerminal: false }, { env: { NO_COLOR: '1' } }, { env: { TERM: 'dumb' } }])
      expect(styled(io(plain), 'red', 'x')).toBe('x');
  });

  it('counts seen characters', () => {
    expect(widthOf('\x1b[31mgrün\x1b[0m')).toBe(4);
    expect(widthOf('🙂')).toBe(1);
  });

  it('removes control characters from failures, whose texts may be those of a server or a file', async () => {
    const stderr = new PassThrough();
    const texts = { message: 'one\x1b]0;title\x07\ntwo', path: '/a\x9bb', hint: 'do\rthis' };
    printFailure(io({ stderr, isTerminal: false }), { code: 'E_USAGE', exitCode: 64, ...texts }, false);
    stderr.end();
    expect(await text(stderr)).toBe(
      'error[E_USAGE]: one\ufffd]0;title\ufffd\ntwo\n  at: /a\ufffdb\n  hint: do\ufffdthis\n',
    );
  });

  it('clips text with an ellipsis', () => {
    expect(clipped('abcdef', 6)).toBe('abcdef');
    expect(clipped('abcdefg', 6)).toBe('abcde…');
  });

  it('aligns columns, and clips lines at the edge of a terminal', () => {
    const rows = [
      ['a', 'x'.repeat(50)],
      ['bbb', 'y'],
    ];
    expect(tableLines(io(), rows, ['N', 'TEXT'])).toEqual(['N    TEXT', `a    ${'x'.repeat(34)}…`, 'bbb  y']);
    expect(tableLines(io({ isTerminal: false }), rows)[0]).toBe(`a    ${'x'.repeat(50)}`);
    expect(tableLines(io(), [])).toEqual([]);
  });

  it('wraps text at the edge of a terminal only', () => {
    const text = 'one two three four five six seven';
    expect(wrapped(io(), text, 20)).toEqual(['one two three four', `${' '.repeat(20)}five six seven`]);
    expect(wrapped(io({ isTerminal: false }), text, 20)).toEqual([text]);
    expect(wrapped(io({ columns: 5 }), text, 20)).toHaveLength(3);
  });

  it('writes a bigint as text in JSON', () => {
    const stdout = new PassThrough();
    printJson(io({ stdout }), { id: 2n ** 63n });
    expect(String(stdout.read())).toBe('{"id":"9223372036854775808"}\n');
  });
});
