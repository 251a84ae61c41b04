import { badArgument } from '../errors.js';
import type { RequestContext } from '../runtime/context.js';
import { defineEndpoint, type EndpointOptions } from './endpoint-definition.js';
import {
  bindClass,
  boundService,
  type Hook,
  type HookKind,
  notesOf,
  Service,
  type ServiceLike,
  serviceOf,
} from './service.js';
import { constructWith } from './service-context.js';
import type { ServiceOptions } from './service-options.js';

// The compilers' output reads it when a decorated class is defined. No Node.js up to 26 has it.
(Symbol as { metadata?: symbol }).metadata ??= Symbol.for('Symbol.metadata');

/** @inline */
type Constructor = new () => object;
/** @inline */
type Method = (...args: never[]) => unknown;

/** Calls a method of an instance, also a private one or one of a subclass. */
const caller =
  (context: ClassMethodDecoratorContext) =>
  (self: unknown, ...args: unknown[]): unknown =>
    (context.access.get(self) as (...args: unknown[]) => unknown).apply(self, args);

/** Adds an item, or puts it where a parent class has one for the same method. */
function replace<Item>(items: Item[], item: Item, isSame: (one: Item) => boolean): void {
  const index = items.findIndex(isSame);
  items.splice(index === -1 ? items.length : index, 1, item);
}

/**
 * Declares a class as a service. The host of the service constructs it without arguments.
 *
 * @throws TypeError, RangeError for a wrong option
 * @throws TypeError if the class has the decorator already
 */
export function service(options: ServiceOptions & { readonly implements?: readonly ServiceLike[] } = {}) {
  return <Class extends Constructor>(type: Class, context: ClassDecoratorContext<Class>): void => {
    const path = `@service ${type.name}`;
    if (boundService(type) !== undefined)
      throw badArgument(new TypeError(`${path}: service() decorator can only be applied once`));
    const { implements: interfaces = [], ...rest } = options;
    const create = (host: Parameters<typeof constructWith>[0]) => constructWith(host, () => new type());
    const parts = { ...notesOf('service', context), program: { kind: 'code', create } as const };
    const fulfilled = interfaces.map((one) => serviceOf(`${path} options.implements`, one));
    const made = new Service(path, { name: type.name, ...rest }, { ...parts, interfaces: fulfilled });
    checkInterfaces(type, made);
    bindClass(type, made);
  };
}

function checkInterfaces(type: Constructor, { name, missing }: Service): void {
  const isMethod = (property: string): boolean =>
    typeof (type.prototype as Record<string, unknown>)[property] === 'function';
  const kinds = [
    ['missing implementation(s)', missing.filter((property) => !isMethod(property))],
    ['method(s) not decorated with @endpoint', missing.filter(isMethod)],
  ] as const;
  const faults = kinds.filter(([, found]) => found.length > 0).map(([kind, found]) => `${kind}: ${found.join(', ')}`);
  if (faults.length > 0) throw badArgument(new TypeError(`${name} violates Dynamo interface - ${faults.join('; ')}`));
}

/**
 * Declares a method as an endpoint. A generator answers with a stream, any other method with one value.
 *
 * @throws TypeError, RangeError for a wrong option
 */
// biome-ignore lint/suspicious/noExplicitAny: without a schema the method says what it accepts.
export function endpoint<Input = any, Output = Input>(options: EndpointOptions<Input, Output> = {}) {
  return (
    method: (request: Output, context: RequestContext) => unknown,
    context: ClassMethodDecoratorContext,
  ): void => {
    const call = caller(context);
    const invoke = (self: unknown, request: unknown, _: unknown, of: RequestContext) => call(self, request, of);
    const property = String(context.name);
    const defined = defineEndpoint(`@endpoint ${property}`, property, options as EndpointOptions, method, invoke);
    replace(notesOf('endpoint', context).endpoints, defined, (one) => one.property === property);
  };
}

/** Declares a method as an endpoint of HTTP only. */
// biome-ignore lint/suspicious/noExplicitAny: as for `endpoint`.
export const api = <Input = any, Output = Input>(options: Omit<EndpointOptions<Input, Output>, 'transports'> = {}) =>
  endpoint<Input, Output>({ ...options, transports: ['http'] });

const hook = (kind: HookKind, decorator: string) => () => {
  return (_: Method, context: ClassMethodDecoratorContext): void => {
    const call = caller(context);
    const name = String(context.name);
    const isSame = (one: Hook): boolean => one.kind === kind && one.name === name;
    replace(notesOf(decorator, context).hooks, { kind, name, call: (self) => call(self) }, isSame);
  };
};

/** Runs a method before the endpoints are served. Several run in the order of the class. */
export const onStart = hook('start', 'onStart');
/** Runs a method when the service ends, after its last request. */
export const onShutdown = hook('shutdown', 'onShutdown');
/** The service is alive while the method returns true. It is restarted if not. */
export const liveness = hook('liveness', 'liveness');
/** The service is ready for requests while the method returns true. */
export const readiness = hook('readiness', 'readiness');

/**
 * Declares an abstract class as an interface of services. A graph must link a service that has it among its
 * `implements`. Decorators cannot stand on abstract methods, so the endpoints are named here.
 */
export function serviceInterface(options: { readonly name?: string; readonly endpoints: readonly string[] }) {
  return (type: abstract new () => object): void => {
    const path = `@serviceInterface ${type.name}`;
    const { name = type.name, endpoints: names } = options;
    const endpoints = names.map((one) => defineEndpoint(path, one, { stream: true }, undefined, abstractCall));
    bindClass(type, new Service(path, { name }, { program: { kind: 'abstract' }, endpoints }));
  };
}

function abstractCall(): never {
  throw new Error('an abstract endpoint has no handler');
}
