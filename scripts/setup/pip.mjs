/**
 * Arguments of Python that install the packages of a list: these versions alone, from wheels whose hashes it has,
 * without their dependencies.
 */
export const pinnedInstall = (list) => [
  ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '2'],
  ...['--require-hashes', '--only-binary', ':all:', '--no-deps', '-r', list],
];
