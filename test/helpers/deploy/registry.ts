import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestProcess } from 'dynamo-node/testing';
import { freePort } from '../runtime/cluster.js';
import { waitFor } from '../wait.js';

/** A real registry of images (Debian package docker-registry) on loopback, without TLS. */
export class ImageRegistry implements AsyncDisposable {
  private constructor(
    /** `host:port`, the beginning of a reference. */
    readonly host: string,
    /** A `registries.conf` that lets clients use it without TLS. */
    readonly clientConfig: string,
    private readonly folder: string,
    private readonly server: TestProcess,
  ) {}

  static async start(): Promise<ImageRegistry> {
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-registry-'));
    const host = `127.0.0.1:${await freePort()}`;
    const storage = `storage: {filesystem: {rootdirectory: ${join(folder, 'images')}}}`;
    writeFileSync(join(folder, 'registry.yml'), `version: 0.1\n${storage}\nhttp: {addr: '${host}'}\n`);
    const clientConfig = join(folder, 'registries.conf');
    writeFileSync(clientConfig, `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
    const server = TestProcess.start('docker-registry', ['serve', join(folder, 'registry.yml')]);
    const registry = new ImageRegistry(host, clientConfig, folder, server);
    try {
      await waitFor('the registry', async () => {
        if (!server.isRunning) throw new Error(server.output);
        return fetch(`http://${host}/v2/`).then(
          ({ ok }) => ok,
          () => false,
        );
      });
      return registry;
    } catch (error) {
      await registry[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The manifest of an image, and its configuration. */
  async image(name: string, tag: string): Promise<{ readonly manifest: RegistryManifest; readonly config: unknown }> {
    const accept = [
      'application/vnd.oci.image.manifest.v1+json',
      'application/vnd.docker.distribution.manifest.v2+json',
    ];
    const read = async (path: string): Promise<unknown> => {
      const response = await fetch(`http://${this.host}/v2/${name}/${path}`, {
        headers: { accept: accept.join(', ') },
      });
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
      return response.json();
    };
    const manifest = (await read(`manifests/${tag}`)) as RegistryManifest;
    return { manifest, config: await read(`blobs/${manifest.config.digest}`) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.kill();
    await this.server.ended;
    rmSync(this.folder, { recursive: true });
  }
}

/** The parts of a manifest that the tests read. */
export interface RegistryManifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string; readonly mediaType: string }[];
}
