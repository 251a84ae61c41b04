#!/usr/bin/env node
import { COMMANDS, GROUPS } from './commands.js';
import { processIo } from './process-io.js';
import { runProgram } from './program.js';

const exitCode = await runProgram(process.argv.slice(2), processIo(), COMMANDS, GROUPS);
process.exitCode = exitCode;
const written = [process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write('', done)));
await Promise.all(written);
// A module of a graph may have timers and connections, which would keep the process.
process.exit(exitCode);
