//! What the log says of all groups: the sum of its records, and its snapshots. Followers keep one, and a coordinator starts from it.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter};
use std::collections::BTreeMap;

use crate::groups::record::{DecodeError, FORMAT_VERSION, GroupRecord, OffsetRecord, OffsetValue, Record};
use crate::groups::request::Name;
use crate::groups::transactional::{Ended, Transactional};

/// Offsets of a group, by topic and partition.
pub(crate) type Offsets = BTreeMap<Name, BTreeMap<i32, OffsetValue>>;

/// What is kept of a group. A group with offsets and no record is of consumers without membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) record: Option<GroupRecord>,
    pub(crate) offsets: Offsets,
}

#[derive(Clone, Debug, Default)]
pub struct Image {
    groups: BTreeMap<Name, Kept>,
    transactional: Transactional,
}

impl Image {
    /// Of bytes that [`Image::snapshot`] or [`crate::groups::Coordinator::snapshot`] gave.
    pub fn from_snapshot(bytes: Bytes) -> Result<Image, DecodeError> {
        let mut reader = ByteReader::new(bytes);
        match reader.u8()? {
            FORMAT_VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let mut image = Image::default();
        for _ in 0..reader.count()? {
            image.apply(Record::read(&mut reader)?);
        }
        reader.end()?;
        Ok(image)
    }

    /// The next record of the log.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Group(record) => {
                let group = record.group.clone();
                self.groups.entry(group).or_default().record = Some(record);
            }
            Record::GroupRemoved { group } => {
                self.groups.remove(&group);
                self.transactional.forget(&group);
            }
            Record::TransactionalOffsets { producer_id, group, offsets } => {
                self.groups.entry(group.clone()).or_default();
                self.transactional.put(producer_id, &group, offsets);
            }
            Record::TransactionEnded { producer_id, producer_epoch, commit, at_ms } => {
                let ended = Ended { epoch: producer_epoch, at_ms };
                for (group, offsets) in self.transactional.end(producer_id, ended) {
                    if commit {
                        put(&mut self.groups.entry(group).or_default().offsets, records_of(&offsets));
                    }
                }
            }
            Record::Offsets { group, offsets } => put(&mut self.groups.entry(group).or_default().offsets, offsets),
            Record::OffsetsRemoved { group, partitions } => {
                if let Some(kept) = self.groups.get_mut(&group) {
                    remove(&mut kept.offsets, &partitions);
                }
            }
        }
    }

    pub fn snapshot(&self) -> Bytes {
        let groups = self.groups.iter().map(|(name, kept)| (name, kept.record.as_ref(), &kept.offsets));
        snapshot(groups, &self.transactional)
    }

    pub(crate) fn into_parts(self) -> (BTreeMap<Name, Kept>, Transactional) {
        (self.groups, self.transactional)
    }
}

pub(crate) fn put(offsets: &mut Offsets, new: Vec<OffsetRecord>) {
    for OffsetRecord { topic, partition, value } in new {
        offsets.entry(topic).or_default().insert(partition, value);
    }
}

pub(crate) fn remove(offsets: &mut Offsets, partitions: &[(Name, i32)]) {
    for (topic, partition) in partitions {
        if let Some(of_topic) = offsets.get_mut(topic) {
            of_topic.remove(partition);
            if of_topic.is_empty() {
                offsets.remove(topic);
            }
        }
    }
}

pub(crate) fn records_of(offsets: &Offsets) -> Vec<OffsetRecord> {
    let of_topic = |(topic, partitions): (&Name, &BTreeMap<i32, OffsetValue>)| {
        let topic = topic.clone();
        let offset = move |(&partition, value): (&i32, &OffsetValue)| OffsetRecord {
            topic: topic.clone(),
            partition,
            value: value.clone(),
        };
        partitions.iter().map(offset).collect::<Vec<_>>()
    };
    offsets.iter().flat_map(of_topic).collect()
}

/// Of groups in the order of their names.
pub(crate) fn snapshot<'a>(
    groups: impl Iterator<Item = (&'a Name, Option<&'a GroupRecord>, &'a Offsets)>,
    transactional: &Transactional,
) -> Bytes {
    let records: Vec<Record> = transactional.records().into_iter().chain(records(groups)).collect();
    let mut writer = ByteWriter::new();
    writer.put_u8(FORMAT_VERSION);
    writer.put_varint(records.len() as u64);
    records.iter().for_each(|record| record.write(&mut writer));
    writer.freeze()
}

/// What is kept, as records, of groups in the order of their names; without what is in transactions.
pub(crate) fn records<'a>(
    groups: impl Iterator<Item = (&'a Name, Option<&'a GroupRecord>, &'a Offsets)>,
) -> Vec<Record> {
    let mut records = Vec::new();
    for (group, record, offsets) in groups {
        records.extend(record.map(|record| Record::Group(record.clone())));
        if !offsets.is_empty() {
            records.push(Record::Offsets { group: group.clone(), offsets: records_of(offsets) });
        }
    }
    records
}
