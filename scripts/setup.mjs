import { main, setUp } from './setup/index.mjs';

await main(() => setUp({ test: process.argv.includes('--test') }));
