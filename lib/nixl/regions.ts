import { pack } from '../addon/codec.js';
import { invoke, native } from '../addon/invoke.js';
import type { Bytes, Handle } from '../addon/native.js';
import { checkInteger, checkOneOf, checkOptions, checkString, wrongType } from '../check.js';
import type { NixlAgent } from './agent.js';
import type { AllocateOptions, RegisterOptions } from './agent-options.js';
import { LIMIT, limited, waited } from './limit.js';
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

/** The regions of one agent, until their release. */
export class Regions {
  readonly #open = new Set<MemoryRegion>();
  #ended = false;
  /** Of the regions that keep a buffer of the user's. Outlives the agent that is collected: its buffers are freed behind its end. */
  readonly pinning = new Set<number>();

  async allocate(agent: NixlAgent, bytes: number, options: AllocateOptions): Promise<MemoryRegion> {
    const operation = 'agent.allocate';
    const path = `${operation} options`;
    checkInteger(`${operation} bytes`, bytes, 1);
    checkOptions(path, options, ['memory', 'device', 'hugePages', 'backend', ...LIMIT]);
    const { memory = 'DRAM', device = 0, hugePages = true, backend } = options;
    checkOneOf(`${path}.memory`, memory, ['DRAM', 'VRAM']);
    checkInteger(`${path}.device`, device, 0, 1023);
    if (backend !== undefined) checkString(`${path}.backend`, backend);
    const limit = limited(operation, options);
    const args = pack({ device: memory === 'VRAM', hugePages, backend });
    const parts = { handle: agent.open(operation), a: bytes, b: device, args };
    const made = await waited(
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
        await this.#register(agent, operation, [registrationOf(`${operation} source`, source)], options)
      )[0] as MemoryRegion;
    const limit = this.#registering(operation, options);
    const args = pack({
      path: file.path,
      write: file.access === 'write',
      create: file.create,
      backend: options.backend,
    });
    const parts = { handle: agent.open(operation), a: file.bytes, args };
    const made = await waited(
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
    const registrations = sources.map((source, index) => registrationOf(`${operation} sources[${index}]`, source));
    const other = registrations.findIndex(({ memory }) => memory !== registrations[0]?.memory);
    if (other !== -1)
      throw new TypeError(
        `${operation} sources[${other}]: expected ${registrations[0]?.memory} as before, got ${registrations[other]?.memory}`,
      );
    return this.#register(agent, operation, registrations, options);
  }

  #registering(operation: string, options: RegisterOptions): ReturnType<typeof limited> {
    checkOptions(`${operation} options`, options, ['backend', ...LIMIT]);
    if (options.backend !== undefined) checkString(`${operation} options.backend`, options.backend);
    return limited(operation, options);
  }

  async #register(
    agent: NixlAgent,
    operation: string,
    registrations: readonly Registration[],
    options: RegisterOptions,
  ): Promise<MemoryRegion[]> {
    const limit = this.#registering(operation, options);
    const { memory } = registrations[0] as Registration;
    const metas = registrations.some(({ meta }) => meta !== '') ? registrations.map(({ meta }) => meta) : undefined;
    const numbers = new Float64Array(registrations.length * REGISTRATION_FIELDS);
    registrations.forEach(({ address, bytes, device }, index) =>
      numbers.set([address, bytes, device], index * REGISTRATION_FIELDS),
    );
    const args = pack({ metas, backend: options.backend });
    const parts = {
      handle: agent.open(operation),
      a: MEMORY_TYPES.indexOf(memory),
      payload: new Uint8Array(numbers.buffer),
      args,
    };
    // From here on the library may know the addresses: the buffers stay for as long as the call does, whoever waits for it.
    const owned = registrations.map((registration) => registration.owned);
    return waited(
      limit,
      async () => this.#of(agent, await invoke(native.nixlRegionRegister, operation, parts), memory, owned),
      releaseAll,
    );
  }

  #of(agent: NixlAgent, bytes: Bytes, memory: MemoryType, owned: readonly (Uint8Array | undefined)[]): MemoryRegion[] {
    const numbers = numbersOf(bytes);
    return Array.from({ length: numbers.length / REGION_FIELDS }, (_, index) => {
      const at = index * REGION_FIELDS;
      const [id, address, length, device] = [numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]] as [
        number,
        number,
        number,
        number,
      ];
      const own = owned[index];
      if (own !== undefined) {
        pinned.set(id, own.buffer);
        this.pinning.add(id);
      }
      const region = new MemoryRegion(agent, id, address, length, memory, device, own);
      if (this.#ended) region.ended();
      else this.#open.add(region);
      return region;
    });
  }

  /** One that is released is the agent's no more; those of a closed agent keep their buffers until it has ended. */
  forget(region: MemoryRegion): void {
    this.#open.delete(region);
    if (!this.#ended) this.pinning.delete(region.id);
  }

  /** The agent is closed, and all of them with it, those too that are still being registered. */
  end(): void {
    this.#ended = true;
    for (const region of [...this.#open]) region.ended();
  }
}

/** The library may write to the buffers until the agent has ended. */
export function unpinAtEnd(handle: Handle, ids: Iterable<number>): void {
  const unpin = (): void => {
    for (const id of ids) pinned.delete(id);
  };
  invoke(native.nixlAgentClose, 'agent.close', { handle }, { background: true }).then(unpin, () => {});
}

/** Checks regions of one kind that metadata are to tell, and gives them in the native form. */
export function regionsPayload(
  path: string,
  agent: NixlAgent,
  regions: readonly MemoryRegion[],
): { a: number; payload: Uint8Array } {
  if (!Array.isArray(regions)) wrongType(path, 'an array', regions);
  for (const [index, region] of regions.entries()) {
    if (!(region instanceof MemoryRegion) || region.agent !== agent)
      wrongType(`${path}[${index}]`, `a region of the agent '${agent.name}'`, region);
    region.open(path);
    if (region.memory !== regions[0]?.memory)
      throw new TypeError(`${path}[${index}]: expected ${regions[0]?.memory} as before, got ${region.memory}`);
  }
  const ids = Float64Array.from(regions, ({ id }) => id);
  return { a: MEMORY_TYPES.indexOf(regions[0]?.memory ?? 'DRAM'), payload: new Uint8Array(ids.buffer) };
}
