// For clusters of several nodes, from one contact point:
//
// `write TABLE N` writes rows 0 to N of a table with columns k and v, for whoever counts where they come;
// `follow TABLE` prints `hosts …` and `columns …` whenever what the driver knows has changed, until stdin ends.
'use strict';

const WRITES_AT_ONCE = 32;
const LOOK_EVERY_MS = 100;

async function write(client, table, rows) {
  let next = 0;
  const writer = async () => {
    while (next < rows) {
      const key = next++;
      await client.execute(`INSERT INTO ${table} (k, v) VALUES (?, ?)`, [key, key], { prepare: true });
    }
  };
  await Promise.all(Array.from({ length: WRITES_AT_ONCE }, writer));
}

async function follow(client, name) {
  const [keyspace, table] = name.split('.');
  let ended = false;
  process.stdin.on('end', () => { ended = true; }).resume();
  const said = {};
  const tell = (what, words) => {
    const line = [...words].sort().join(' ');
    if (line !== said[what]) {
      said[what] = line;
      console.log(`${what} ${line}`);
    }
  };
  while (!ended) {
    tell('hosts', client.hosts.values().map((host) => host.address.split(':')[0]));
    // Kept by the driver until an event says that it changed.
    const described = await client.metadata.getTable(keyspace, table);
    tell('columns', (described?.columns ?? []).map((column) => column.name));
    await new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY_MS); });
  }
}

async function onCluster(client, words) {
  await client.connect();
  try {
    if (words[0] === 'write' && words.length === 3) {
      await write(client, words[1], Number(words[2]));
    } else if (words[0] === 'follow' && words.length === 2) {
      await follow(client, words[1]);
    } else {
      throw new Error('usage: main.js HOST:PORT [write TABLE N | follow TABLE]');
    }
  } finally {
    await client.shutdown();
  }
}

module.exports = { onCluster };
