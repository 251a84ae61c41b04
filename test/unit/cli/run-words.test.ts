import { describe, expect, it } from 'vitest';
import { parseWords } from '../../../lib/cli/run-words.js';

describe('the words of dynamo run', () => {
  it.each([
    [[], true, { input: { kind: 'text' }, output: { kind: 'echo' } }],
    [[], false, { input: { kind: 'stdin' }, output: { kind: 'echo' } }],
    [['out=mocker', './m', 'in=http'], true, { input: { kind: 'http' }, output: { kind: 'mocker' }, model: './m' }],
    [['in=batch:a=b.jsonl'], true, { input: { kind: 'batch', file: 'a=b.jsonl' }, output: { kind: 'echo' } }],
    [['in=none'], true, { input: { kind: 'worker', endpoint: 'dynamo.backend.generate' }, output: { kind: 'echo' } }],
    [['in=dyn://a.b.c'], true, { input: { kind: 'worker', endpoint: 'a.b.c' }, output: { kind: 'echo' } }],
    [['in=dyn://a.b'], true, { input: { kind: 'worker', endpoint: 'a.b.generate' }, output: { kind: 'echo' } }],
    [['in=dyn://a'], true, { input: { kind: 'worker', endpoint: 'a.backend.generate' }, output: { kind: 'echo' } }],
    [['in=text', 'out=dyn'], false, { input: { kind: 'text' }, output: { kind: 'dyn' } }],
    [['in=text', 'out=auto'], false, { input: { kind: 'text' }, output: { kind: 'dyn' } }],
    [['out=echo_full'], true, { input: { kind: 'text' }, output: { kind: 'echo' } }],
    [['out=vllm', 'a/b'], true, { output: { kind: 'python', engine: 'vllm' }, model: 'a/b' }],
    [['out=js:a.ts'], true, { output: { kind: 'js', file: 'a.ts', exportName: undefined } }],
    [['out=js:a.ts#E'], true, { output: { kind: 'js', file: 'a.ts', exportName: 'E' } }],
  ])('returns what %j means', (words, isTerminal, expected) => {
    expect(parseWords(words, isTerminal)).toMatchObject(expected);
  });

  it('returns an endpoint in the given namespace', () => {
    expect(parseWords(['in=none'], true, 'other').input).toEqual({
      kind: 'worker',
      endpoint: 'other.backend.generate',
    });
  });

  it.each([
    [['in=x'], "Invalid in= option 'x'"],
    [['in='], "Invalid in= option ''"],
    [['in=batch:'], "Invalid in= option 'batch:'"],
    [['out=x'], "Invalid out= option 'x'"],
    [
      ['out=llama'],
      'out=llama: Dynamo 1.6.1 has no engine for llama.cpp, neither in its crates nor in its Python package',
    ],
    [['out=js:'], "Invalid out= option 'js:'"],
    [['out=mistralrs'], 'out=mistralrs: Dynamo 1.6.1 has no engine for mistral.rs'],
    [['out=llamacpp'], 'out=llamacpp: Dynamo 1.6.1 has no engine for llama.cpp'],
    [['in=dyn://a.b.c.d'], 'in=dyn://a.b.c.d: expected namespace.component.endpoint, got "a.b.c.d"'],
    [['in=dyn://a.B.c'], 'component name: expected a name of a-z, 0-9, - and _, got "B"'],
    [['in=none', 'out=dyn'], 'in=none out=dyn: a worker needs its own engine'],
    [['in=text', 'in=http'], 'expected in= once, got text and http'],
    [['a', 'b'], 'expected one model, got a and b'],
    [['foo=bar'], 'expected in=, out= or a model, got foo=bar'],
  ])('rejects %j with a usage error', (words, message) => {
    expect(() => parseWords(words, true)).toThrow(
      expect.objectContaining({ code: 'E_USAGE', exitCode: 64, message: expect.stringContaining(message) }),
    );
  });
});
