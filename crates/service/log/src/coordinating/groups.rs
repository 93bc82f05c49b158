//! The machine of groups, as it is run.

use super::{Coordinating, GROUPS_TOPIC, Kept, Machine, ToDo};
use crate::groups::{Answer, Coordinator, Image, Name, Options, Output, Record, Time, WriteError, WriteNumber};
use bytes::Bytes;
use holon_base::Instant;
use std::convert::Infallible;
use std::rc::Rc;

impl Machine for Coordinator {
    type Image = Image;
    type Answer = Answer;
    type Output = Output;
    type Work = Infallible;
    const TOPIC: &'static str = GROUPS_TOPIC;

    fn read(image: &mut Image, record: Bytes) -> Result<(), String> {
        image.apply(Record::decode(record).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn begin(image: Image, time: Time, out: &mut Output) -> Coordinator {
        Coordinator::new(Options::default(), image, time, out)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Coordinator::next_deadline(self)
    }

    fn tick(&mut self, time: Time, out: &mut Output) {
        Coordinator::tick(self, time, out);
    }

    fn written(&mut self, time: Time, number: WriteNumber, outcome: Result<(), WriteError>, out: &mut Output) {
        Coordinator::written(self, time, number, outcome, out);
    }

    fn kept(&self) -> Kept {
        let encoded = |records: Vec<Record>| records.iter().map(Record::encode).collect();
        Kept { together: encoded(self.records_of_transactions()), rest: encoded(self.records()) }
    }

    fn to_do(out: Output) -> ToDo<Coordinator> {
        let encoded = |records: &[Record]| records.iter().map(Record::encode).collect();
        let writes = out.writes.iter().map(|write| (write.number, encoded(&write.records))).collect();
        ToDo { writes, answers: out.answers, work: Vec::new() }
    }

    fn work(_: &Rc<Coordinating<Coordinator>>, work: Infallible) {
        match work {}
    }
}

impl Coordinating<Coordinator> {
    /// How many groups are in which state; none while nobody has asked for one.
    pub fn states(&self) -> Vec<(&'static str, u64)> {
        self.machine.borrow().as_ref().map(Coordinator::states).unwrap_or_default()
    }

    /// Offsets of groups, so many at most.
    pub fn committed(&self, most: usize) -> Vec<(Name, Name, i32, i64)> {
        self.machine.borrow().as_ref().map(|machine| machine.committed(most)).unwrap_or_default()
    }
}
