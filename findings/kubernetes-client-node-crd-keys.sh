#!/usr/bin/env bash
# @kubernetes/client-node 1.4.0, KubernetesObjectApi.
#
# KubernetesObjectApi takes any manifest. Of a CustomResourceDefinition it sends a part, without an error: `default` and
# `enum` are left out of the schema, so that every value is accepted and none is filled in, and so are
# x-kubernetes-list-type and x-kubernetes-list-map-keys, so that a server-side apply owns and replaces lists as a whole,
# x-kubernetes-int-or-string and x-kubernetes-preserve-unknown-fields. The package reads these keys as _default, _enum
# and x_kubernetes_..., which no manifest has.
#
# Expected: the server gets the schema of the manifest.
# Seen: it gets the schema without these keys.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes > init.log
npm install --silent --no-audit --no-fund @kubernetes/client-node@1.4.0

cat > create.mjs <<'JS'
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { KubeConfig, KubernetesObjectApi } from '@kubernetes/client-node';

const properties = {
  role: { type: 'string', enum: ['prefill', 'decode'], default: 'decode' },
  port: { 'x-kubernetes-int-or-string': true },
  options: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
  services: {
    type: 'array',
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['name'],
    items: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
  },
};
const manifest = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'graphs.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { kind: 'Graph', plural: 'graphs' },
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties } } }],
  },
};

// A server that lists the kind and keeps what it is sent.
let sent;
const kind = { name: 'customresourcedefinitions', singularName: '', kind: manifest.kind, namespaced: false, verbs: ['create'] };
const list = { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: manifest.apiVersion, resources: [kind] };
const server = createServer(async (request, response) => {
  const body = await text(request);
  response.setHeader('content-type', 'application/json');
  if (request.method === 'POST') sent = JSON.parse(body);
  response.end(request.method === 'POST' ? body : JSON.stringify(list));
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

const config = new KubeConfig();
const address = `http://127.0.0.1:${server.address().port}`;
config.loadFromClusterAndUser({ name: 'finding', server: address, skipTLSVerify: true }, { name: 'user' });
await KubernetesObjectApi.makeApiClient(config).create(manifest);
const line = ([name, schema]) => `${name}: ${Object.keys(schema).sort().join(' ')}`;
const keys = (schemas) => Object.entries(schemas).map(line).sort().join('; ');
const arrived = keys(sent.spec.versions[0].schema.openAPIV3Schema.properties);
console.log(`the manifest: ${keys(properties)}\nthe server:   ${arrived}`);
process.exit(arrived === 'options: type; port: ; role: type; services: items type' ? 0 : 1);
JS

node create.mjs || { echo 'changed: expected only the keys items and type'; exit 1; }
