import type { KvbmNative } from './native/kvbm.js';
import type { LlmNative } from './native/llm.js';
import type { NixlNative } from './native/nixl.js';
import type { RouterNative } from './native/router.js';
import type { RuntimeNative } from './native/runtime.js';
import type { StreamNative } from './native/stream.js';

export type { Arg, Async, Bytes, CallParts, Exactly, Given, Handle, Sync, U32s, U64s } from './native/call.js';
export type { BoundBlocks } from './native/kvbm.js';
export type { TestingNative } from './native/testing.js';

/**
 * Every native function, in the order of the tables in `native/binding`. `npm run lint` compares their types with the
 * `Takes` lines of the Rust entries and of `native/nixl/entries.h`.
 */
export interface Native extends StreamNative, RuntimeNative, LlmNative, KvbmNative, RouterNative, NixlNative {
  /** Registers the function that receives completions: triples of operation id, `failed`, and result or failure. */
  open(deliver: (batch: unknown[]) => void): void;
  cancel(op: number): void;
  /** Detaches a view of native memory: the view becomes empty. */
  bufferDetach(buffer: ArrayBuffer): void;
  /**
   * The text of some bytes as a string over their memory, without a copy. Undefined if they are not ASCII, too few, or
   * not memory of the core. An addon with NIXL only does not have it.
   */
  textOver?(bytes: Uint8Array, start: number, end: number): string | undefined;
}
