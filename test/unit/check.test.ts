import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkInstance } from '../../lib/check.js';
import { root } from '../helpers/project.js';

class Graph {}

/** What another copy of a module has under the same name. */
const another = (): object => new (class Graph {})();

describe('checkInstance', () => {
  it('accepts an object of the class or of one below it', () => {
    expect(() => checkInstance('x', new Graph(), Graph)).not.toThrow();
    expect(() => checkInstance('x', new (class Below extends Graph {})(), Graph)).not.toThrow();
  });

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['Graph', '"Graph"'],
    [Graph, 'a function'],
    [{ constructor: undefined }, 'an object'],
    [Object.create(null), 'an object'],
    [new Map(), 'an object of Map'],
  ])('rejects %s', (value, got) => {
    expect(() => checkInstance('x', value, Graph)).toThrow(new TypeError(`x: expected an object of Graph, got ${got}`));
  });

  it('says of another class with the same name that it is another one', () => {
    expect(() => checkInstance('startService graph', another(), Graph)).toThrow(
      new TypeError('startService graph: expected an object of Graph, got an object of another class of this name'),
    );
  });

  it('names the folders of all copies of the package that the process has loaded', async () => {
    const specifier: string = '../../lib/check.js?copy';
    const copy = (await import(/* @vite-ignore */ specifier)) as { checkInstance: typeof checkInstance };
    expect(copy.checkInstance).not.toBe(checkInstance);
    for (const check of [checkInstance, copy.checkInstance])
      expect(() => check('x', another(), Graph)).toThrow(
        expect.objectContaining({
          message:
            'x: expected an object of Graph, got an object of another class of this name. ' +
            `This process has loaded dynamo-node 2 times, from ${resolve(root)}. It can use one copy only`,
        }),
      );
  });
});
