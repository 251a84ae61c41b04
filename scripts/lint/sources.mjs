import { filesOf, root } from './source.mjs';

const generated = 'native/core/include/dynamo_core.h';

/** Every C and C++ file that a person writes. */
export const cppFiles = () =>
  ['native/binding', 'native/nixl', 'bench/peers', 'scripts/coverage']
    .flatMap((folder) => filesOf(root, folder, /\.(cc|c|h)$/))
    .filter((file) => file !== generated);

/** The folders of the Rust packages. */
export const crates = ['native/core', 'native/core/miri', 'scripts/header'];
