import { unpack } from '../addon/codec.js';

/** One process's registration of an endpoint. */
export interface Instance {
  readonly namespace: string;
  readonly component: string;
  readonly endpoint: string;
  /** A bigint, because it uses all 64 bits. */
  readonly instanceId: bigint;
  readonly transport: 'tcp' | 'nats';
  /** The address for requests, in the transport's own form. */
  readonly address: string;
  /** The advertised device; `cuda` unless the worker's environment masks the devices. */
  readonly deviceType: 'cpu' | 'cuda' | undefined;
  readonly codec: 'msgpack' | 'json';
}

/** A change to an endpoint's instances. */
export type InstanceChange =
  /** A new instance, or new data of a known one. */
  | { readonly type: 'added'; readonly instance: Instance }
  | { readonly type: 'removed'; readonly instanceId: bigint }
  /** All current instances: sent once after the first ones, and after discovery was unreachable. */
  | { readonly type: 'resync'; readonly instances: readonly Instance[] };

type Raw = Omit<Instance, 'instanceId' | 'deviceType'> & {
  instanceId: number | bigint;
  deviceType: 'cpu' | 'cuda' | null;
};

export function instanceFrom(raw: unknown): Instance {
  const { instanceId, deviceType, ...rest } = raw as Raw;
  return Object.freeze({ ...rest, instanceId: BigInt(instanceId), deviceType: deviceType ?? undefined });
}

export function instancesFrom(bytes: Uint8Array): Instance[] {
  return (unpack(bytes) as unknown[]).map(instanceFrom);
}

interface RawChange {
  type: 'Added' | 'Removed' | 'Resync';
  instance?: unknown;
  instanceId?: number | bigint;
  instances?: unknown[];
}

export function changeFrom(bytes: Uint8Array): InstanceChange {
  const { type, instance, instanceId, instances } = unpack(bytes) as RawChange;
  if (type === 'Added') return { type: 'added', instance: instanceFrom(instance) };
  if (type === 'Removed') return { type: 'removed', instanceId: BigInt(instanceId as number | bigint) };
  return { type: 'resync', instances: (instances ?? []).map(instanceFrom) };
}
