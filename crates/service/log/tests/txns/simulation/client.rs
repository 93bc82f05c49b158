//! A producer: an instance of a transactional id, one step after the other, everything again until it is answered.

use holon_base::{Random, TabletId};
use holon_log::groups::Name;
use holon_log::txns::{Answer, Producer, TxnError, Version};
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub enum Step {
    /// With what it had, if it goes on.
    Init(Option<Producer>),
    Idle,
    /// Of version 1.
    Add,
    Append,
    End,
    /// Another instance has its id, or it was killed.
    Dead,
}

#[derive(Debug)]
pub struct Client {
    pub id: Name,
    pub version: Version,
    pub step: Step,
    pub producer: Producer,
    pub serial: u64,
    pub commit: bool,
    pub partitions: BTreeSet<TabletId>,
    pub left: BTreeSet<TabletId>,
    /// Answers to anything older are not heard.
    pub round: u64,
    /// When it asks again, steps of the world.
    pub again_at: u64,
}

impl Client {
    pub fn new(id: Name, version: Version) -> Client {
        Client {
            id,
            version,
            step: Step::Init(None),
            producer: Producer { id: -1, epoch: -1 },
            serial: 0,
            commit: false,
            partitions: BTreeSet::new(),
            left: BTreeSet::new(),
            round: 0,
            again_at: 0,
        }
    }

    pub fn begin(&mut self, serial: u64, random: &mut Random) {
        self.serial = serial;
        self.commit = random.chance(2, 3);
        let count = random.range(1, 4);
        self.partitions = (0..count).map(|_| TabletId(random.below(4))).collect();
        self.left = self.partitions.clone();
        self.step = if self.version == Version::V1 { Step::Add } else { Step::Append };
        self.next();
    }

    /// The next thing is asked at once.
    fn next(&mut self) {
        self.round += 1;
        self.again_at = 0;
    }

    pub fn hear(&mut self, answer: &Answer) {
        match answer {
            Answer::Init(Ok(producer)) | Answer::End(Ok(producer)) => {
                self.producer = *producer;
                self.step = Step::Idle;
            }
            Answer::Add(Ok(())) => self.step = Step::Append,
            Answer::Init(Err(error)) | Answer::Add(Err(error)) | Answer::End(Err(error)) => return self.failed(*error),
            Answer::NeedsProducer => return,
        }
        self.next();
    }

    pub fn failed(&mut self, error: TxnError) {
        match error {
            TxnError::CoordinatorNotAvailable | TxnError::NotCoordinator | TxnError::ConcurrentTransactions => {}
            // Its transaction may have taken too long; if another one has the id it is told so.
            TxnError::ProducerFenced | TxnError::InvalidTxnState | TxnError::TransactionAbortable
                if !matches!(self.step, Step::Init(_)) =>
            {
                self.step = Step::Init(Some(self.producer));
                self.next();
            }
            _ => self.step = Step::Dead,
        }
    }

    pub fn appended(&mut self, partition: TabletId) {
        self.left.remove(&partition);
        if self.left.is_empty() {
            self.step = Step::End;
            self.next();
        }
    }
}
