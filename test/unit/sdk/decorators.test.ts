import {
  api,
  type ClientOf,
  depends,
  endpoint,
  graph,
  liveness,
  onShutdown,
  onStart,
  readiness,
  service,
  serviceContext,
  serviceInterface,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';

import { type Service, serviceOf } from '../../../lib/sdk/service.js';
import { constructWith } from '../../../lib/sdk/service-context.js';
import { contextOf, itemsOf, selfOf } from '../../helpers/sdk/context.js';

const endpointsOf = (type: object) => serviceOf('test', type).endpoints.map(({ property, name }) => [property, name]);
const hooksOf = (type: object) => serviceOf('test', type).hooks.map(({ kind, name }) => [kind, name]);

/** An instance as the host makes it. */
async function made(type: object, context = contextOf()): Promise<{ one: Service; self: unknown }> {
  const one = serviceOf('test', type);
  return { one, self: await selfOf(one, context) };
}

@service()
class Words {
  @endpoint()
  async *splitText(text: string) {
    yield* text.split(' ');
  }

  @endpoint({ name: 'count' })
  async countOf(text: string) {
    return text.split(' ').length;
  }

  @api({ httpMethod: 'GET', name: 'words/all' })
  async all() {
    return [];
  }
}

describe('@service', () => {
  it('takes the name of the class, and the component in lower case', () => {
    const { name, component, namespace, role, workers, isAbstract } = serviceOf('test', Words);
    expect({ name, component, namespace, role, workers, isAbstract }).toEqual({
      name: 'Words',
      component: 'words',
      namespace: 'dynamo',
      role: 'worker',
      workers: 1,
      isAbstract: false,
    });
  });

  it('takes options over the name of the class', () => {
    @service({ name: 'Other-Name', component: 'other_words', namespace: 'staging', role: 'prefill', workers: 3 })
    class Named {}
    expect(serviceOf('test', Named)).toMatchObject({
      name: 'Other-Name',
      component: 'other_words',
      namespace: 'staging',
      role: 'prefill',
      workers: 3,
    });
  });

  it('rejects a second application with TypeError', () => {
    expect(() => {
      @service()
      @service()
      class Twice {}
      return Twice;
    }).toThrow(new TypeError('@service Twice: service() decorator can only be applied once'));
  });

  it.each<[object, string]>([
    [{ name: 'a_b' }, 'name: expected letters, digits and hyphens, at most 63, no hyphen at an end, got "a_b"'],
    [{ name: 'x'.repeat(64) }, 'name: expected letters, digits and hyphens, at most 63'],
    [{ component: 'Upper' }, 'component: expected a name of a-z'],
    [{ namespace: 'a.b' }, 'namespace: expected a name of a-z'],
    [{ workers: -1 }, 'workers: expected an integer from 0'],
    [{ role: 'boss' }, 'role: expected one of frontend, worker, prefill, decode, planner, got "boss"'],
    [{ resources: { cpu: '3cores' } }, "resources.cpu: expected a CPU amount like '3' or '300m', got \"3cores\""],
    [{ resources: { memory: '1 GB' } }, "resources.memory: expected a memory amount like '10Gi' or '1024Mi'"],
    [{ resources: { gpu: 1.5 } }, 'resources.gpu: expected a whole number of GPUs, or a fraction below 1, got 1.5'],
    [{ resources: { gpus: 1 } }, 'resources.gpus: unknown option; known are cpu, memory, gpu'],
    [{ env: { A: 1 } }, 'env.A: expected a string, got 1'],
    [{ config: {} }, 'config: expected a Standard Schema, such as one of zod, got an object'],
    [{ worker: 2 }, 'worker: unknown option'],
  ])('rejects %j with TypeError or RangeError', (options, message) => {
    expect(() => {
      @service(options)
      class Wrong {}
      return Wrong;
    }).toThrow(`@service Wrong.${message}`);
  });

  it('rejects the call of an older compiler, and names the flag', () => {
    const message = 'expected a standard decorator; remove experimentalDecorators from the compiler options';
    class Plain {}
    expect(() => (service() as (type: unknown) => void)(Plain)).toThrow(`@service: ${message}`);
    const old = (decorator: unknown) => () =>
      (decorator as (target: object, name: string, descriptor: object) => void)(Plain.prototype, 'method', {});
    expect(old(endpoint())).toThrow(`@endpoint: ${message}`);
    expect(old(onStart())).toThrow(`@onStart: ${message}`);
    expect(old(depends(Words))).toThrow(`@depends: ${message}`);
  });
});

describe('@endpoint', () => {
  it('makes the name of the method a name of Dynamo', () => {
    @service()
    class Names {
      @endpoint() async *embedText() {}
      @endpoint() async *readURLNow() {}
      @endpoint() async *HTTPGet() {}
      @endpoint() async *v2Chat() {}
      @endpoint() async *plain() {}
    }
    expect(endpointsOf(Names)).toEqual([
      ['embedText', 'embed_text'],
      ['readURLNow', 'read_url_now'],
      ['HTTPGet', 'http_get'],
      ['v2Chat', 'v2_chat'],
      ['plain', 'plain'],
    ]);
  });

  it('streams if the method is a generator', () => {
    const streams = serviceOf('test', Words).endpoints.map(({ property, stream }) => [property, stream]);
    expect(streams).toEqual([
      ['splitText', true],
      ['countOf', false],
      ['all', false],
    ]);
  });

  it('is only for HTTP as @api', () => {
    expect(serviceOf('test', Words).endpoints[2]).toMatchObject({
      name: 'words/all',
      transports: ['http'],
      httpMethod: 'GET',
    });
  });

  it('calls the method of the instance', async () => {
    const { one, self } = await made(Words);
    const [split, count] = one.endpoints;
    expect(await itemsOf(split!.call(self, 'a b', contextOf(), undefined as never))).toEqual(['a', 'b']);
    expect(await count!.call(self, 'a b c', contextOf(), undefined as never)).toBe(3);
  });

  it.each<[string, object, string]>([
    ['a name of upper case', { name: 'Count' }, 'name: expected a name of a-z, 0-9, - and _, got "Count"'],
    ['a path as a name of Dynamo', { name: 'chat/completions' }, 'name: expected a name of a-z'],
    ['a path out of the server', { name: '../x', transports: ['http'] }, "name: expected letters, digits, '_' and '-'"],
    ['no transport', { transports: [] }, 'transports: expected at least one transport, got an empty array'],
    ['an unknown transport', { transports: ['grpc'] }, 'transports[0]: expected one of dynamo, http, got "grpc"'],
    [
      'a method without HTTP',
      { httpMethod: 'GET' },
      'httpMethod: expected no HTTP method for an endpoint without the transport http, got "GET"',
    ],
    ['no concurrency', { concurrency: 0 }, 'concurrency: expected an integer from 1'],
    ['a schema that is none', { input: { parse: () => 1 } }, 'input: expected a Standard Schema'],
    ['an unknown option', { method: 'GET' }, 'method: unknown option'],
  ])('rejects %s', (_, options, message) => {
    expect(() => {
      class Wrong {
        @endpoint(options) async *run() {}
      }
      return Wrong;
    }).toThrow(`@endpoint run.${message}`);
  });

  it('rejects two endpoints with one name, and a static method, with TypeError', () => {
    expect(() => {
      @service()
      class Double {
        @endpoint({ name: 'run' }) async *one() {}
        @endpoint({ name: 'run' }) async *two() {}
      }
      return Double;
    }).toThrow("@service Double: expected endpoints with different names, got two named 'run'");
    expect(() => {
      class Static {
        readonly name = 'static';
        @endpoint() static async *run() {}
      }
      return Static;
    }).toThrow('@endpoint: expected a member of instances, got static run');
  });
});

describe('hooks', () => {
  it('run in the order of the class, also private ones', async () => {
    const calls: string[] = [];
    @service()
    class Hooked {
      readonly #name = 'hooked';
      @onStart() first() {
        calls.push(`${this.#name} first`);
      }
      // @ts-expect-error: the compiler does not count the decorator as a use
      // biome-ignore lint/correctness/noUnusedPrivateClassMembers: the host calls it.
      @onStart() #second() {
        calls.push(`${this.#name} second`);
      }
      @onShutdown() last() {
        calls.push('last');
      }
      @liveness() live() {
        return true;
      }
      @readiness() ready() {
        return false;
      }
    }
    expect(hooksOf(Hooked)).toEqual([
      ['start', 'first'],
      ['start', '#second'],
      ['shutdown', 'last'],
      ['liveness', 'live'],
      ['readiness', 'ready'],
    ]);
    const { one, self } = await made(Hooked);
    const results = one.hooks.map(({ call }) => call(self, contextOf()));
    expect(calls).toEqual(['hooked first', 'hooked second', 'last']);
    expect(results.slice(3)).toEqual([true, false]);
  });
});

describe('inheritance', () => {
  class Base {
    @endpoint() async *generate(): AsyncGenerator<string> {
      yield 'base';
    }
    @endpoint() async *other() {
      yield 'other';
    }
    @onStart() begin(): string {
      return 'base';
    }
  }

  it('gives a class the endpoints, hooks and dependencies of its parent', async () => {
    @service()
    class Parent extends Base {
      @depends(Words) readonly words!: ClientOf<Words>;
    }
    @service()
    class Child extends Parent {
      @endpoint() async *more() {}
    }
    expect(endpointsOf(Child).map(([property]) => property)).toEqual(['generate', 'other', 'more']);
    expect(endpointsOf(Parent).map(([property]) => property)).toEqual(['generate', 'other']);
    expect([...serviceOf('test', Child).dependencies.keys()]).toEqual(['words']);
    expect(graph('g', Child).services.map(({ name }) => name)).toEqual(['Words', 'Child']);
    const { self } = await made(Child, contextOf({ clients: { words: 'the client' } }));
    expect((self as { words: unknown }).words).toBe('the client');
  });

  it('calls the method of the child, whether it is decorated again or not', async () => {
    @service()
    class Plain extends Base {
      override async *generate() {
        yield 'plain';
      }
      override begin() {
        return 'plain';
      }
    }
    @service()
    class Again extends Base {
      @endpoint({ concurrency: 2 }) override async *generate() {
        yield 'again';
      }
      @onStart() override begin() {
        return 'again';
      }
    }
    expect(endpointsOf(Again)).toEqual(endpointsOf(Plain));
    expect(hooksOf(Again)).toEqual([['start', 'begin']]);
    expect(serviceOf('test', Again).endpoints[0]).toMatchObject({ property: 'generate', concurrency: 2 });
    for (const [type, text] of [
      [Plain, 'plain'],
      [Again, 'again'],
    ] as const) {
      const { one, self } = await made(type);
      const items = one.endpoints[0]!.call(self, undefined, contextOf(), undefined as never);
      expect(await itemsOf(items)).toEqual([text]);
      expect(one.hooks[0]!.call(self, contextOf())).toBe(text);
    }
  });

  it('does not make a child a service without @service', () => {
    class Child extends Words {}
    expect(() => graph('g', Child)).toThrow('graph entry: expected a service, or a class with @service');
  });
});

describe('@depends', () => {
  it('gives the field its client, and undefined outside a host', async () => {
    @service()
    class Caller {
      @depends(Words) readonly words!: ClientOf<Words>;
    }
    const { self } = await made(Caller, contextOf({ clients: { words: 'the client' } }));
    expect((self as Caller).words).toBe('the client');
    expect(new Caller().words).toBeUndefined();
  });

  it('accepts a class that is declared later', () => {
    @service()
    class Early {
      @depends(() => Late) readonly late!: ClientOf<Late>;
    }
    @service()
    class Late {
      @endpoint() async *generate() {}
    }
    expect(graph('g', Early).services.map(({ name }) => name)).toEqual(['Late', 'Early']);
  });

  it('rejects what is no service with TypeError', () => {
    expect(() => depends(class Plain {})).toThrow('depends: expected a service, or a class with @service');
    expect(() => depends(undefined as never)).toThrow('depends: expected a service, or a class with @service');
    expect(() => depends(() => 3 as never).target()).toThrow('depends: expected a service, or a class with @service');
    expect(() => depends(Words, { mode: 'best' as never })).toThrow('depends options.mode: expected one of');
  });
});

describe('@serviceInterface', () => {
  @serviceInterface({ endpoints: ['generate', 'embedText'] })
  abstract class AnyWorker {
    abstract generate(text: string): AsyncIterable<string>;
    abstract embedText(text: string): AsyncIterable<number>;
  }

  it('is an abstract service with endpoints', () => {
    expect(serviceOf('test', AnyWorker)).toMatchObject({ name: 'AnyWorker', isAbstract: true });
    expect(endpointsOf(AnyWorker)).toEqual([
      ['generate', 'generate'],
      ['embedText', 'embed_text'],
    ]);
  });

  it('is fulfilled by a class that has all endpoints', () => {
    @service({ implements: [AnyWorker] })
    class Full extends AnyWorker {
      @endpoint() async *generate(text: string) {
        yield text;
      }
      @endpoint() async *embedText() {
        yield 1;
      }
    }
    expect(serviceOf('test', Full).fulfils(serviceOf('test', AnyWorker))).toBe(true);
    expect(serviceOf('test', Words).fulfils(serviceOf('test', AnyWorker))).toBe(false);
  });

  it('rejects a class that lacks endpoints with TypeError', () => {
    expect(() => {
      @service({ implements: [AnyWorker as never] })
      class Partial {
        async *embedText() {}
      }
      return Partial;
    }).toThrow(
      'Partial violates Dynamo interface - missing implementation(s): generate; ' +
        'method(s) not decorated with @endpoint: embedText',
    );
  });
});

describe('serviceContext', () => {
  it('returns the context of the service that is made', () => {
    const context = contextOf({ config: { greeting: 'hello' } });
    expect(constructWith(context, () => serviceContext<{ greeting: string }>().config.greeting)).toBe('hello');
  });

  it('returns the outer context after an inner construction, also one that throws', () => {
    const [outer, inner] = [contextOf({ worker: 1 }), contextOf({ worker: 2 })];
    const seen = constructWith(outer, () => {
      expect(() =>
        constructWith(inner, () => {
          throw new Error(`worker ${serviceContext().worker}`);
        }),
      ).toThrow('worker 2');
      return serviceContext().worker;
    });
    expect(seen).toBe(1);
  });

  it('rejects a call outside a construction', () => {
    expect(() => serviceContext()).toThrow('serviceContext: expected to be called while a service is made');
  });
});
