//! Topics, as entries of the metadata log make them: names, partitions, configurations. The same on every node.
//!
//! ```text
//!   TopicChange ─► metadata log ─► Topics::apply on every shard ─► an effect on the tablet map: a group of tablets for each topic
//! ```
//!
//! Who leads a partition is an entry as well ([`crate::leaders`]). A partition is a tablet of the topic's group. A topic's group is the index of the entry that made it, so it is unique for ever, and with it the
//! topic's id ([`Topics::id_of`]). It knows no clock and does no IO.

mod change;

pub use change::{Refused, TopicChange};

use crate::configs::TopicSettings;
use crate::leaders::Leadership;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, NodeId, ShortInput, TabletId};
use holon_kernel::{MetadataEffect, NewTablets, Replication};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// Bytes of a topic's name: what Kafka allows, because it makes a file's name of it.
pub const NAME_BYTES_MAX: usize = 249;

/// Ids of producers are given to nodes so many at a time.
pub const PRODUCER_BLOCK: u64 = 1000;

const SNAPSHOT_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Rc<str>,
    /// Of the first partitions; of this its id is made.
    pub group: GroupId,
    pub partitions: u32,
    /// Groups of the partitions that came later: the first of each, in their order. So those that were there stay where they are.
    pub later: Vec<(u32, GroupId)>,
    /// Nodes that have each partition.
    pub replication: u32,
    /// What was set; the rest is as the defaults are.
    pub configs: BTreeMap<String, String>,
}

impl Topic {
    /// `None`: it has no such partition.
    pub fn tablet(&self, partition: i32) -> Option<TabletId> {
        let partition = u32::try_from(partition).ok().filter(|partition| *partition < self.partitions)?;
        let (first, group) = self.parts().take_while(|(first, _)| *first <= partition).last()?;
        Some(TabletId::new(group, partition - first))
    }

    /// Which partition a tablet is.
    fn partition(&self, tablet: TabletId) -> Option<u32> {
        let (first, _) = self.parts().find(|(_, group)| *group == tablet.group())?;
        let partition = first + tablet.ordinal();
        (self.tablet(partition.cast_signed()) == Some(tablet)).then_some(partition)
    }

    /// Its groups of tablets, and the first partition of each.
    fn parts(&self) -> impl Iterator<Item = (u32, GroupId)> {
        std::iter::once((0, self.group)).chain(self.later.iter().copied())
    }
}

/// All topics of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    by_name: BTreeMap<Rc<str>, Rc<Topic>>,
    by_group: BTreeMap<GroupId, Rc<str>>,
    /// Of partitions that somebody led.
    leaderships: BTreeMap<TabletId, Rc<Leadership>>,
    /// Nodes by the numbers that clients know them by: in the order in which they came, for ever.
    brokers: BTreeMap<NodeId, i32>,
    /// The next id of a producer that was not given to a node yet.
    next_producer: u64,
}

impl Topics {
    pub fn get(&self, name: &str) -> Option<&Rc<Topic>> {
        self.by_name.get(name)
    }

    pub fn of_group(&self, group: GroupId) -> Option<&Rc<Topic>> {
        self.by_group.get(&group).and_then(|name| self.get(name))
    }

    /// Of which topic a tablet is, and which partition.
    pub fn partition_of(&self, tablet: TabletId) -> Option<(&Rc<Topic>, i32)> {
        let topic = self.of_group(tablet.group())?;
        Some((topic, topic.partition(tablet)?.cast_signed()))
    }

    /// By name.
    pub fn all(&self) -> impl Iterator<Item = &Rc<Topic>> {
        self.by_name.values()
    }

    /// Who leads a partition; `None`: nobody did yet.
    pub fn leadership(&self, tablet: TabletId) -> Option<&Rc<Leadership>> {
        self.leaderships.get(&tablet)
    }

    /// The number that clients know a node by; `None`: it has not asked for one yet.
    pub fn broker(&self, node: NodeId) -> Option<i32> {
        self.brokers.get(&node).copied()
    }

    /// The topic's id in a cluster: never 0, never one of a topic before.
    pub fn id_of(cluster: u128, group: GroupId) -> u128 {
        // Odd, so that no two groups have the same; the variant and the version make a uuid of it.
        let spread = cluster ^ u128::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let (version, variant) = (0xf << 76, 0x3 << 62);
        spread & !(version | variant) | (4 << 76) | (2 << 62)
    }

    /// Applies a committed entry. An error is an answer too: nothing changed.
    ///
    /// # Errors
    /// [`Refused`], encoded.
    pub fn apply(&mut self, index: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes> {
        let change = TopicChange::decode(entry).map_err(|short| Refused::Unreadable(short.offset as u32).encode())?;
        self.change(index, change).map_err(|refused| refused.encode())
    }

    fn change(&mut self, index: u64, change: TopicChange) -> Result<MetadataEffect, Refused> {
        let mut effect = MetadataEffect::default();
        match change {
            TopicChange::Create { name, partitions, replication, configs } => {
                self.check_new(&name)?;
                check_partitions(partitions)?;
                if replication == 0 {
                    return Err(Refused::Replication(replication));
                }
                let (group, name): (_, Rc<str>) = (GroupId(index), name.into());
                let later = Vec::new();
                let topic = Topic { name: name.clone(), group, partitions, later, replication, configs };
                self.by_group.insert(group, name.clone());
                self.by_name.insert(name, Rc::new(topic));
                let replication = Replication::Simple { factor: replication };
                effect.create_tablets = Some(NewTablets { count: partitions, replication });
                effect.answer = number(index);
            }
            TopicChange::Delete { group } => {
                let topic = self.of_group(group).ok_or(Refused::NoTopic)?.clone();
                self.by_name.remove(&topic.name);
                for (_, group) in topic.parts() {
                    self.by_group.remove(&group);
                    let ended: Vec<TabletId> =
                        self.leaderships.range(tablets_of(group)).map(|(tablet, _)| *tablet).collect();
                    ended.iter().for_each(|tablet| drop(self.leaderships.remove(tablet)));
                }
                effect.remove_groups = topic.parts().map(|(_, group)| group).collect();
            }
            TopicChange::Grow { group, partitions } => {
                let topic = self.of_group(group).ok_or(Refused::NoTopic)?;
                check_partitions(partitions)?;
                let count = partitions.checked_sub(topic.partitions).filter(|more| *more > 0);
                let count = count.ok_or(Refused::NotMore(topic.partitions))?;
                let mut grown = Topic::clone(topic);
                grown.later.push((grown.partitions, GroupId(index)));
                grown.partitions = partitions;
                let replication = Replication::Simple { factor: grown.replication };
                self.by_group.insert(GroupId(index), grown.name.clone());
                self.by_name.insert(grown.name.clone(), Rc::new(grown));
                effect.create_tablets = Some(NewTablets { count, replication });
            }
            TopicChange::Configure { group, configs } => {
                let topic = self.of_group(group).ok_or(Refused::NoTopic)?;
                let mut changed = Topic::clone(topic);
                for (key, value) in configs {
                    match value {
                        Some(value) => drop(changed.configs.insert(key, value)),
                        None => drop(changed.configs.remove(&key)),
                    }
                }
                self.by_name.insert(changed.name.clone(), Rc::new(changed));
            }
            TopicChange::TakeProducers => {
                effect.answer = number(self.next_producer);
                self.next_producer += PRODUCER_BLOCK;
            }
            TopicChange::Number { node } => {
                let next = self.brokers.len() as i32;
                self.brokers.entry(node).or_insert(next);
            }
            TopicChange::Lead { changes } => {
                for (tablet, change) in changes {
                    let Some((topic, _)) = self.partition_of(tablet) else { continue };
                    let in_sync_min = TopicSettings::of_topic(topic).min_in_sync as usize;
                    let current = self.leaderships.get(&tablet).map(|current| &**current);
                    if let Ok(changed) = Leadership::change(current, change, in_sync_min) {
                        self.leaderships.insert(tablet, Rc::new(changed));
                    }
                }
            }
        }
        Ok(effect)
    }

    /// # Errors
    /// What the change would be refused for now.
    pub fn check(&self, change: &TopicChange) -> Result<(), Refused> {
        self.clone().change(0, change.clone()).map(drop)
    }

    /// # Errors
    /// A name that no topic may have, or one that another has.
    pub fn check_new(&self, name: &str) -> Result<(), Refused> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name == "." || name == ".." || !name.bytes().all(fits) {
            return Err(Refused::Name);
        }
        if self.by_name.contains_key(name) {
            return Err(Refused::Exists);
        }
        // The names of metrics have no dots, so two such topics would be one there.
        let folded = |name: &str| name.replace('.', "_");
        let has_either = name.contains(['.', '_']);
        match self.by_name.keys().find(|other| has_either && folded(other) == folded(name)) {
            Some(other) => Err(Refused::Collides(other.to_string())),
            None => Ok(()),
        }
    }

    pub fn snapshot(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(SNAPSHOT_VERSION);
        out.put_u64(self.next_producer);
        out.put_varint(self.by_name.len() as u64);
        for topic in self.by_name.values() {
            out.put_prefixed(topic.name.as_bytes());
            out.put_u64(topic.group.0);
            out.put_u32(topic.partitions);
            out.put_u32(topic.replication);
            out.put_varint(topic.later.len() as u64);
            for (first, group) in &topic.later {
                out.put_u32(*first);
                out.put_u64(group.0);
            }
            change::put_configs(&mut out, topic.configs.iter().map(|(key, value)| (key, Some(value))));
        }
        out.put_varint(self.leaderships.len() as u64);
        for (tablet, leadership) in &self.leaderships {
            out.put_u64(tablet.0);
            leadership.encode(&mut out);
        }
        out.put_varint(self.brokers.len() as u64);
        for (node, number) in &self.brokers {
            out.put_u128(node.0);
            out.put_u32(number.cast_unsigned());
        }
        out.freeze()
    }

    /// # Errors
    /// It is not what [`Topics::snapshot`] wrote.
    pub fn restore(snapshot: &Bytes) -> Result<Topics, ShortInput> {
        let mut input = ByteReader::new(snapshot.clone());
        if input.u8()? != SNAPSHOT_VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let mut topics = Topics { next_producer: input.u64()?, ..Topics::default() };
        for _ in 0..input.count()? {
            let (name, group): (Rc<str>, _) = (input.prefixed_str()?.into(), GroupId(input.u64()?));
            let (partitions, replication) = (input.u32()?, input.u32()?);
            let later: Vec<(u32, GroupId)> =
                (0..input.count()?).map(|_| Ok((input.u32()?, GroupId(input.u64()?)))).collect::<Result<_, _>>()?;
            let configs = change::configs(&mut input)?;
            let configs = configs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            let topic = Topic { name, group, partitions, later, replication, configs };
            topics.by_group.extend(topic.parts().map(|(_, group)| (group, topic.name.clone())));
            topics.by_name.insert(topic.name.clone(), Rc::new(topic));
        }
        for _ in 0..input.count()? {
            let tablet = TabletId(input.u64()?);
            topics.leaderships.insert(tablet, Rc::new(Leadership::decode(&mut input)?));
        }
        for _ in 0..input.count()? {
            topics.brokers.insert(NodeId(input.u128()?), input.u32()?.cast_signed());
        }
        input.end()?;
        Ok(topics)
    }
}

fn check_partitions(count: u32) -> Result<(), Refused> {
    let fits = (1..TabletId::PER_ENTRY_MAX as u32).contains(&count);
    if fits { Ok(()) } else { Err(Refused::Partitions(count)) }
}

fn tablets_of(group: GroupId) -> RangeInclusive<TabletId> {
    TabletId::new(group, 0)..=TabletId::new(group, TabletId::PER_ENTRY_MAX as u32 - 1)
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaders::Change;
    use holon_base::NodeId;

    fn create(name: &str) -> TopicChange {
        let configs = BTreeMap::from([("retention.ms".to_string(), "5".to_string())]);
        TopicChange::Create { name: name.to_string(), partitions: 3, replication: 2, configs }
    }

    fn apply(topics: &mut Topics, index: u64, change: &TopicChange) -> Result<MetadataEffect, Refused> {
        topics.apply(index, &change.encode()).map_err(|refused| Refused::decode(&refused).expect("its own bytes"))
    }

    #[test]
    fn a_topic_is_a_group_of_tablets_and_what_was_set() {
        let mut topics = Topics::default();
        let effect = apply(&mut topics, 7, &create("flights")).expect("made");
        let replication = Replication::Simple { factor: 2 };
        assert_eq!(effect.create_tablets, Some(NewTablets { count: 3, replication }));
        assert_eq!(apply(&mut topics, 8, &create("flights")), Err(Refused::Exists));
        let topic = topics.get("flights").expect("there").clone();
        assert_eq!(topic.tablet(2), Some(TabletId::new(GroupId(7), 2)));
        assert_eq!((topic.tablet(3), topic.tablet(-1)), (None, None));
        let configs = vec![("retention.ms".to_string(), None), ("a".to_string(), Some("b".to_string()))];
        apply(&mut topics, 9, &TopicChange::Configure { group: GroupId(7), configs }).expect("changed");
        assert_eq!(topics.get("flights").expect("there").configs, BTreeMap::from([("a".into(), "b".into())]));
        assert_eq!(Topics::restore(&topics.snapshot()), Ok(topics.clone()));
        let effect = apply(&mut topics, 10, &TopicChange::Delete { group: GroupId(7) }).expect("deleted");
        assert_eq!(effect.remove_groups, [GroupId(7)]);
        assert_eq!(topics, Topics::default());
        assert_eq!(apply(&mut topics, 11, &TopicChange::Delete { group: GroupId(7) }), Err(Refused::NoTopic));
    }

    #[test]
    fn names_are_those_that_kafka_allows() {
        let mut topics = Topics::default();
        for name in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert_eq!(apply(&mut topics, 1, &create(name)), Err(Refused::Name), "{name}");
        }
        apply(&mut topics, 2, &create("a.b_c")).expect("made");
        apply(&mut topics, 3, &create(&"x".repeat(249))).expect("made");
        assert_eq!(apply(&mut topics, 4, &create("a_b.c")), Err(Refused::Collides("a.b_c".to_string())));
        assert_eq!(topics.all().count(), 2);
    }

    #[test]
    fn ids_of_producers_are_given_once() {
        let mut topics = Topics::default();
        let blocks: Vec<Bytes> =
            (0..3).map(|index| apply(&mut topics, index, &TopicChange::TakeProducers).expect("given").answer).collect();
        assert_eq!(blocks, [number(0), number(1000), number(2000)]);
        assert_eq!(Topics::restore(&topics.snapshot()), Ok(topics));
    }

    #[test]
    fn ids_of_topics_differ_and_are_uuids() {
        let ids: std::collections::BTreeSet<u128> =
            (0..10_000).map(|index| Topics::id_of(0x1234_5678_9abc_def0_1234_5678_9abc_def0, GroupId(index))).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| (id >> 76) & 0xf == 4 && (id >> 62) & 3 == 2));
    }

    #[test]
    fn a_topic_that_grows_keeps_its_partitions_where_they_are() {
        let mut topics = Topics::default();
        apply(&mut topics, 7, &create("t")).expect("made");
        let grow = |partitions| TopicChange::Grow { group: GroupId(7), partitions };
        for count in [0, 1, 3] {
            let expected = if count == 0 { Refused::Partitions(0) } else { Refused::NotMore(3) };
            assert_eq!(apply(&mut topics, 8, &grow(count)), Err(expected));
        }
        let made = |count| Some(NewTablets { count, replication: Replication::Simple { factor: 2 } });
        for (index, partitions, count) in [(9, 5, 2), (20, 6, 1)] {
            let effect = apply(&mut topics, index, &grow(partitions)).expect("grown");
            assert_eq!(effect.create_tablets, made(count));
        }
        let tablet = |group, ordinal| TabletId::new(GroupId(group), ordinal);
        let expected = [(7, 0), (7, 1), (7, 2), (9, 0), (9, 1), (20, 0)].map(|(group, ordinal)| tablet(group, ordinal));
        let topic = topics.get("t").expect("there").clone();
        assert_eq!((0..6).filter_map(|index| topic.tablet(index)).collect::<Vec<_>>(), expected);
        assert_eq!((topic.tablet(6), topic.tablet(-1)), (None, None));
        for (index, tablet) in (0..).zip(expected) {
            assert_eq!(topics.partition_of(tablet).map(|(topic, index)| (&*topic.name, index)), Some(("t", index)));
        }
        assert_eq!([tablet(7, 3), tablet(9, 2), tablet(8, 0)].map(|one| topics.partition_of(one).is_none()), [true; 3]);
        assert_eq!(Topics::restore(&topics.snapshot()), Ok(topics.clone()));
        let effect = apply(&mut topics, 21, &TopicChange::Delete { group: GroupId(7) }).expect("deleted");
        assert_eq!(effect.remove_groups, [7, 9, 20].map(GroupId));
        assert_eq!((topics.of_group(GroupId(9)), topics.partition_of(tablet(20, 0))), (None, None));
    }

    #[test]
    fn nodes_are_numbered_in_the_order_in_which_they_came() {
        let mut topics = Topics::default();
        let (a, b) = (NodeId(u128::MAX), NodeId(7));
        for (index, node) in [a, b, a].into_iter().enumerate() {
            apply(&mut topics, index as u64, &TopicChange::Number { node }).expect("numbered");
        }
        assert_eq!((topics.broker(a), topics.broker(b), topics.broker(NodeId(1))), (Some(0), Some(1), None));
        assert_eq!(Topics::restore(&topics.snapshot()), Ok(topics));
    }

    #[test]
    fn leaders_are_of_partitions_that_are_there_and_end_with_their_topic() {
        let mut topics = Topics::default();
        let (a, b) = (NodeId(1), NodeId(2));
        let min = |count: &str| BTreeMap::from([("min.insync.replicas".to_string(), count.to_string())]);
        for (index, configs) in [(7, min("2")), (8, BTreeMap::new())] {
            let create = TopicChange::Create { name: format!("t{index}"), partitions: 2, replication: 2, configs };
            apply(&mut topics, index, &create).expect("made");
        }
        let tablet = |group, ordinal| TabletId::new(GroupId(group), ordinal);
        let begin = |tablet| (tablet, Change::Begin { leader: a, in_sync: vec![a, b] });
        let all = [tablet(7, 0), tablet(7, 1), tablet(7, 2), tablet(8, 1), tablet(9, 0)];
        let lead = TopicChange::Lead { changes: all.iter().copied().map(begin).collect() };
        apply(&mut topics, 10, &lead).expect("each by itself");
        let led = |topics: &Topics| all.iter().map(|one| topics.leadership(*one).is_some()).collect::<Vec<_>>();
        assert_eq!(led(&topics), [true, true, false, true, false]);
        // Of two that go by the same version the first counts, and a topic has its own least number in sync.
        let alter = |tablet, in_sync| (tablet, Change::Alter { version: 0, in_sync });
        let changes =
            [tablet(7, 0), tablet(8, 1)].into_iter().flat_map(|one| [alter(one, vec![a]), alter(one, vec![a, b])]);
        apply(&mut topics, 11, &TopicChange::Lead { changes: changes.collect() }).expect("each by itself");
        let of = |topics: &Topics, one| topics.leadership(one).map(|led| (led.in_sync.clone(), led.eligible.clone()));
        assert_eq!(of(&topics, tablet(7, 0)), Some((vec![a], vec![b])));
        assert_eq!(of(&topics, tablet(8, 1)), Some((vec![a], vec![])));
        assert_eq!(Topics::restore(&topics.snapshot()), Ok(topics.clone()));
        apply(&mut topics, 12, &TopicChange::Delete { group: GroupId(7) }).expect("deleted");
        assert_eq!(led(&topics), [false, false, false, true, false]);
    }
}
