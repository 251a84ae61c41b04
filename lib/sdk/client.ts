import type { RequestOptions } from '../runtime/client-options.js';
import type { Instance } from '../runtime/instance.js';
import type { ResponseStream } from '../runtime/response.js';

/** @inline */
interface WaitOptions {
  /** The number of instances to wait for. @default 1 */
  readonly count?: number;
  /** @default no limit */
  readonly timeoutMs?: number;
}

/** What the clients of all endpoints have besides the call itself. */
export interface EndpointCalls {
  /** The instances that can be called now. */
  instances(): readonly Instance[];
  /** Resolves when enough instances can be called. */
  waitForInstances(options?: WaitOptions): Promise<readonly Instance[]>;
}

/** Calls an endpoint that answers with a stream. */
export interface StreamClient<Request, Item> extends EndpointCalls {
  (request: Request, options?: RequestOptions): ResponseStream<Item>;
  /** Sends the request to one instance. */
  direct(instanceId: bigint, request: Request, options?: RequestOptions): ResponseStream<Item>;
}

/** Calls an endpoint with one answer. */
export interface UnaryClient<Request, Answer> extends EndpointCalls {
  (request: Request, options?: RequestOptions): Promise<Answer>;
  /** Sends the request to one instance. */
  direct(instanceId: bigint, request: Request, options?: RequestOptions): Promise<Answer>;
}

/** A method that can be an endpoint: one request, and a stream or a promise. */
// biome-ignore lint/suspicious/noExplicitAny: any method matches, whatever its request is.
export type EndpointMethod = (request: any, ...rest: any[]) => AsyncIterable<unknown> | Promise<unknown>;

/** The client of one endpoint method. */
export type EndpointClient<Method> = Method extends (request: infer Request, ...rest: never[]) => infer Result
  ? Result extends AsyncIterable<infer Item>
    ? StreamClient<Request, Item>
    : UnaryClient<Request, Awaited<Result>>
  : never;

/**
 * The client of a service: one call for each method that can be an endpoint. Methods that were not declared as
 * endpoints are `undefined` at run time.
 */
export type ClientOf<Methods> = {
  readonly [Name in keyof Methods as Methods[Name] extends EndpointMethod ? Name : never]: EndpointClient<
    Methods[Name]
  >;
};
