// kafkajs, with its defaults, against a broker: `node main.js HOST:PORT`. It shares nothing with librdkafka or the Java client.
//
// Each case prints `ok NAME` or `FAILED NAME: why`; the last line is `N passed, N failed`.
'use strict';
const assert = require('node:assert');
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs');

const LIMIT_MS = 20000;
const UNIQUE = `${process.pid}-${Date.now()}`;

const name = (word) => `kafkajs-${word}-${UNIQUE}`;

async function topic(admin, word, numPartitions, configEntries = []) {
  assert.strictEqual(await admin.createTopics({ topics: [{ topic: name(word), numPartitions, configEntries }] }), true);
  return name(word);
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, at) => ({ key: String((from + at) % 7), value: String(from + at) }));

async function produce(kafka, name, messages, options = {}, sending = {}) {
  const producer = kafka.producer(options);
  await producer.connect();
  const sent = await producer.send({ topic: name, messages, ...sending });
  await producer.disconnect();
  return sent;
}

// Consumers of a group read until they have so many records in all; each is stopped then.
async function consume(kafka, groupId, name, count, members = 1) {
  const consumers = Array.from({ length: members }, () => kafka.consumer({ groupId }));
  const taken = [];
  try {
    await new Promise((done, failed) => {
      const limit = setTimeout(() => failed(new Error(`${taken.length} of ${count} records within ${LIMIT_MS} ms`)), LIMIT_MS);
      const each = async ({ partition, message }) => {
        taken.push({ partition, message });
        if (taken.length >= count) {
          clearTimeout(limit);
          done();
        }
      };
      consumers.forEach(async (consumer) => {
        try {
          await consumer.connect();
          await consumer.subscribe({ topics: [name], fromBeginning: true });
          await consumer.run({ eachMessage: each });
        } catch (error) {
          failed(error);
        }
      });
    });
  } finally {
    await Promise.all(consumers.map((consumer) => consumer.disconnect()));
  }
  return taken;
}

const sorted = (taken) => taken.map(({ message }) => Number(message.value)).sort((one, other) => one - other);

const CASES = {
  async records_with_all_they_have(kafka, admin) {
    const of = await topic(admin, 'all', 1);
    const sent = [{ key: 'k', value: 'v', headers: { h: 'x', n: Buffer.from([0, 255]) }, timestamp: '1700000000123' }, { key: null, value: null }];
    const [answer] = await produce(kafka, of, sent);
    assert.deepStrictEqual([answer.errorCode, answer.baseOffset], [0, '0']);
    const [first, second] = (await consume(kafka, name('g-all'), of, 2)).map(({ message }) => message);
    assert.deepStrictEqual([first.offset, String(first.key), String(first.value), first.timestamp], ['0', 'k', 'v', '1700000000123']);
    assert.deepStrictEqual([String(first.headers.h), first.headers.n], ['x', Buffer.from([0, 255])]);
    assert.deepStrictEqual([second.offset, second.key, second.value], ['1', null, null]);
  },
  async a_group_of_two(kafka, admin) {
    const of = await topic(admin, 'group', 4);
    await produce(kafka, of, numbers(0, 400));
    const taken = await consume(kafka, name('g-group'), of, 400, 2);
    assert.deepStrictEqual(sorted(taken), numbers(0, 400).map(({ value }) => Number(value)));
    await produce(kafka, of, numbers(400, 500));
    assert.deepStrictEqual(sorted(await consume(kafka, name('g-group'), of, 100)), numbers(400, 500).map(({ value }) => Number(value)));
    const [offsets] = await admin.fetchOffsets({ groupId: name('g-group'), topics: [of] });
    assert.strictEqual(offsets.partitions.reduce((sum, { offset }) => sum + Number(offset), 0), 500);
  },
  async gzip_and_acks(kafka, admin) {
    const of = await topic(admin, 'gzip', 1);
    await produce(kafka, of, numbers(0, 100), {}, { compression: CompressionTypes.GZIP });
    await produce(kafka, of, numbers(100, 200), {}, { acks: 1 });
    await produce(kafka, of, numbers(200, 300), {}, { acks: 0 });
    assert.strictEqual(sorted(await consume(kafka, name('g-gzip'), of, 300)).length, 300);
  },
  async an_idempotent_producer(kafka, admin) {
    const of = await topic(admin, 'idempotent', 1);
    const options = { idempotent: true, maxInFlightRequests: 1 };
    for (let from = 0; from < 300; from += 100) {
      await produce(kafka, of, numbers(from, from + 100), options);
    }
    assert.strictEqual((await admin.fetchTopicOffsets(of))[0].high, '300');
  },
  async a_topic_made_by_producing(kafka, admin) {
    await produce(kafka, name('auto'), numbers(0, 10));
    const { topics } = await admin.fetchTopicMetadata({ topics: [name('auto')] });
    assert.deepStrictEqual([topics[0].name, topics[0].partitions.length, topics[0].partitions[0].isr.length], [name('auto'), 1, 1]);
  },
  async administration(kafka, admin) {
    const of = await topic(admin, 'admin', 3, [{ name: 'retention.ms', value: '1234' }]);
    assert.strictEqual(await admin.createTopics({ topics: [{ topic: of }] }), false);
    assert.ok((await admin.listTopics()).includes(of));
    const { brokers } = await admin.describeCluster();
    assert.strictEqual(brokers.length, 1);
    const resource = { type: ConfigResourceTypes.TOPIC, name: of };
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name: 'retention.bytes', value: '77' }] }] });
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ ...resource, configNames: ['retention.ms', 'retention.bytes'] }] });
    const values = Object.fromEntries(resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]));
    assert.deepStrictEqual(values, { 'retention.ms': '604800000', 'retention.bytes': '77' });
    await produce(kafka, of, numbers(0, 30), {}, { timeout: 5000 });
    const ends = await admin.fetchTopicOffsets(of);
    await admin.deleteTopicRecords({ topic: of, partitions: ends.map(({ partition, high }) => ({ partition, offset: high })) });
    assert.ok((await admin.fetchTopicOffsets(of)).every(({ low, high }) => low === high));
    await admin.deleteTopics({ topics: [of] });
    assert.ok(!(await admin.listTopics()).includes(of));
  },
  async groups(kafka, admin) {
    const of = await topic(admin, 'groups', 1);
    await produce(kafka, of, numbers(0, 10));
    await consume(kafka, name('g-groups'), of, 10);
    assert.ok((await admin.listGroups()).groups.some(({ groupId }) => groupId === name('g-groups')));
    const { groups } = await admin.describeGroups([name('g-groups')]);
    assert.deepStrictEqual([groups[0].state, groups[0].members.length], ['Empty', 0]);
    await admin.setOffsets({ groupId: name('g-groups'), topic: of, partitions: [{ partition: 0, offset: '4' }] });
    assert.deepStrictEqual(sorted(await consume(kafka, name('g-groups'), of, 6)), [4, 5, 6, 7, 8, 9]);
    await admin.deleteGroups([name('g-groups')]);
    assert.ok(!(await admin.listGroups()).groups.some(({ groupId }) => groupId === name('g-groups')));
  },
};

async function main() {
  const kafka = new Kafka({ clientId: 'kafkajs', brokers: [process.argv[2]], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  let failed = 0;
  // All at once: most of them wait for a group to form.
  await Promise.all(Object.entries(CASES).map(async ([word, run]) => {
    try {
      await run(kafka, admin);
      console.log(`ok ${word}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${word}: ${String(error.stack || error).replace(/\s+/g, ' ')}`);
    }
  }));
  await admin.disconnect();
  console.log(`${Object.keys(CASES).length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

main();
