import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The library's version, from the files of its wheel or installation. Undefined if they do not contain it. */
export function versionOf(path: string): string | undefined {
  const folder = dirname(path);
  const wheel = /^\.(nixl_cu\d+)\.mesonpy\.libs$/.exec(basename(folder))?.[1];
  if (wheel !== undefined) {
    const pattern = new RegExp(`^${wheel}-(.+)\\.dist-info$`);
    return readdirSync(dirname(folder))
      .map((name) => pattern.exec(name)?.[1])
      .find((version) => version !== undefined);
  }
  const description = join(folder, 'pkgconfig/nixl.pc');
  return existsSync(description) ? /^Version:\s*(\S+)/m.exec(readFileSync(description, 'utf8'))?.[1] : undefined;
}
