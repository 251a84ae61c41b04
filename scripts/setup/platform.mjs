import { SetUpError } from './process.mjs';

const supported = 'dynamo-node builds and runs on Linux x86-64 with glibc, on Node 20, 22, 24 or 26';

const isGlibc = () => Boolean(process.report.getReport().header.glibcVersionRuntime);

const requirements = [
  { met: () => process.platform === 'linux', found: () => process.platform },
  { met: () => process.arch === 'x64', found: () => process.arch },
  { met: isGlibc, found: () => 'a C library that is not glibc (musl?)' },
  { met: () => Number.parseInt(process.versions.node) >= 20, found: () => `Node ${process.versions.node}` },
];

/** Each of these variables replaces `build.rustflags` of native/core/.cargo/config.toml completely. */
const flagVariables = ['RUSTFLAGS', 'CARGO_ENCODED_RUSTFLAGS', 'CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS'];

export function checkPlatform() {
  const unmet = requirements.find(({ met }) => !met());
  if (unmet) throw new SetUpError(`${supported}; this is ${unmet.found()}.`);

  const lacking = flagVariables.find(
    (name) => name in process.env && !/--cfg[^a-z]*tokio_unstable/.test(process.env[name]),
  );
  if (lacking) {
    throw new SetUpError(
      `${lacking} lacks \`--cfg tokio_unstable\`, without which Dynamo does not compile: add it or unset the variable.`,
    );
  }
}
