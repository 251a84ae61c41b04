import type { Arg, Async, Bytes, Handle, Sync } from './call.js';

/** Functions that only builds for tests and benchmarks have; a published addon lacks them. */
export interface TestingNative {
  conformanceInbox: Sync<Handle<'inbox'>>;
  conformanceRun: Async<undefined, { handle: Handle<'inbox'>; args: Bytes }>;
  kvbmBench: Sync<number, { args: Bytes }>;
  nixlRegionCopy: Async<number, { handle: Handle<'nixlRegion'>; other: Handle<'nixlRegion'>; a: Arg<'byteLength'> }>;
}
