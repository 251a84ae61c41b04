import { arg, native } from '../addon/invoke.js';
import { words } from '../words.js';
import { blockRange } from './block-range.js';
import type { ManagerCore } from './core.js';
import { BlockChecksumError, call } from './errors.js';
import { type LayerRange, layerCount } from './layout.js';

/** The checksums of a batch's blocks, 8 bytes a layer; 0 if none is known. Empty if the manager keeps none. */
export function checksumsOf(operation: string, core: ManagerCore, batch: number): Uint8Array {
  return (
    call(native.blocksChecksums, operation, { handle: core.handle(operation), a: arg('batch', batch) }) ??
    new Uint8Array()
  );
}

/** The checksums of one block's bytes. */
export function digest(operation: string, core: ManagerCore, bytes: Uint8Array): BigUint64Array {
  return words(call(native.blocksDigest, operation, { handle: core.handle(operation), payload: bytes }));
}

/**
 * Compares checksums of the layers in the range, one a layer of each block. An expected checksum of 0 is not known.
 *
 * @throws BlockChecksumError if any differs
 */
export function compareChecksums(
  operation: string,
  layers: number,
  [first, end]: LayerRange,
  expected: BigUint64Array,
  got: BigUint64Array,
): void {
  const wrong = expected.findIndex((checksum, index) => {
    const layer = index % layers;
    return layer >= first && layer < end && checksum !== 0n && checksum !== got[index];
  });
  if (wrong >= 0)
    throw new BlockChecksumError(
      `${operation}: block ${Math.floor(wrong / layers)}: its bytes differ from those that were stored`,
      operation,
    );
}

/**
 * Verifies the bytes of mutable blocks against the checksums that they should have. Blocks in a region cannot be read
 * here: their checksums are kept for the next reader.
 *
 * @throws BlockChecksumError
 */
export function settleChecksums(
  operation: string,
  core: ManagerCore,
  batch: number,
  checksums: BigUint64Array,
  range: LayerRange = [0, layerCount(core)],
): void {
  const layers = layerCount(core);
  const handle = core.handle(operation);
  if (core.storage !== 'region') {
    if (checksums.some((checksum) => checksum !== 0n))
      compareChecksums(
        operation,
        layers,
        range,
        checksums,
        words(call(native.blocksDigest, operation, { handle, a: arg('batch', batch) })),
      );
    return;
  }
  const [first, end] = range;
  const kept = checksums.filter((_, index) => index % layers >= first && index % layers < end);
  call(native.blocksNote, operation, {
    handle,
    a: arg('mutableBatch', batch),
    b: arg('layerRange', blockRange(first, end - first)),
    payload: new Uint8Array(kept.buffer),
  });
}
