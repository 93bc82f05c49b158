// The Node.js driver, with its defaults, against a server: `node main.js HOST:PORT`; see cluster.js for `write` and `follow`.
//
// Each case prints `ok NAME` or `FAILED NAME: why`; the last line is `N passed, N failed`.
'use strict';
const assert = require('node:assert');
const { Client, types } = require('cassandra-driver');
const { onCluster } = require('./cluster');

const KEYSPACE = 'node_driver';

async function table(client, name, columns) {
  await client.execute(`DROP TABLE IF EXISTS ${name}`);
  await client.execute(`CREATE TABLE ${name} (${columns})`);
}

const CASES = {
  async values(client) {
    await table(client, 'everything', 'k int PRIMARY KEY, t text, l list<int>, m map<text, int>, u uuid, w timestamp, g bigint');
    const row = [1, 'ünï', [3, 1], { a: 1 }, types.Uuid.random(), new Date(1700000000123), types.Long.fromString('9007199254740993')];
    await client.execute('INSERT INTO everything (k, t, l, m, u, w, g) VALUES (?, ?, ?, ?, ?, ?, ?)', row, { prepare: true });
    const got = (await client.execute('SELECT k, t, l, m, u, w, g FROM everything WHERE k = ?', [1], { prepare: true })).first();
    assert.deepStrictEqual(got.values().map(String), row.map(String));
  },
  async paging(client) {
    await table(client, 'paging', 'p int, c int, PRIMARY KEY (p, c)');
    for (let c = 0; c < 300; c++) {
      await client.execute('INSERT INTO paging (p, c) VALUES (?, ?)', [c % 3, c], { prepare: true });
    }
    for (const fetchSize of [1, 7, 5000]) {
      const seen = new Set();
      for await (const row of client.stream('SELECT p, c FROM paging', [], { prepare: true, autoPage: true, fetchSize })) {
        seen.add(row.c);
      }
      assert.strictEqual(seen.size, 300);
    }
  },
  async batches(client) {
    await table(client, 'batches', 'k int PRIMARY KEY, v text');
    const query = 'INSERT INTO batches (k, v) VALUES (?, ?)';
    await client.batch([{ query, params: [1, 'one'] }, { query, params: [2, 'two'] }], { prepare: true });
    assert.strictEqual((await client.execute('SELECT count(*) AS n FROM batches')).first().n.toNumber(), 2);
  },
  async conditions(client) {
    await table(client, 'conditions', 'k int PRIMARY KEY, v int');
    for (const expected of [true, false]) {
      const result = await client.execute('INSERT INTO conditions (k, v) VALUES (1, 1) IF NOT EXISTS');
      assert.strictEqual(result.wasApplied(), expected);
    }
  },
  async metadata(client) {
    await table(client, 'metadata', 'a int, b text, c int, PRIMARY KEY ((a, b), c)');
    const described = await client.metadata.getTable(KEYSPACE, 'metadata');
    assert.deepStrictEqual(described.partitionKeys.map((column) => column.name), ['a', 'b']);
    assert.deepStrictEqual(described.clusteringKeys.map((column) => column.name), ['c']);
  },
};

async function main() {
  const [host, port] = process.argv[2].split(':');
  const options = { contactPoints: [host], protocolOptions: { port: Number(port || 9042) } };
  if (process.argv.length > 3) {
    await onCluster(new Client({ ...options, localDataCenter: 'datacenter1' }), process.argv.slice(3));
    return;
  }
  let passed = 0;
  let failed = 0;
  let client;
  try {
    const first = new Client({ ...options, localDataCenter: 'datacenter1' });
    await first.execute(`CREATE KEYSPACE IF NOT EXISTS ${KEYSPACE} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`);
    await first.shutdown();
    client = new Client({ ...options, localDataCenter: 'datacenter1', keyspace: KEYSPACE });
    await client.connect();
    console.log('ok connect');
    passed++;
    for (const [name, run] of Object.entries(CASES)) {
      try {
        await run(client);
        console.log(`ok ${name}`);
        passed++;
      } catch (error) {
        console.log(`FAILED ${name}: ${String(error.message).split('\n')[0]}`);
        failed++;
      }
    }
  } catch (error) {
    console.log(`FAILED connect: ${error.message}`);
    failed++;
  }
  await client?.shutdown();
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
