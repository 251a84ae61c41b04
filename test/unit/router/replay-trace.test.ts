import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkTrace } from '../../../lib/router/replay-trace.js';

let folder: string;
let count = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'replay-trace-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const row = (more: object = {}): string =>
  JSON.stringify({ timestamp: 5, input_length: 1000, output_length: 10, hash_ids: [1, 2], ...more });

function written(content: string | Uint8Array): string {
  const path = join(folder, `${count++}.jsonl`);
  writeFileSync(path, content);
  return path;
}

describe('checkTrace', () => {
  it.each([
    ['rows in any order, and empty lines', `${row()}\r\n\n${row({ timestamp: 1 })}`],
    ['rows without times and lengths', row({ timestamp: undefined, input_length: null })],
    [
      'the names of other recorders',
      row({ input_length: undefined, input_tokens: 7, timestamp: undefined, created_time: 1 }),
    ],
    ['hashes of 64 bits', `{"output_length": 1, "hash_ids": [18446744073709549568, 0]}`],
    [
      'sessions',
      `${row({ session_id: 'a' })}\n${row({ session_id: 'a', timestamp: 9 })}\n${row({ session_id: 'a', delay: 3 })}`,
    ],
  ])('accepts %s', async (_, content) => {
    await expect(checkTrace(written(content), 512)).resolves.toBeUndefined();
  });

  it.each([
    ['an empty file', '', ': expected at least one request, got none'],
    ['a binary file', new Uint8Array([0, 255, 10, 7]), ':1: expected a JSON object, got "'],
    ['a line that is no object', `${row()}\n[]`, ':2: expected an object, got an empty array'],
    ['no hash ids', row({ hash_ids: undefined }), ':1 hash_ids: expected an array of block hashes, got undefined'],
    ['hash ids of text', row({ hash_ids: ['x'] }), ':1 hash_ids: expected integers of 64 bits, got "x"'],
    ['no output length', row({ output_length: null }), ':1 output_length: expected an integer, got undefined'],
    ['a fraction of a token', row({ input_length: 1.5 }), ':1 input_length: expected an integer from 1'],
    [
      'a prompt without its blocks',
      row({ input_length: 1025 }),
      ':1 input_length: expected at most 1024, 2 hash_ids of 512, got 1025',
    ],
    ['a length by two names', row({ input_tokens: 4 }), ':1: expected input_length or input_tokens, got both'],
    [
      'an endless time',
      '{"timestamp": 1e400, "output_length": 1, "hash_ids": [1]}',
      ':1 timestamp: expected a finite number',
    ],
    ['a delay without a session', row({ delay: 4 }), ':1 delay: expected 0 for the first request of a session, got 4'],
    [
      'a session that goes back',
      `${row({ session_id: 'a' })}\n${row({ session_id: 'a', timestamp: 4 })}`,
      ':2 timestamp: expected at least 5',
    ],
  ])('rejects %s with the file and the line', async (_, content, message) => {
    const path = written(content);
    await expect(checkTrace(path, 512)).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      reason: 'replay.bad_trace',
      message: expect.stringContaining(`${path}${message}`) as string,
    });
  });

  it('rejects a file that is not there, and a folder', async () => {
    const path = join(folder, 'none.jsonl');
    await expect(checkTrace(path, 512)).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      reason: 'replay.no_trace',
      message: expect.stringContaining(`${path}: expected a trace that can be read: ENOENT`) as string,
    });
    await expect(checkTrace(folder, 512)).rejects.toThrow(`${folder}: expected a file, got a folder`);
  });
});
