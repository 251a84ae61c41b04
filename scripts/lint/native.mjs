import { join } from 'node:path';
import { root } from '../setup/process.mjs';
import { clangTool, hasComponent } from '../setup/tools.mjs';

const script = (name, ...args) => [process.execPath, join(root, 'scripts', name), ...args];

/** The slow checks of native/: they need the compiler's view of every file. */
export function nativeSteps() {
  const clangTidy = clangTool('clang-tidy');
  return [
    {
      name: 'clang-tidy',
      command: clangTidy && script('lint/tidy.mjs', clangTidy),
      missing: 'clang-tidy 14 is missing: install the Debian package clang-tidy-14 (`npm test` installs it as root)',
    },
    { name: 'C header', command: script('header.mjs', '--check') },
    {
      name: 'clippy',
      command: hasComponent('clippy') ? script('clippy.mjs') : undefined,
      missing: 'clippy is missing: run `rustup component add clippy` in native/core',
    },
  ];
}
