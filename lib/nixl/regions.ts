import { pack } from '../addon/codec.js';
import { arg, type InvokeOptions, invoke, native } from '../addon/invoke.js';
import type { Arg, Bytes, Handle } from '../addon/native.js';
import { checkInteger, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import type { NixlAgent } from './agent.js';
import { ALLOCATE_OPTIONS, type AllocateOptions, REGISTER_OPTIONS, type RegisterOptions } from './agent-options.js';
import { invokeOptions, withinLimit } from './limit.js';
import { MEMORY_TYPES, MemoryRegion, type MemoryType } from './memory.js';
import { pinned } from './pinned.js';
import { fileOf, type MemorySource, type Registration, registrationOf } from './register.js';

const REGISTRATION_FIELDS = 3;
const REGION_FIELDS = 4;

function numbersOf(bytes: Bytes): Float64Array {
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

const releaseAll = (regions: readonly MemoryRegion[]): Promise<unknown> =>
  Promise.all(regions.map((region) => region.release()));

/** The regions of one agent that are not released. */
export class Regions {
  readonly #registered = new Set<MemoryRegion>();
  #ended = false;
  /** Ids of the regions with a buffer of the caller. The set outlives an agent that is garbage-collected. */
  readonly pinning = new Set<number>();

  async allocate(agent: NixlAgent, bytes: number, options: AllocateOptions): Promise<MemoryRegion> {
    const operation = 'agent.allocate';
    checkInteger(`${operation} bytes`, bytes, 1);
    ALLOCATE_OPTIONS.check(`${operation} options`, options);
    const { memory = 'DRAM', device = 0, hugePages = true, backend } = options;
    const limit = invokeOptions(operation, options);
    const args = pack({ device: memory === 'VRAM', hugePages, backend });
    const parts = { handle: agent.handle(operation), a: arg('byteLength', bytes), b: arg('device', device), args };
    const made = await withinLimit(
      limit,
      async () => this.#of(agent, await invoke(native.nixlRegionAllocate, operation, parts), memory, []),
      releaseAll,
    );
    return made[0] as MemoryRegion;
  }

  async register(agent: NixlAgent, source: MemorySource, options: RegisterOptions): Promise<MemoryRegion> {
    const operation = 'agent.register';
    const file = fileOf(`${operation} source`, source);
    if (file === undefined)
      return (
        await this.#register(agent, operation, [registrationOf(() => `${operation} source`, source)], options)
      )[0] as MemoryRegion;
    const limit = this.#registerLimit(operation, options);
    const args = pack({
      path: file.path,
      write: file.access === 'write',
      create: file.create,
      backend: options.backend,
    });
    const parts = { handle: agent.handle(operation), a: arg('byteLength', file.bytes), args };
    const made = await withinLimit(
      limit,
      async () => this.#of(agent, await invoke(native.nixlRegionFile, operation, parts), 'FILE', []),
      releaseAll,
    );
    return made[0] as MemoryRegion;
  }

  async registerMany(
    agent: NixlAgent,
    sources: readonly MemorySource[],
    options: RegisterOptions,
  ): Promise<MemoryRegion[]> {
    const operation = 'agent.registerMany';
    if (!Array.isArray(sources)) wrongType(`${operation} sources`, 'an array', sources);
    if (sources.length === 0) return [];
    const registrations = sources.map((source, index) =>
      registrationOf(() => `${operation} sources[${index}]`, source),
    );
    const other = registrations.findIndex(({ memory }) => memory !== registrations[0]?.memory);
    if (other !== -1)
      throw badArgument(
        new TypeError(
          `${operation} sources[${other}]: expected ${registrations[0]?.memory} as the first, ` +
            `got ${registrations[other]?.memory}`,
        ),
      );
    return this.#register(agent, operation, registrations, options);
  }

  #registerLimit(operation: string, options: RegisterOptions): InvokeOptions {
    REGISTER_OPTIONS.check(`${operation} options`, options);
    return invokeOptions(operation, options);
  }

  async #register(
    agent: NixlAgent,
    operation: string,
    registrations: readonly Registration[],
    options: RegisterOptions,
  ): Promise<MemoryRegion[]> {
    const limit = this.#registerLimit(operation, options);
    const { memory } = registrations[0] as Registration;
    const metas = registrations.some(({ meta }) => meta !== '') ? registrations.map(({ meta }) => meta) : undefined;
    const numbers = new Float64Array(registrations.length * REGISTRATION_FIELDS);
    const holdIds = new Float64Array(registrations.length);
    registrations.forEach(({ address, bytes, device, hold }, index) => {
      const at = index * REGISTRATION_FIELDS;
      numbers[at] = address;
      numbers[at + 1] = bytes;
      numbers[at + 2] = device;
      holdIds[index] = hold?.id ?? 0;
    });
    const holds = registrations.some(({ hold }) => hold !== undefined) ? new Uint8Array(holdIds.buffer) : undefined;
    const args = pack({ metas, holds, backend: options.backend });
    const parts = {
      handle: agent.handle(operation),
      a: arg('memory', MEMORY_TYPES.indexOf(memory)),
      payload: new Uint8Array(numbers.buffer),
      args,
    };
    // From here on the library may know the addresses, so the buffers are kept until the call ends, even after the
    // limit.
    const owned = registrations.map((registration) => registration.owned);
    return withinLimit(
      limit,
      async () => this.#of(agent, await invoke(native.nixlRegionRegister, operation, parts), memory, owned),
      releaseAll,
    );
  }

  #of(agent: NixlAgent, bytes: Bytes, memory: MemoryType, owned: readonly (Uint8Array | undefined)[]): MemoryRegion[] {
    const numbers = numbersOf(bytes);
    return Array.from({ length: numbers.length / REGION_FIELDS }, (_, index) => {
      const at = index * REGION_FIELDS;
      const id = numbers[at] as number;
      const address = numbers[at + 1] as number;
      const length = numbers[at + 2] as number;
      const device = numbers[at + 3] as number;
      const own = owned[index];
      if (own !== undefined) {
        pinned.set(id, own.buffer);
        this.pinning.add(id);
      }
      const region = new MemoryRegion(agent, id, address, length, memory, device, own);
      if (this.#ended) region.ended();
      else this.#registered.add(region);
      return region;
    });
  }

  /** Removes a released region. Regions of a closed agent keep their buffers until the agent has ended. */
  forget(region: MemoryRegion): void {
    this.#registered.delete(region);
    if (!this.#ended) this.pinning.delete(region.id);
  }

  /** Releases every region whose buffer was taken, so that peers do not learn of it. */
  sweep(): void {
    if (this.pinning.size === 0) return;
    for (const region of this.#registered) region.noticeDetached();
  }

  /** Ends every region of an agent that closes, including those that are still being registered. */
  end(): void {
    this.#ended = true;
    for (const region of [...this.#registered]) region.ended();
  }
}

/** Releases buffers after the agent has ended: until then the library may write to them. */
export function unpinAtEnd(handle: Handle<'nixlAgent'>, ids: Iterable<number>): void {
  const unpin = (): void => {
    for (const id of ids) pinned.delete(id);
  };
  invoke(native.nixlAgentClose, 'agent.close', { handle }, { background: true }).then(unpin, () => {});
}

/** Checks the regions of partial metadata, all of one kind, and converts them to the native form. */
export function regionsPayload(
  path: string,
  agent: NixlAgent,
  regions: readonly MemoryRegion[],
): { a: Arg<'memory'>; payload: Uint8Array } {
  for (const [index, region] of regions.entries()) {
    if (!(region instanceof MemoryRegion) || region.agent !== agent)
      wrongType(`${path}[${index}]`, `a region of the agent '${agent.name}'`, region);
    region.assertOpen(path);
    if (region.memory !== regions[0]?.memory)
      throw badArgument(
        new TypeError(`${path}[${index}]: expected ${regions[0]?.memory} as the first, got ${region.memory}`),
      );
  }
  const ids = Float64Array.from(regions, ({ id }) => id);
  return { a: arg('memory', MEMORY_TYPES.indexOf(regions[0]?.memory ?? 'DRAM')), payload: new Uint8Array(ids.buffer) };
}
