import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Child } from '../../helpers/child.js';
import { ViewClient } from '../../helpers/dashboard/view.js';
import { openEvents } from '../../helpers/dashboard/viewer.js';
import { root } from '../../helpers/project.js';
import { lowest } from '../../helpers/wait.js';

const WORKERS = 100;
const WINDOW_MS = 20_000;
const TICKS_PER_SECOND = 100;
/** Fields of /proc/PID/stat after the name: user and system time in ticks. */
const [USER, SYSTEM] = [11, 12];

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[USER]) + Number(fields[SYSTEM])) / TICKS_PER_SECOND;
}

/** The share of a core that a process uses in a window. */
async function shareOf(pid: number): Promise<number> {
  const [before, beginMs] = [cpuSeconds(pid), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
  return (cpuSeconds(pid) - before) / ((performance.now() - beginMs) / 1000);
}

describe('the overhead of the live view', () => {
  it.each([
    [2, 0.02],
    [10, 0.1],
  ])(
    `of ${WORKERS} workers with %i passes a second each, and one viewer, is below a share of %f of a core`,
    async (rate, max) => {
      const runs = mkdtempSync(join(tmpdir(), 'overhead-'));
      const env = { DYN_LOCAL_STATE_DIR: runs, TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json') };
      const graph = Child.program(
        'test/helpers/dashboard/programs/many-workers.ts',
        [runs, String(WORKERS), String(rate)],
        { env },
      );
      let ui: Child | undefined;
      try {
        await graph.event('ready');
        ui = Child.start(process.execPath, [join(root, 'dist/cli/main.js'), 'ui', 'many'], { env });
        const view = await ViewClient.of(ui);
        const viewer = await openEvents(view.origin);
        await view.until('figures of all workers', ({ services }) => {
          const decode = services.find(({ name }) => name === 'Decode')?.instances ?? [];
          const workers = decode.filter(({ number }) => number !== undefined);
          const isKnown = workers.every(({ flow, transfers }) => flow.running !== undefined && transfers !== undefined);
          return workers.length === WORKERS && isKnown;
        });
        const { pid } = ui;
        const share = await lowest(max, () => shareOf(pid));
        const last = viewer.events.at(-1)?.data as { services: unknown[] };
        console.log(
          `the view of ${WORKERS} workers, ${rate} passes a second each: ${(share * 100).toFixed(2)}% of a core`,
        );
        expect(last.services).toHaveLength(4);
        expect(share).toBeLessThan(max);
        viewer.close();
      } finally {
        await ui?.stop();
        await graph.stop();
        rmSync(runs, { recursive: true });
      }
    },
  );
});
