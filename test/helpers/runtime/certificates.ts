import { execute } from '../project.js';

/** Why no certificates can be made here, or undefined. */
export const opensslMissing = await execute('openssl', ['version']).then(
  () => undefined,
  () => 'openssl is not installed',
);
if (opensslMissing !== undefined) console.log(`skipped: ${opensslMissing}`);

/**
 * Makes `NAME.pem` and `NAME.key` in a folder, for 127.0.0.1 or another name, self-signed or signed by another
 * certificate.
 */
export async function certificate(
  folder: string,
  name: string,
  authority?: string,
  of = 'IP:127.0.0.1',
): Promise<void> {
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${of}`];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
  const by =
    authority === undefined
      ? []
      : ['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-addext', 'basicConstraints=critical,CA:FALSE'];
  await execute('openssl', ['req', '-x509', ...key, '-out', `${name}.pem`, '-days', '2', ...subject, ...by], {
    cwd: folder,
  });
}
