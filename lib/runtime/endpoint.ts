import { pack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkName } from '../check.js';
import { Client, type ClientOptions } from './client.js';
import { type Event, EventPublisher, type Scope, subscribe } from './events.js';
import { Metrics } from './metrics.js';
import {
  type BidirectionalHandler,
  type Handler,
  type ServedAt,
  type ServedEndpoint,
  type ServeOptions,
  serveBidirectional,
  serveHandler,
} from './serve.js';

/** The owner of a native runtime; the handle throws once it is closed. */
export interface Owner {
  readonly config: { readonly responsePlane: 'tcp' | 'quic' };
  handle(operation: string): Handle;
  /** Takes over what is served, to close it with the runtime. */
  adopt(served: ServedEndpoint): ServedEndpoint;
  /** Calls `end` when the runtime is closed. Gives what undoes it. */
  onClose(end: () => void): () => void;
}

abstract class Place {
  /** @internal */
  protected constructor(
    protected readonly owner: Owner,
    protected readonly scope: Scope,
  ) {}

  /** Metrics that carry this place's names as labels. */
  get metrics(): Metrics {
    return new Metrics(this.owner.handle('metrics'), this.scope);
  }

  /** A publisher of events at this place. */
  publisher<T = unknown>(topic: string): Promise<EventPublisher<T>> {
    return EventPublisher.create<T>(this.owner.handle('publisher'), this.scope, topic);
  }

  /** The events of a topic at this place, from now on. */
  subscribe<T = unknown>(topic: string): Promise<AsyncIterableIterator<Event<T>> & AsyncDisposable> {
    return subscribe<T>(this.owner.handle('subscribe'), this.scope, topic);
  }
}

/** Groups components; deployments of the same components in different namespaces do not see each other. */
export class Namespace extends Place {
  /** @internal */
  constructor(
    owner: Owner,
    readonly name: string,
  ) {
    checkName('namespace name', name);
    super(owner, { namespace: name });
  }

  /** A component of this namespace. */
  component(name: string): Component {
    return new Component(this.owner, this.name, name);
  }
}

/** Groups the endpoints of one kind of worker. */
export class Component extends Place {
  /** @internal */
  constructor(
    owner: Owner,
    readonly namespace: string,
    readonly name: string,
  ) {
    checkName('namespace name', namespace);
    checkName('component name', name);
    super(owner, { namespace, component: name });
  }

  /** An endpoint of this component. */
  endpoint<Request = unknown, Response = unknown>(name: string): Endpoint<Request, Response> {
    return new Endpoint<Request, Response>(this.owner, this.namespace, this.name, name);
  }
}

/** Something that can be called. Each process that serves it is an instance of it. */
export class Endpoint<Request = unknown, Response = unknown> extends Place {
  #handle: Handle | undefined;
  readonly path: string;

  /** @internal */
  constructor(
    owner: Owner,
    readonly namespace: string,
    readonly component: string,
    readonly name: string,
  ) {
    checkName('namespace name', namespace);
    checkName('component name', component);
    checkName('endpoint name', name);
    super(owner, { namespace, component, endpoint: name });
    this.path = `${namespace}.${component}.${name}`;
  }

  /** @internal */
  handle(operation: string): Handle {
    const runtime = this.owner.handle(operation);
    this.#handle ??= invokeSync(native.runtimeEndpoint, operation, { handle: runtime, args: pack(this.scope) });
    return this.#handle;
  }

  #at(operation: string): ServedAt {
    return { endpoint: this.handle(operation), responsePlane: this.owner.config.responsePlane };
  }

  /**
   * Serves the endpoint; resolves once its instance can be called. One runtime serves an endpoint name once.
   *
   * @example
   * const words = runtime.endpoint<{ text: string }, string>('demo.words.split');
   * const served = await words.serve(async function* ({ text }, { signal }) {
   *   for (const word of text.split(' ')) {
   *     if (signal.aborted) return;
   *     yield word;
   *   }
   * });
   * await served.close();
   * @throws DynamoError `DYN_CONFLICT` where this runtime serves an endpoint of this name already
   */
  async serve(handler: Handler<Request, Response>, options: ServeOptions<Request> = {}): Promise<ServedEndpoint> {
    return this.owner.adopt(await serveHandler(this.#at('endpoint.serve'), handler, options));
  }

  /** Serves requests that are streams themselves. */
  async serveBidirectional(
    handler: BidirectionalHandler<Request, Response>,
    options: ServeOptions<Request> = {},
  ): Promise<ServedEndpoint> {
    return this.owner.adopt(await serveBidirectional(this.#at('endpoint.serveBidirectional'), handler, options));
  }

  /** A client that finds the endpoint's instances wherever they are. */
  async client(options: ClientOptions = {}): Promise<Client<Request, Response>> {
    return Client.create<Request, Response>(this.owner, this.handle('endpoint.client'), this.path, options);
  }

  /** Takes this process's instance out of discovery while it goes on serving what it has. */
  async unregister(): Promise<void> {
    await invoke(native.endpointRegister, 'endpoint.unregister', { handle: this.handle('endpoint.unregister'), a: 0 });
  }

  /** Puts this process's instance back. */
  async register(): Promise<void> {
    await invoke(native.endpointRegister, 'endpoint.register', { handle: this.handle('endpoint.register'), a: 1 });
  }
}
