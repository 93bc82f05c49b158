//! Fields of a request, one after the other, in both encodings: that of the first versions and the compact one of flexible versions
//! (KIP-482).
//!
//! It takes no memory: texts and bytes are slices of the frame. A count is compared with the bytes that are left (no element has none)
//! and with what is left of [`ELEMENTS_MAX`] before it is given out, so whoever makes room for that many makes a bounded amount of it.

use crate::limits::ELEMENTS_MAX;
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// What is wrong with a frame, and at which of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub at: usize,
    pub what: &'static str,
}

pub(crate) const ENDS: &str = "it ends within a field";
pub(crate) const NULL: &str = "null stands where a value has to be";
const NEGATIVE: &str = "a length is negative";
const MORE_THAN_BYTES: &str = "an array has more elements than there are bytes";
const TOO_MANY: &str = "it has more than 1,048,576 elements";
const VARINT: &str = "a varint has more than five bytes";
const NOT_UTF8: &str = "a text is not UTF-8";

pub(crate) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    /// Whether the fields are those of a flexible version.
    flexible: bool,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    pub fn new(frame: &'a Bytes, at: usize, flexible: bool) -> Reader<'a> {
        Reader { frame, at, flexible, elements_left: ELEMENTS_MAX }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn flaw(&self, what: &'static str) -> Flaw {
        Flaw { at: self.at, what }
    }

    fn left(&self) -> &'a [u8] {
        self.frame.get(self.at..).unwrap_or(&[])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let bytes = self.left().first_chunk::<N>().copied().ok_or(self.flaw(ENDS))?;
        self.at += N;
        Ok(bytes)
    }

    pub fn skip(&mut self, bytes: usize) -> Result<(), Flaw> {
        if self.left().len() < bytes {
            return Err(self.flaw(ENDS));
        }
        self.at += bytes;
        Ok(())
    }

    pub fn i8(&mut self) -> Result<i8, Flaw> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, Flaw> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Flaw> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Flaw> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<Uuid, Flaw> {
        self.array().map(Uuid::from_bytes)
    }

    /// Bits beyond the 32nd are dropped, as Kafka drops them.
    pub fn varint(&mut self) -> Result<u32, Flaw> {
        let mut value = 0u32;
        for (index, byte) in self.left().iter().take(5).enumerate() {
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.flaw(if self.left().len() < 5 { ENDS } else { VARINT }))
    }

    /// A length or count of the compact encoding, which is one more than it says; 0 is null.
    fn compact(&mut self) -> Result<Option<usize>, Flaw> {
        Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn plain(&self, length: i64) -> Result<Option<usize>, Flaw> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.flaw(NEGATIVE)),
        }
    }

    fn text_length(&mut self) -> Result<Option<usize>, Flaw> {
        if self.flexible {
            return self.compact();
        }
        let length = self.i16()?;
        self.plain(i64::from(length))
    }

    fn bytes_length(&mut self) -> Result<Option<usize>, Flaw> {
        if self.flexible {
            return self.compact();
        }
        let length = self.i32()?;
        self.plain(i64::from(length))
    }

    /// How many elements an array has; `None` if it is null.
    pub fn count(&mut self) -> Result<Option<usize>, Flaw> {
        let Some(count) = self.bytes_length()? else { return Ok(None) };
        if count > self.left().len() {
            return Err(self.flaw(MORE_THAN_BYTES));
        }
        self.spend(count)?;
        Ok(Some(count))
    }

    fn spend(&mut self, elements: usize) -> Result<(), Flaw> {
        self.elements_left = self.elements_left.checked_sub(elements).ok_or(self.flaw(TOO_MANY))?;
        Ok(())
    }

    fn slice(&mut self, length: usize) -> Result<Bytes, Flaw> {
        let from = self.at;
        self.skip(length)?;
        Ok(self.frame.slice(from..self.at))
    }

    pub fn nullable_bytes(&mut self) -> Result<Option<Bytes>, Flaw> {
        self.bytes_length()?.map(|length| self.slice(length)).transpose()
    }

    pub fn nullable_text(&mut self) -> Result<Option<StrBytes>, Flaw> {
        let length = self.text_length()?;
        length.map(|length| self.utf8(length)).transpose()
    }

    pub fn text(&mut self) -> Result<StrBytes, Flaw> {
        self.nullable_text()?.ok_or(self.flaw(NULL))
    }

    fn utf8(&mut self, length: usize) -> Result<StrBytes, Flaw> {
        let bytes = self.slice(length)?;
        StrBytes::from_utf8(bytes).map_err(|_| self.flaw(NOT_UTF8))
    }

    /// A text whose length has two bytes in every version: the client's id.
    pub fn plain_text(&mut self) -> Result<Option<StrBytes>, Flaw> {
        let length = self.i16()?;
        let length = self.plain(i64::from(length))?;
        length.map(|length| self.utf8(length)).transpose()
    }

    /// Not UTF-8 if it is not: whoever takes the text looks.
    pub fn skip_text(&mut self) -> Result<(), Flaw> {
        let length = self.text_length()?;
        self.skip(length.unwrap_or(0))
    }

    pub fn skip_bytes(&mut self) -> Result<(), Flaw> {
        let length = self.bytes_length()?;
        self.skip(length.unwrap_or(0))
    }

    /// An array of which every element is read by `element`.
    pub fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T, Flaw>) -> Result<Option<Vec<T>>, Flaw> {
        let Some(count) = self.count()? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// The tagged fields of a structure, if the version is flexible. `known` takes the value of those that it knows, which it need not
    /// read to the end.
    pub fn tags(&mut self, mut known: impl FnMut(u32, &mut Self) -> Result<(), Flaw>) -> Result<(), Flaw> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.varint()? as usize;
        self.spend(count)?;
        for _ in 0..count {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            let end = self.at.checked_add(length).filter(|end| *end <= self.frame.len()).ok_or(self.flaw(ENDS))?;
            known(tag, self)?;
            if self.at > end {
                return Err(self.flaw("a tagged field is longer than it says"));
            }
            self.at = end;
        }
        Ok(())
    }

    pub fn skip_tags(&mut self) -> Result<(), Flaw> {
        self.tags(|_, _| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::{ENDS, Flaw, MORE_THAN_BYTES, NEGATIVE, NOT_UTF8, Reader, TOO_MANY, VARINT};
    use crate::limits::ELEMENTS_MAX;
    use bytes::Bytes;

    fn flaw<T>(
        bytes: &[u8],
        flexible: bool,
        read: for<'r, 'f> fn(&'r mut Reader<'f>) -> Result<T, Flaw>,
    ) -> &'static str {
        let frame = Bytes::copy_from_slice(bytes);
        read(&mut Reader::new(&frame, 0, flexible)).map(|_| ()).expect_err("it is wrong").what
    }

    #[test]
    fn counts_are_compared_with_the_bytes_that_are_there() {
        let most = [0x7f, 0xff, 0xff, 0xff, 1, 2, 3];
        assert_eq!(flaw(&most, false, |reader| reader.count()), MORE_THAN_BYTES);
        assert_eq!(flaw(&[255, 255, 255, 255, 15, 1], true, |reader| reader.count()), MORE_THAN_BYTES);
        assert_eq!(flaw(&[255, 255, 255, 254], false, |reader| reader.count()), NEGATIVE);
        let frame = Bytes::from_static(&[0, 0, 0, 2, 1, 2]);
        assert_eq!(Reader::new(&frame, 0, false).count(), Ok(Some(2)));
        let null = Bytes::from_static(&[255, 255, 255, 255]);
        assert_eq!(Reader::new(&null, 0, false).count(), Ok(None));
        assert_eq!(Reader::new(&Bytes::from_static(&[0]), 0, true).count(), Ok(None));
    }

    #[test]
    fn elements_are_counted_over_the_whole_request() {
        let count = (ELEMENTS_MAX / 2 + 1) as u32;
        let mut frame = count.to_be_bytes().to_vec();
        frame.extend_from_slice(&count.to_be_bytes());
        frame.resize(ELEMENTS_MAX, 0);
        let frame = Bytes::from(frame);
        let mut reader = Reader::new(&frame, 0, false);
        assert_eq!(reader.count(), Ok(Some(count as usize)));
        assert_eq!(reader.count().map_err(|flaw| flaw.what), Err(TOO_MANY));
    }

    #[test]
    fn tagged_fields_are_counted_too() {
        let mut frame = vec![0xff, 0xff, 0x7f];
        frame.resize(1 << 22, 0);
        assert_eq!(flaw(&frame, true, |reader| reader.skip_tags()), TOO_MANY);
        assert_eq!(flaw(&[1, 5, 9, 1], true, |reader| reader.skip_tags()), ENDS);
        assert_eq!(flaw(&[1, 5, 1, 1, 1], true, |reader| reader.tags(|_, reader| reader.skip(2))), TOO_LONG);
    }

    const TOO_LONG: &str = "a tagged field is longer than it says";

    #[test]
    fn varints() {
        let frame = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(Reader::new(&frame, 0, true).varint(), Ok(u32::MAX));
        assert_eq!(flaw(&[0x80, 0x80], true, |reader| reader.varint()), ENDS);
        assert_eq!(flaw(&[0x80; 6], true, |reader| reader.varint()), VARINT);
    }

    #[test]
    fn texts() {
        assert_eq!(flaw(&[0, 1, 0xff], false, |reader| reader.text()), NOT_UTF8);
        assert_eq!(flaw(&[0xff, 0xfe], false, |reader| reader.text()), NEGATIVE);
        assert_eq!(flaw(&[0xff, 0xff], false, |reader| reader.text()), super::NULL);
        assert_eq!(flaw(&[3, 1], true, |reader| reader.text()), ENDS);
        let frame = Bytes::from_static(b"\x03hi");
        assert_eq!(Reader::new(&frame, 0, true).text().expect("two letters").as_str(), "hi");
    }
}
