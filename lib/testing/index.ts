import { loadNixl, type MockKnobs, type NixlLibrary } from '../nixl/library.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';

/**
 * A runtime that needs no server and no network: its discovery is in memory, and it listens on loopback. Only its own
 * clients find its endpoints. `await using` closes it at the end of the test.
 *
 * @param options override these defaults, such as `{ discovery: { kind: 'file', dir } }` for several processes
 *
 * @example
 * import { testRuntime } from 'dynamo-node/testing';
 *
 * await using runtime = await testRuntime();
 * const endpoint = runtime.endpoint<string, string>('test.echo.generate');
 * await using served = await endpoint.serve(async function* (text) {
 *   yield text;
 * });
 */
export function testRuntime(options: RuntimeOptions = {}): Promise<DistributedRuntime> {
  return DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1', ...options });
}

/**
 * Loads the mock of NIXL. It moves real bytes between agents of one machine, without the library and without a GPU. The
 * knobs apply to the whole process, and to transfers that are posted later.
 *
 * @param knobs how it behaves: delays, failures, simulated GPUs
 * @throws TypeError, RangeError for an unknown knob or a wrong value
 *
 * @example
 * import { NixlAgent } from 'dynamo-node';
 * import { mockNixl } from 'dynamo-node/testing';
 *
 * const library = mockNixl({ latencyUs: 100 });
 * await using agent = await NixlAgent.create('test', { library });
 */
export function mockNixl(knobs: MockKnobs = {}): NixlLibrary {
  return loadNixl({ mode: 'mock', mock: knobs });
}

export type { ProcessId } from '../deploy/local/process-id.js';
export type { RunState, ServiceStatus, WorkerStatus } from '../deploy/local/run-folder.js';
export type { WorkerMetrics } from '../deploy/local/worker-messages.js';
export type { WorkerPhase } from '../deploy/local/worker-state.js';
export { type StartClusterOptions, startCluster, TestCluster } from './cluster.js';
export { TestLink } from './link.js';
export { MockerPool, type MockerPoolOptions, startMockers } from './mocker-pool.js';
export { freePort } from './port.js';
export { type ProcessEnd, TestProcess, type TestProcessOptions } from './process.js';
export { type RecordedHandler, type RecordedRequest, RecordedRequests, recorded } from './recorded-requests.js';
export { type Script, ScriptedEngine, type ScriptedEngineOptions, type ScriptStep } from './scripted-engine.js';
export { ServedGraph, type ServeGraphOptions, serveGraph } from './serve-graph.js';
export { missingServers, type ServerProgram, TestServer } from './server.js';
export { RunningGraph, type StartGraphOptions, startGraph } from './start-graph.js';
export { closeAfterTest, missingGpu, requireGpu, type TestContext } from './test-context.js';
export { waitFor, waitForModel, waitForPause, within } from './wait.js';
