//! What is done to a broker: produce as fast as it takes it, read everything back, both at a pace.

use crate::batch::{Frame, PRODUCE_VERSION, STAMP_BYTES, Seen, Shape};
use crate::connection::Connection;
use hdrhistogram::Histogram;
use holon_kafka::StrBytes;
use holon_kafka::client;
use holon_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use holon_kafka::messages::{FetchRequest, ProduceRequest, TopicName};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The last version of Fetch that is not packed: quick to take apart, and known by name.
const FETCH_VERSION: i16 = 11;
const FETCH_BYTES: i32 = 16 << 20;
const FETCH_PARTITION_BYTES: i32 = 1 << 20;
const FETCH_WAIT_MS: i32 = 100;
/// A reader to whom nothing comes for so long has lost something.
const SILENCE: Duration = Duration::from_secs(30);

/// Since the first call.
pub fn micros() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// One topic, and who writes to it.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub topic: String,
    pub partitions: i32,
    pub shape: Shape,
    pub producers: i32,
    pub consumers: i32,
    /// Requests without an answer, of each producer.
    pub in_flight: usize,
    /// A reader is answered when there is so much, or after [`FETCH_WAIT_MS`].
    pub fetch_bytes_min: i32,
}

/// Micros.
pub type Latencies = Histogram<u64>;

fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that a histogram may have")
}

pub struct Produced {
    pub records: u64,
    pub seconds: f64,
    /// Of requests.
    pub latencies: Latencies,
}

impl Load {
    /// Produces for so long; `rate`: records a second of all producers, or as many as they can.
    ///
    /// # Errors
    /// For people.
    pub fn produce(&self, seconds: f64, rate: Option<f64>) -> Result<Produced, String> {
        let since = Instant::now();
        let producers: Vec<_> = (0..self.producers)
            .map(|number| {
                let load = self.clone();
                thread::spawn(move || load.produce_one(number, seconds, rate))
            })
            .collect();
        let mut all = Produced { records: 0, seconds: 0.0, latencies: latencies() };
        for producer in producers {
            let (records, latencies) = producer.join().map_err(|_| "a producer panicked")??;
            all.records += records;
            all.latencies.add(latencies).map_err(|error| error.to_string())?;
        }
        all.seconds = since.elapsed().as_secs_f64();
        Ok(all)
    }

    fn produce_one(&self, number: i32, seconds: f64, rate: Option<f64>) -> Result<(u64, Latencies), String> {
        let mine: Vec<i32> = (0..self.partitions).filter(|partition| partition % self.producers == number).collect();
        let mine = if mine.is_empty() { vec![number % self.partitions] } else { mine };
        let frame = |partition: &i32| Frame::new(&self.topic, *partition, self.shape, 77 + *partition as u64);
        let mut frames = mine.iter().map(frame).collect::<Result<Vec<_>, _>>()?;
        let mut connection = Connection::open(self.address)?;
        let answers = connection.other_end()?;
        let (sent, to_come) = mpsc::sync_channel(self.in_flight);
        let has_answers = self.shape.acks != 0;
        let reader = thread::spawn(move || if has_answers { read_answers(answers, &to_come) } else { Ok(latencies()) });
        let records = self.shape.records as u64;
        let pause = rate.map(|rate| Duration::from_secs_f64(records as f64 * f64::from(self.producers) / rate));
        let since = Instant::now();
        let (mut at, mut count, mut next) = (0, 0u64, Duration::ZERO);
        while since.elapsed().as_secs_f64() < seconds {
            if let Some(pause) = pause {
                thread::sleep(next.saturating_sub(since.elapsed()));
                next += pause;
            }
            let first = (u64::from(number.cast_unsigned()) << 40) + count * records;
            let now = micros();
            let frame = frames[at].stamped(count as i32, first, now);
            if has_answers && sent.send(now).is_err() {
                break; // the reader says why
            }
            connection.send(frame)?;
            count += 1;
            at = (at + 1) % mine.len();
        }
        drop(sent);
        let latencies = reader.join().map_err(|_| "a reader of answers panicked")??;
        Ok((count * records, latencies))
    }

    /// Reads so many records, each once; how long it took, and how old batches were.
    ///
    /// # Errors
    /// For people: something is missing, twice, out of place or damaged.
    pub fn consume(&self, records: u64) -> Result<(f64, Latencies), String> {
        let (since, read) = (Instant::now(), AtomicU64::new(0));
        let wanted = Wanted { records: AtomicU64::new(records), read: &read, failed: &AtomicBool::new(false) };
        let latencies = self.consume_all(&wanted)?;
        Ok((since.elapsed().as_secs_f64(), latencies))
    }

    fn consume_all(&self, wanted: &Wanted<'_>) -> Result<Latencies, String> {
        thread::scope(|scope| {
            let readers: Vec<_> =
                (0..self.consumers).map(|number| scope.spawn(move || self.consume_one(number, wanted))).collect();
            let mut all = latencies();
            for reader in readers {
                let one = reader.join().map_err(|_| "a consumer panicked")??;
                all.add(one).map_err(|error| error.to_string())?;
            }
            Ok(all)
        })
    }

    /// Produces and reads at the same time.
    ///
    /// # Errors
    /// As both.
    pub fn both(&self, seconds: f64, rate: Option<f64>) -> Result<(Produced, f64, Latencies), String> {
        let (since, read) = (Instant::now(), AtomicU64::new(0));
        let wanted = Wanted { records: AtomicU64::new(u64::MAX), read: &read, failed: &AtomicBool::new(false) };
        thread::scope(|scope| {
            let readers = scope.spawn(|| self.consume_all(&wanted));
            let produced = self.produce(seconds, rate)?;
            wanted.records.store(produced.records, Ordering::Release);
            let latencies = readers.join().map_err(|_| "a consumer panicked")??;
            Ok((produced, since.elapsed().as_secs_f64(), latencies))
        })
    }

    fn consume_one(&self, number: i32, wanted: &Wanted<'_>) -> Result<Latencies, String> {
        let read = self.consume_until(number, wanted);
        if read.is_err() {
            wanted.failed.store(true, Ordering::Release);
        }
        read
    }

    fn consume_until(&self, number: i32, wanted: &Wanted<'_>) -> Result<Latencies, String> {
        let mut connection = Connection::open(self.address)?;
        let mine: Vec<i32> = (0..self.partitions).filter(|partition| partition % self.consumers == number).collect();
        let stamp_at = Frame::new(&self.topic, 0, self.shape, 1)?.stamp_at();
        let mut seen = vec![Seen::default(); mine.len()];
        let mut session = Session { id: 0, epoch: 0, changed: (0..mine.len()).collect() };
        let mut ages = latencies();
        let mut last = Instant::now();
        while wanted.is_more() && !mine.is_empty() {
            let answer = connection.ask(&self.fetch(&mine, &seen, &session), FETCH_VERSION)?;
            let now = micros();
            if answer.error_code != 0 {
                return Err(format!("a fetch was refused: error {}", answer.error_code));
            }
            session.goes_on(answer.session_id, mine.len());
            for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
                if partition.error_code != 0 {
                    return Err(format!("partition {}: error {}", partition.partition_index, partition.error_code));
                }
                let Some(records) = partition.records else { continue };
                let place =
                    mine.binary_search(&partition.partition_index).map_err(|_| "a partition nobody asked for")?;
                let before = seen[place].records;
                seen[place].check(records, |batch| {
                    if let Some(stamp) = batch.get(stamp_at + 8..stamp_at + STAMP_BYTES) {
                        let sent = u64::from_be_bytes(stamp.try_into().unwrap_or_default());
                        ages.saturating_record(now.saturating_sub(sent).max(1));
                    }
                })?;
                let new = seen[place].records - before;
                wanted.read.fetch_add(new, Ordering::AcqRel);
                if new > 0 {
                    last = Instant::now();
                    session.changed.insert(place);
                }
            }
            if last.elapsed() > SILENCE {
                return Err(format!("{} records were read, and no more come", wanted.read.load(Ordering::Acquire)));
            }
        }
        Ok(ages)
    }

    fn fetch(&self, mine: &[i32], seen: &[Seen], session: &Session) -> FetchRequest {
        let partition = |place: &usize| {
            FetchPartition::default()
                .with_partition(mine[*place])
                .with_fetch_offset(seen[*place].next)
                .with_partition_max_bytes(FETCH_PARTITION_BYTES)
        };
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partitions(session.changed.iter().map(partition).collect());
        FetchRequest::default()
            .with_max_wait_ms(FETCH_WAIT_MS)
            .with_min_bytes(self.fetch_bytes_min)
            .with_max_bytes(FETCH_BYTES)
            .with_session_id(session.id)
            .with_session_epoch(session.epoch)
            .with_topics(if session.changed.is_empty() { Vec::new() } else { vec![topic] })
    }
}

/// A fetch session (KIP-227), as clients have one: only what changed is named.
struct Session {
    id: i32,
    epoch: i32,
    /// Places of partitions that the next request names.
    changed: BTreeSet<usize>,
}

impl Session {
    /// After an answer; without a session each request names all.
    fn goes_on(&mut self, id: i32, partitions: usize) {
        self.id = id;
        self.epoch = if id == 0 { 0 } else { self.epoch + 1 };
        self.changed = if id == 0 { (0..partitions).collect() } else { BTreeSet::new() };
    }
}

/// What consumers are to read together.
struct Wanted<'a> {
    records: AtomicU64,
    read: &'a AtomicU64,
    failed: &'a AtomicBool,
}

impl Wanted<'_> {
    fn is_more(&self) -> bool {
        let is_read = self.read.load(Ordering::Acquire) >= self.records.load(Ordering::Acquire);
        !is_read && !self.failed.load(Ordering::Acquire)
    }
}

fn read_answers(mut connection: Connection, sent: &Receiver<u64>) -> Result<Latencies, String> {
    let mut latencies = latencies();
    while let Ok(at) = sent.recv() {
        let answer = client::answer::<ProduceRequest>(connection.receive()?, PRODUCE_VERSION);
        let (_, answer) = answer.map_err(|error| error.to_string())?;
        let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        if let Some(refused) = partitions.find(|partition| partition.error_code != 0) {
            return Err(format!("partition {} was refused: error {}", refused.index, refused.error_code));
        }
        latencies.saturating_record((micros() - at).max(1));
    }
    Ok(latencies)
}
