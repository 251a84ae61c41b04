import { badArgument } from '../errors.js';
import { boolean, custom, type Option, type OptionTable, optionTable, text } from '../options.js';

/**
 * Certificates of the TCP transport, as paths of PEM files. A serving process needs a certificate, a caller an
 * authority.
 */
export interface TransportTls {
  /** The certificate that this process presents to callers. `$DYN_TCP_TLS_CERT_PATH`. It needs `keyPath`. */
  readonly certPath?: string;
  /** `$DYN_TCP_TLS_KEY_PATH`. */
  readonly keyPath?: string;
  /** The authority that verifies the workers. `$DYN_TCP_TLS_CA_CERT_PATH`. */
  readonly caPath?: string;
  /**
   * The certificate that this process presents to workers that require one. `$DYN_TCP_TLS_CLIENT_CERT_PATH`. It needs
   * `clientKeyPath`.
   */
  readonly clientCertPath?: string;
  /** `$DYN_TCP_TLS_CLIENT_KEY_PATH`. */
  readonly clientKeyPath?: string;
  /**
   * Requires from callers a certificate of this authority. `$DYN_TCP_TLS_CLIENT_CA_CERT_PATH`. @default none required
   */
  readonly clientCaPath?: string;
  /** The name in the certificates of workers. `$DYN_TCP_TLS_SERVER_NAME`. @default the host of the address */
  readonly serverName?: string;
  /** Accepts any certificate: for development. `$DYN_TCP_TLS_INSECURE`. @default false */
  readonly insecure?: boolean;
}

/** @internal */
export const TRANSPORT_TLS_OPTIONS: OptionTable<TransportTls> = optionTable<TransportTls>({
  certPath: text.env('DYN_TCP_TLS_CERT_PATH').about('The certificate that this process presents to callers.'),
  keyPath: text.env('DYN_TCP_TLS_KEY_PATH').about('The key of `certPath`.'),
  caPath: text.env('DYN_TCP_TLS_CA_CERT_PATH').about('The authority that verifies the workers.'),
  clientCertPath: text
    .env('DYN_TCP_TLS_CLIENT_CERT_PATH')
    .about('The certificate that this process presents to workers.'),
  clientKeyPath: text.env('DYN_TCP_TLS_CLIENT_KEY_PATH').about('The key of `clientCertPath`.'),
  clientCaPath: text.env('DYN_TCP_TLS_CLIENT_CA_CERT_PATH').about('The authority that verifies the callers.'),
  serverName: text.env('DYN_TCP_TLS_SERVER_NAME').about('The name in the certificates of workers.'),
  insecure: boolean.env('DYN_TCP_TLS_INSECURE').about('Accepts any certificate.'),
});

/** Certificates for a NATS server whose address begins with `tls://`, as paths of PEM files. */
export interface NatsTls {
  /** The authority that verifies the server. `$NATS_TLS_CA_CERT_PATH`. @default the system's */
  readonly caPath?: string;
  /** The certificate that this process presents. `$NATS_TLS_CLIENT_CERT_PATH`. It needs `clientKeyPath`. */
  readonly clientCertPath?: string;
  /** `$NATS_TLS_CLIENT_KEY_PATH`. */
  readonly clientKeyPath?: string;
  /** Accepts any certificate: for development. `$NATS_TLS_INSECURE`. @default false */
  readonly insecure?: boolean;
}

/** @internal */
export const NATS_TLS_OPTIONS: OptionTable<NatsTls> = optionTable<NatsTls>({
  caPath: text.env('NATS_TLS_CA_CERT_PATH').about('The authority that verifies the server.'),
  clientCertPath: text.env('NATS_TLS_CLIENT_CERT_PATH').about('The certificate that this process presents.'),
  clientKeyPath: text.env('NATS_TLS_CLIENT_KEY_PATH').about('The key of `clientCertPath`.'),
  insecure: boolean.env('NATS_TLS_INSECURE').about('Accepts any certificate.'),
});

/** A certificate is useless without its key. */
const PAIRS = [
  ['certPath', 'keyPath'],
  ['clientCertPath', 'clientKeyPath'],
] as const;

/** Options with certificates, each of which needs its key. */
export function certificates<Tls extends TransportTls>(table: OptionTable<Tls>): Option<Tls> {
  return custom('an object', (path, value) => {
    table.check(path, value);
    for (const [one, other] of PAIRS) {
      if ((value[one] === undefined) !== (value[other] === undefined))
        throw badArgument(new TypeError(`${path}: expected ${one} and ${other} together, got one of them`));
    }
  });
}
