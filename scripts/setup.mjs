// npm run setup [-- --test --yes]: installs what is missing and builds, with --yes without asking about packages.
import { main, setUp } from './setup/index.mjs';

const has = (flag) => process.argv.includes(flag);

await main(() => setUp({ test: has('--test'), yes: has('--yes') }));
