//! Messages of a shape, made from a seed: what tests feed both sides with.

use super::{Kind, Shape};
use bytes::{BufMut, BytesMut};

/// No message of Kafka's has such a tagged field.
const UNKNOWN_TAG: u8 = 100;

pub(crate) struct Sample {
    state: u64,
    version: i16,
    flexible: bool,
    pub bytes: BytesMut,
    /// Where the counts of arrays are.
    pub counts: Vec<usize>,
}

impl Sample {
    /// The fields of `shape` in `version`, after `before`.
    pub fn new(seed: u64, before: &[u8], shape: Shape, version: i16, flexible: bool) -> Sample {
        let (bytes, state) = (BytesMut::from(before), seed.wrapping_mul(2).wrapping_add(1));
        let mut sample = Sample { state, version, flexible, bytes, counts: Vec::new() };
        sample.group(shape);
        sample
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % end
    }

    fn length(&mut self, length: usize, plain_bytes: usize) {
        let length = length as u32;
        match (self.flexible, plain_bytes) {
            (true, _) => self.bytes.put_u8(length as u8 + 1),
            (false, 2) => self.bytes.put_u16(length as u16),
            (false, _) => self.bytes.put_u32(length),
        }
    }

    fn letters(&mut self, count: usize) {
        for _ in 0..count {
            let letter = b'a' + self.below(26) as u8;
            self.bytes.put_u8(letter);
        }
    }

    fn group(&mut self, fields: Shape) {
        let version = self.version;
        for field in fields.iter().filter(|field| (field.from..=field.to).contains(&version)) {
            self.kind(&field.kind);
        }
        if self.flexible && self.below(3) == 0 {
            self.bytes.put_slice(&[1, UNKNOWN_TAG, 3]);
            self.letters(3);
        } else if self.flexible {
            self.bytes.put_u8(0);
        }
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            // It may be a truth, which has two values.
            Kind::Fixed(1) => {
                let value = self.below(2) as u8;
                self.bytes.put_u8(value);
            }
            Kind::Fixed(bytes) => self.letters(*bytes),
            Kind::Text | Kind::Bytes => {
                let length = self.below(9) as usize;
                self.length(length, if matches!(kind, Kind::Text) { 2 } else { 4 });
                self.letters(length);
            }
            Kind::List(element) => {
                let count = self.below(4) as usize;
                self.counts.push(self.bytes.len());
                self.length(count, 4);
                for _ in 0..count {
                    self.kind(element);
                }
            }
            Kind::Group(fields) => self.group(fields),
            Kind::Maybe(fields) if self.below(2) == 0 => {
                self.bytes.put_u8(1);
                self.group(fields);
            }
            Kind::Maybe(_) => self.bytes.put_i8(-1),
        }
    }

    /// The same bytes, but the array whose count is at `at` says that it has as many elements as can be said.
    pub fn with_bomb(&self, at: usize) -> Vec<u8> {
        let (most, length): (&[u8], usize) =
            if self.flexible { (&[0xff, 0xff, 0xff, 0xff, 0x0f], 1) } else { (&[0x7f, 0xff, 0xff, 0xff], 4) };
        [&self.bytes[..at], most, &self.bytes[at + length..]].concat()
    }
}
