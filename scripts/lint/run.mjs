import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { root } from '../setup/process.mjs';

/** One part of a lint: `command` is undefined if its program is missing; `missing` then says how to get it. */
async function runStep({ name, command, missing, cwd = root }) {
  if (command === undefined) return { name, output: missing, failed: true };
  const [program, ...args] = command;
  const output = [];
  const code = await new Promise((resolve) => {
    const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => {
      output.push(Buffer.from(error.message));
      resolve(1);
    });
    child.on('close', resolve);
  });
  return { name, output: Buffer.concat(output).toString().trim(), failed: code !== 0 };
}

/** Runs every step, as many at once as there are processors, and prints each result. Returns the failed names. */
export async function runSteps(steps, print = console.log) {
  const waiting = [...steps];
  const failed = [];
  const next = async () => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
      const start = performance.now();
      const result = await runStep(step);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      print(`${result.failed ? 'failed' : 'passed'}  ${result.name} (${seconds} s)`);
      if (!result.failed) continue;
      print(result.output);
      failed.push(result.name);
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), steps.length) }, next));
  return failed;
}
