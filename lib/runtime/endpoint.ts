import { pack } from '../addon/codec.js';
import { arg, invoke, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkName } from '../check.js';
import { Client } from './client.js';
import type { ClientOptions } from './client-options.js';
import { EventPublisher, type EventSubscription, type Scope, subscribe } from './events.js';
import { Metrics } from './metrics.js';
import { type ModelCard, watchCards } from './model-cards.js';
import type { Owner } from './owner.js';
import {
  type BidirectionalHandler,
  type Handler,
  type ServedAt,
  type ServedEndpoint,
  serveBidirectional,
  serveHandler,
} from './serve.js';
import type { ServeOptions } from './serve-options.js';

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

  /** The events of a topic at this place, beginning now. */
  subscribe<T = unknown>(topic: string): Promise<EventSubscription<T>> {
    return subscribe<T>(this.owner.handle('subscribe'), this.scope, topic);
  }

  /** The events of a topic with payloads that the caller decodes, because peers may send any bytes. @internal */
  subscribeBytes(topic: string): Promise<EventSubscription<Uint8Array>> {
    return subscribe(this.owner.handle('subscribe'), this.scope, topic, (payload) => payload);
  }
}

/** Groups components. Deployments of the same components in different namespaces do not see each other. */
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

/** A named service. Each process that serves it is one of its instances. */
export class Endpoint<Request = unknown, Response = unknown> extends Place {
  #handle: Handle<'endpoint'> | undefined;
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
  handle(operation: string): Handle<'endpoint'> {
    const runtime = this.owner.handle(operation);
    this.#handle ??= invokeSync(native.runtimeEndpoint, operation, { handle: runtime, args: pack(this.scope) });
    return this.#handle;
  }

  #at(operation: string): ServedAt {
    return { endpoint: this.handle(operation), responsePlane: this.owner.config.responsePlane };
  }

  /**
   * Serves the endpoint. Resolves when its instance can be called. A runtime serves each endpoint name at most once.
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
   * @throws DynamoError `DYN_CONFLICT` if this runtime already serves an endpoint of this name
   */
  async serve(handler: Handler<Request, Response>, options: ServeOptions<Request> = {}): Promise<ServedEndpoint> {
    return this.owner.adopt(await serveHandler(this.#at('endpoint.serve'), handler, options));
  }

  /** Like `serve`, for requests that are themselves streams. */
  async serveBidirectional(
    handler: BidirectionalHandler<Request, Response>,
    options: ServeOptions<Request> = {},
  ): Promise<ServedEndpoint> {
    return this.owner.adopt(await serveBidirectional(this.#at('endpoint.serveBidirectional'), handler, options));
  }

  /** A client of the endpoint, which finds its instances through discovery. */
  async client(options: ClientOptions = {}): Promise<Client<Request, Response>> {
    return Client.create<Request, Response>(this.owner, this.handle('endpoint.client'), this.path, options);
  }

  /** Calls `changed` with the endpoint's model cards when they change. Returns a function that ends it. @internal */
  watchCards(changed: (cards: readonly ModelCard[], own: bigint) => void): () => void {
    const handle = this.handle('endpoint.watchCards');
    return watchCards(this.owner, handle, (cards) => changed(cards, this.owner.instanceId));
  }

  /** Removes this process's instance from discovery. Requests in flight continue. */
  async unregister(): Promise<void> {
    const handle = this.handle('endpoint.unregister');
    await invoke(native.endpointRegister, 'endpoint.unregister', { handle, a: arg('isRegistered', 0) });
  }

  /** Adds this process's instance to discovery again. */
  async register(): Promise<void> {
    const handle = this.handle('endpoint.register');
    await invoke(native.endpointRegister, 'endpoint.register', { handle, a: arg('isRegistered', 1) });
  }
}
