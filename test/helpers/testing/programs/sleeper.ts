import { spawn } from 'node:child_process';

// A program that waits, with another one below it.

const child = spawn('sleep', ['1000'], { stdio: 'inherit' });
console.log(`grandchild ${child.pid}`);
