import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../helpers/cli/command.js';
import { npzOf } from '../../helpers/planner/npz.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-planner-'));
afterAll(() => rmSync(folder, { recursive: true }));

const planner = (...args: readonly string[]) => runCommand(['planner', ...args], { cwd: folder });

const WRITE = ['trace', 'steps', '-o', 'steps.jsonl', '--duration-seconds', '100', '--rate', '20'];

describe('dynamo planner', () => {
  beforeAll(async () => {
    expect(await planner(...WRITE)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/steps\.jsonl: \d{4} requests\n$/),
    });
  });

  it('writes the same trace for the same seed', async () => {
    const before = readFileSync(join(folder, 'steps.jsonl'), 'utf8');
    const { stdout } = await planner(...WRITE, '--json');
    expect(JSON.parse(stdout)).toEqual({ file: join(folder, 'steps.jsonl'), requests: before.split('\n').length - 1 });
    expect(readFileSync(join(folder, 'steps.jsonl'), 'utf8')).toBe(before);
    const piped = await planner('trace', 'steps', '--duration-seconds', '100', '--rate', '20', '--seed', '2');
    expect(piped.stdout).not.toBe(before);
    expect(JSON.parse(piped.stdout.split('\n')[0] as string)).toHaveProperty('hash_ids');
  });

  it('rejects too large a trace, and an output that is the trace or has no folder, before it runs', async () => {
    expect(await planner('trace', 'spike', '--rate', '100000', '--duration-seconds', '10000000')).toMatchObject({
      code: 64,
      stderr: expect.stringContaining('--duration-seconds: expected at most 25 with this rate and prompt length'),
    });
    expect(await planner('simulate', 'steps.jsonl', '--decisions', './steps.jsonl')).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("--decisions: expected another file than the trace, got './steps.jsonl'"),
    });
    for (const command of ['simulate', 'tune'])
      expect(await planner(command, 'steps.jsonl', '--plot', 'absent/plot.svg')).toMatchObject({
        code: 73,
        stderr: expect.stringMatching(/E_OUTPUT.*absent\/plot\.svg cannot be written: its folder is not there/),
      });
    writeFileSync(join(folder, 'file'), '');
    const outputs = [
      ['.', 'expected a file, got a folder'],
      ['file/plot.svg', 'its folder is not there'],
    ] as const;
    for (const [output, reason] of outputs)
      for (const flags of [
        ['simulate', '--plot'],
        ['simulate', '--decisions'],
        ['tune', '--plot'],
      ] as const) {
        const failed = await planner(flags[0], 'steps.jsonl', flags[1], output);
        expect(failed).toMatchObject({ code: 73, stdout: '' });
        expect(failed.stderr).toContain(`error[E_OUTPUT]: ${join(folder, output)} cannot be written: ${reason}`);
      }
    const fleet = ['--mode', 'disagg', '--fleet', '999999999999999999P2D'];
    expect(await planner('simulate', 'steps.jsonl', ...fleet)).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("--fleet: expected a text like '3P2D', got '999999999999999999P2D'"),
    });
  });

  it('rejects a trace over more than a year, which has other units than ms', async () => {
    const line = (timestamp: number) => JSON.stringify({ timestamp, input_length: 5, output_length: 5 });
    writeFileSync(join(folder, 'long.jsonl'), `${line(0)}\n${line(1e12)}\n`);
    expect(await planner('simulate', 'long.jsonl')).toMatchObject({
      code: 65,
      stderr: expect.stringContaining('expected timestamps in ms over at most 366 days, got 11575 days'),
    });
  });

  it('bounds the answers of a trace and the decisions, and says how to stay below', async () => {
    const line = (timestamp: number, output_length: number) =>
      JSON.stringify({ timestamp, input_length: 5, output_length });
    writeFileSync(join(folder, 'endless.jsonl'), line(0, 1e8));
    expect(await planner('simulate', 'endless.jsonl')).toMatchObject({
      code: 65,
      stderr: expect.stringContaining('endless.jsonl:1 output_length: expected an integer from 0 to 1000000, got 1'),
    });
    const day = 86_400_000;
    writeFileSync(join(folder, 'days.jsonl'), `${line(0, 5)}\n${line(10 * day, 5)}\n`);
    const { code, stderr } = await planner('simulate', 'days.jsonl');
    expect(code).toBe(65);
    expect(stderr).toContain('days.jsonl: expected at most 100000 decisions a planner, got 17280');
    expect(stderr).toContain('--interval-ms 8641');
    expect(await planner('simulate', 'days.jsonl', '--speedup', '1000', '--planner', 'sla')).toMatchObject({ code: 0 });
  });

  it('names what runs on a terminal', async () => {
    const args = ['planner', 'simulate', 'steps.jsonl', '--planner', 'sla', '--fleet', '2'];
    const { stderr } = await runCommand(args, { cwd: folder, isTerminal: true });
    expect(stderr).toBe('sla\nstatic 2\n');
  });

  it('compares planners and static fleets, and writes a diagram and the decisions', async () => {
    const files = ['--plot', 'plot.svg', '--decisions', 'decisions.jsonl'];
    const { code, stdout, stderr } = await planner('simulate', 'steps.jsonl', ...files);
    expect([code, stderr]).toEqual([0, '']);
    for (const name of [
      'planner sla',
      'planner latency',
      'python-sla',
      'static 1',
      'better than sla in both figures: ',
    ])
      expect(stdout).toContain(name);
    expect(readFileSync(join(folder, 'plot.svg'), 'utf8')).toContain('steps.jsonl: ');
    const decisions = readFileSync(join(folder, 'decisions.jsonl'), 'utf8').trimEnd().split('\n');
    expect(decisions.map((line) => JSON.parse(line).outcome)).toContain('scaled');
    expect(JSON.parse(decisions[0] as string)).toMatchObject({ schema: 'dynamo.planner.decision/v1', tick: 1 });
  });

  it('returns the figures of each run as JSON', async () => {
    const args = ['--planner', 'sla', '--fleet', '2', '--fleet', '3', '--runs', '2', '--initial', '2', '--json'];
    const { stdout } = await planner('simulate', 'steps.jsonl', ...args);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ schema: 'dynamo.planner.simulation/v1', initial: { worker: 2 } });
    expect(report.results.map(({ name, runs }: { name: string; runs: object[] }) => [name, runs.length])).toEqual([
      ['sla', 2],
      ['static 2', 2],
      ['static 3', 2],
    ]);
    const [run] = report.results[0].runs;
    for (const field of ['goodput', 'gpuHours', 'meanTtftMs', 'p99TtftMs', 'meanItlMs', 'events'])
      expect(run).toHaveProperty(field);
  });

  it('simulates an engine by its profile', async () => {
    const lengths = [100, 500, 2000, 8000];
    const batches = [0.01, 0.1, 0.5, 0.9];
    const files = {
      'prefill.npz': npzOf({
        prefill_isl: { type: '<i8', values: lengths },
        prefill_ttft: { type: '<f8', values: lengths.map((length) => 10 + length / 10) },
      }),
      'decode.npz': npzOf({
        x_kv_usage: { type: '<f8', values: batches },
        y_context_length: { type: '<f8', values: batches.map(() => 500) },
        z_itl: { type: '<f8', values: batches.map((share) => 5 + 20 * share) },
        max_kv_tokens: { type: '<i8', values: [100_000] },
      }),
    };
    for (const [name, file] of Object.entries(files)) writeFileSync(join(folder, name), file);
    const fleet = ['--fleet', '8', '--planner', 'sla', '--json'];
    const report = async (...more: string[]) =>
      JSON.parse((await planner('simulate', 'steps.jsonl', ...fleet, ...more)).stdout).results[1].runs[0];
    const [slow, usual] = [await report('--profile', 'prefill.npz', '--profile', 'decode.npz'), await report()];
    // A prompt of 1500 tokens takes 160 ms instead of 40 ms.
    expect(slow.meanTtftMs).toBeGreaterThan(160);
    expect(usual.meanTtftMs).toBeLessThan(150);
  });

  it("compares fleets on Dynamo's own simulator", async () => {
    const args = ['--replay', 'round_robin', '--planner', 'sla', '--planner', 'python-sla', '--fleet', '3', '--json'];
    const { code, stdout } = await planner('simulate', 'steps.jsonl', ...args, '--decisions', 'replayed.jsonl');
    expect(code).toBe(0);
    const [own, fleet, ...others] = JSON.parse(stdout).results;
    expect([own.name, fleet.name, others]).toEqual(['sla', 'static 3', []]);
    const requests = readFileSync(join(folder, 'steps.jsonl'), 'utf8').split('\n').length - 1;
    for (const { runs } of [own, fleet]) {
      expect(runs[0].requests).toBe(requests);
      expect(runs[0].goodput).toBeGreaterThan(0);
      expect(runs[0].goodput).toBeLessThanOrEqual(1);
      expect(runs[0].gpuHours).toBeGreaterThan(0);
      expect(runs[0].p99TtftMs).toBeGreaterThanOrEqual(runs[0].meanTtftMs);
    }
    const decisions = readFileSync(join(folder, 'replayed.jsonl'), 'utf8').trimEnd().split('\n');
    expect(decisions.length).toBeGreaterThan(10);
  });

  it('finds the cheapest configuration that meets an SLA, and says how sure that is', async () => {
    const { code, stdout } = await planner('tune', 'steps.jsonl', '--runs', '4', '--plot', 'tune.svg');
    expect(code).toBe(0);
    expect(stdout).toMatch(/cheapest: (static \d|planner \w+, at least \d), [\d.]+ to [\d.]+ GPU-hours/);
    expect(stdout).toMatch(/it met the goal in \d of 4 runs/);
    expect(existsSync(join(folder, 'tune.svg'))).toBe(true);
  });

  it('ends with code 1 if no configuration meets the SLA', async () => {
    const { code, stdout } = await planner('tune', 'steps.jsonl', '--runs', '3', '--max-gpus', '1', '--json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).not.toHaveProperty('best');
  });

  it.each([
    [['simulate', 'none.jsonl'], 66, 'none.jsonl: no such file'],
    [['simulate', '.'], 66, ': expected a file, got a folder'],
    [['simulate', 'plot.svg'], 65, 'plot.svg:1: expected a JSON object'],
    [['simulate', 'steps.jsonl', '--profile', 'steps.jsonl'], 65, 'steps.jsonl: expected a zip file'],
    [['simulate', 'steps.jsonl', '--initial', '2P1D'], 64, "--initial: expected a number such as '4', got '2P1D'"],
    [['simulate', 'steps.jsonl', '--mode', 'disagg', '--fleet', '3'], 64, "--fleet: expected a text like '3P2D'"],
    [['simulate', 'steps.jsonl', '--planner', 'other'], 64, '--planner[0]: expected one of sla, throughput'],
    [['simulate', 'steps.jsonl', '--gpus-per-worker', '32'], 64, '--max-gpus: expected at least 32, got 16'],
    [
      ['simulate', 'steps.jsonl', '--planner', 'sla', '--fleet', '2', '--plot', 'no/folder.svg'],
      73,
      'cannot be written',
    ],
    [
      ['simulate', 'steps.jsonl', '--replay', 'kv', '--runs', '2'],
      64,
      '--replay: expected neither --runs nor --profile',
    ],
    [['trace', 'other'], 64, 'shape: expected one of flat, steps'],
  ])('rejects %j', async (args, exitCode, message) => {
    const { code, stderr } = await planner(...args);
    expect(stderr).toContain(message);
    expect(code).toBe(exitCode);
  });
});
