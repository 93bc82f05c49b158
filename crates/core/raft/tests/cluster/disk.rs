//! A node's disk and its state machine, as the simulated cluster models them: saves become durable late and in order, a crash
//! loses what is not (but may keep some of it: the write was on its way).

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter};
use holon_raft::{Entry, HardState, Members, Payload, Position, Save, Snapshot, Stored};

/// What would be found after a crash right now.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard: HardState,
    pub snapshot: Option<Snapshot>,
    pub entries: Vec<Entry>,
    pub first_members: Members,
}

/// What commands do: everything applied, folded into a number, so that two states differ when any entry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub applied: u64,
    pub digest: u64,
}

impl Disk {
    pub fn write(&mut self, save: Save) {
        if let Some(hard) = save.hard {
            // What the codec does to it is part of the test.
            self.hard = HardState::decode(hard.encode()).expect("own bytes");
        }
        if let Some(snapshot) = save.snapshot {
            self.snapshot = Some(Snapshot::decode(snapshot.encode()).expect("own bytes"));
        }
        if let Some(from) = save.truncate_from {
            self.entries.retain(|entry| entry.index < from);
        }
        if let Some(through) = save.drop_through {
            self.entries.retain(|entry| entry.index > through);
        }
        for entry in save.append {
            self.entries.push(Entry::decode(entry.encode()).expect("own bytes"));
        }
    }

    pub fn last(&self) -> Position {
        let snapshot = self.snapshot.as_ref().map_or(Position::default(), Snapshot::position);
        self.entries.last().map_or(snapshot, |entry| entry.position().max(snapshot))
    }

    /// The term of the entry at `index`, if it is held; the snapshot holds everything up to its index.
    pub fn holds(&self, index: u64, term: u64) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.index >= index)
            || self.entries.iter().rev().any(|entry| entry.index == index && entry.term == term)
    }

    /// The term of the entry at `index`, if it is known.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        let snapshot = self.snapshot.as_ref().filter(|snapshot| snapshot.index == index).map(|snapshot| snapshot.term);
        let entry = self.entries.iter().rev().find(|entry| entry.index == index).map(|entry| entry.term);
        entry.or(snapshot)
    }

    pub fn members(&self) -> &Members {
        let latest = self.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Members(members) => Some(members),
            _ => None,
        });
        latest.or(self.snapshot.as_ref().map(|snapshot| &snapshot.members)).unwrap_or(&self.first_members)
    }

    pub fn stored(&self, applied: u64) -> Stored {
        Stored {
            hard: self.hard,
            snapshot: self.snapshot.clone(),
            entries: self.entries.clone(),
            members: self.first_members.clone(),
            applied,
        }
    }
}

/// What an entry is, in one number.
pub fn fingerprint(entry: &Entry) -> u64 {
    let bytes = entry.encode();
    (u64::from(holon_base::crc32c(&bytes)) << 32) | u64::from(holon_base::crc32c_append(7, &bytes))
}

impl Machine {
    pub fn apply(&mut self, entry: &Entry) {
        self.applied = entry.index;
        self.digest = (self.digest ^ fingerprint(entry)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ByteWriter::new();
        writer.put_u64(self.applied);
        writer.put_u64(self.digest);
        writer.freeze()
    }

    pub fn decode(bytes: Bytes) -> Option<Machine> {
        let mut reader = ByteReader::new(bytes);
        Some(Machine { applied: reader.u64().ok()?, digest: reader.u64().ok()? })
    }
}
