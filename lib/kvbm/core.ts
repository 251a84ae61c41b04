import { packArgs, unpack } from '../addon/codec.js';
import { arg, invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { checkViewBytes } from '../addon/views.js';
import { badArgument, ClosedError, DynamoError } from '../errors.js';
import type { NixlAgent } from '../nixl/agent.js';
import type { MemoryRegion } from '../nixl/memory.js';
import { BatchCalls } from './batch-calls.js';
import { call } from './errors.js';
import { ForgottenBatches } from './forgotten.js';
import { type BlockLayout, type BlockStorage, blockBytes } from './layout.js';
import type { Settings } from './options.js';

const collected = new FinalizationRegistry<string>((what) => {
  process.emitWarning(`${what} was collected without dispose(); its blocks are returned now`, 'ResourceWarning');
});

/** Managers with blocks that another buffer uses, and that other environments must therefore not get. */
const withheld = new Set<Handle<'blocks'>>();

/** Regions that hold a manager's blocks. A second manager would use the same bytes. */
const usedRegions = new WeakSet<MemoryRegion>();

/** An object with views of a manager's memory. */
interface ViewOwner {
  /** Detaches the views. */
  detach(): void;
}

/**
 * What a manager and its batches share: the native manager, the calls on it, the views of its memory, and the copies
 * that are in flight. `BlockManager` is its public face.
 */
export class ManagerCore {
  readonly blockCount: number;
  readonly blockSize: number;
  readonly layout: BlockLayout | undefined;
  /** Bytes of one block; 0 without a layout. */
  readonly blockBytes: number;
  readonly storage: BlockStorage['kind'] | undefined;
  readonly calls: BatchCalls;
  readonly forgotten: ForgottenBatches;
  #handle: Handle<'blocks'> | undefined;
  readonly #registrations = new Map<NixlAgent, Promise<MemoryRegion>>();
  readonly #viewOwners = new Set<ViewOwner>();
  #inFlight = 0;
  #isShared = false;
  #isWithholding = false;
  /** Closes the native manager after the last copy. */
  #onIdle: (() => void) | undefined;

  private constructor(
    readonly settings: Settings,
    handle: Handle<'blocks'>,
    /** Where the blocks lie, for a storage of kind `region`; undefined in a thread that attached to the manager. */
    readonly region: MemoryRegion | undefined,
  ) {
    const { blockCount, blockSize, layout, storage } = settings;
    this.blockCount = blockCount;
    this.blockSize = blockSize;
    if (layout === undefined || layout === null) this.layout = undefined;
    else {
      const { pageSize: _, ...own } = layout;
      this.layout = Object.freeze(own);
    }
    this.blockBytes = this.layout === undefined ? 0 : blockBytes(this.layout, blockSize);
    this.storage = storage?.kind;
    this.#handle = handle;
    this.calls = new BatchCalls(handle);
    this.forgotten = new ForgottenBatches(this.calls, `the tier ${settings.tier}`);
    if (region !== undefined) usedRegions.add(region);
    collected.register(this, `a block manager of the tier ${settings.tier}`, this);
  }

  /** @throws DynamoError `DYN_CONFLICT` if the registry has a manager of the tier, or the region has a manager */
  static create(settings: Settings, registry: Handle<'registry'>, region: MemoryRegion | undefined): ManagerCore {
    const operation = 'BlockManager';
    if (region !== undefined && usedRegions.has(region))
      throw new DynamoError(
        'Conflict',
        `${operation} options.storage.region: another manager has its blocks in this region`,
        { reason: 'kvbm.region', operation },
      );
    const handle = call(native.blocksCreate, operation, { args: packArgs(settings), other: registry });
    return new ManagerCore(settings, handle, region);
  }

  /** The manager of another environment, and the handle of its registry. */
  static attach(token: number): { core: ManagerCore; registry: Handle<'registry'> } {
    const [bytes, handle, registry] = invokeSync(native.blocksAttach, 'BlockManager.attach', {
      a: arg('manager', token),
    });
    const core = new ManagerCore(unpack(bytes) as Settings, handle, undefined);
    core.share();
    return { core, registry };
  }

  /** The native manager, after every pending release has reached it. @throws ClosedError after `dispose` */
  handle(operation: string): Handle<'blocks'> {
    if (this.#handle === undefined) throw new ClosedError('the block manager', operation);
    if (this.calls.pendingReleases > 0) this.calls.flush();
    return this.#handle;
  }

  /** `dispose` detaches the views of every object that is added here. */
  addViewOwner(owner: ViewOwner): void {
    this.#viewOwners.add(owner);
  }

  removeViewOwner(owner: ViewOwner): void {
    this.#viewOwners.delete(owner);
  }

  /** Blocks whose memory is in use outside of the manager. They are not released before the manager ends. */
  withhold(count: number): void {
    this.#isWithholding = true;
    process.emitWarning(
      `the memory of a view of ${count} blocks of the tier ${this.settings.tier} was transferred to another buffer; ` +
        'the blocks are not used again',
      'ResourceWarning',
    );
  }

  /**
   * Counts a copy as in flight until the returned function is called. `dispose` keeps the blocks' memory until then.
   */
  track(): () => void {
    this.#inFlight += 1;
    return () => {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#onIdle?.();
    };
  }

  /** Other environments may use the manager too, so its blocks outlive this object. */
  share(): void {
    this.#isShared = true;
  }

  /** See `BlockManager.registerWith`. */
  registerWith(agent: NixlAgent): Promise<MemoryRegion> {
    const operation = 'manager.registerWith';
    const handle = this.handle(operation);
    if (this.region !== undefined) {
      if (this.region.agent !== agent)
        throw badArgument(
          new TypeError(
            `${operation} agent: expected '${this.region.agent.name}', which owns the region, got '${agent.name}'`,
          ),
        );
      return Promise.resolve(this.region);
    }
    let registration = this.#registrations.get(agent);
    if (registration === undefined) {
      checkViewBytes(operation, this.blockCount * this.blockBytes);
      registration = agent.register(call(native.blockView, operation, { handle }));
      this.#registrations.set(agent, registration);
      registration.catch(() => this.#registrations.delete(agent));
    }
    return registration;
  }

  /** Returns all blocks of this environment. Those of a copy in flight follow when it ends. Idempotent. */
  dispose(): void {
    const handle = this.#handle;
    if (handle === undefined) return;
    collected.unregister(this);
    for (const owner of [...this.#viewOwners]) owner.detach();
    this.#handle = undefined;
    this.calls.close();
    // Releasing a registration waits for the last transfer that may touch the memory.
    for (const registration of this.#registrations.values())
      void registration.then((region) => region.release()).catch(() => {});
    this.#registrations.clear();
    if (this.#isWithholding && this.#isShared) withheld.add(handle);
    const close = (): void => {
      if (withheld.has(handle)) return;
      call(native.blocksClose, 'manager.dispose', { handle });
      if (this.region !== undefined) usedRegions.delete(this.region);
    };
    if (this.#inFlight === 0) close();
    else this.#onIdle = close;
  }
}
