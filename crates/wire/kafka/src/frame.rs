//! Frames: four bytes of length, big endian, and so many bytes.
//!
//! Kafka's `NetworkReceive`: what is wrong with a length ends the connection, without an answer, because nothing after it can be told apart.

use bytes::{Buf, Bytes, BytesMut};

pub const LENGTH_BYTES: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a request says that it has {length} bytes; the connection does not speak Kafka's protocol")]
    Negative { length: i32 },
    #[error("a request of {length} bytes is more than the {most} that are taken (socket.request.max.bytes)")]
    TooLarge { length: usize, most: usize },
}

/// Takes the first frame off `input`, without its length; `None` while not all of it is there. A slice of what came in, not a copy.
/// An empty frame is one.
///
/// # Errors
/// Its length is negative or more than `most`, which is told from the first four bytes. The connection has to end.
pub fn take(input: &mut BytesMut, most: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(head) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*head);
    let Ok(length) = usize::try_from(length) else { return Err(FrameError::Negative { length }) };
    if length > most {
        return Err(FrameError::TooLarge { length, most });
    }
    if input.len() - LENGTH_BYTES < length {
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::{FrameError, take};
    use bytes::BytesMut;

    #[test]
    fn frames_come_whole_and_in_order() {
        let sent = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let mut input = BytesMut::new();
        let mut frames = Vec::new();
        for byte in sent {
            input.extend_from_slice(&[byte]);
            while let Some(frame) = take(&mut input, 3).expect("short enough") {
                frames.push(frame.to_vec());
            }
        }
        assert_eq!(frames, [vec![1, 2, 3], vec![], vec![9]]);
        assert!(input.is_empty());
    }

    #[test]
    fn a_frame_is_a_slice_of_what_came_in() {
        let mut input = BytesMut::from(&[0, 0, 0, 2, 7, 8, 9][..]);
        let at = input.as_ptr() as usize;
        let frame = take(&mut input, 100).expect("fine").expect("whole");
        assert_eq!(frame.as_ptr() as usize, at + 4);
        assert_eq!(&input[..], [9]);
    }

    #[test]
    fn lengths_that_end_the_connection() {
        let mut negative = BytesMut::from(&[255, 255, 255, 255][..]);
        assert_eq!(take(&mut negative, 100), Err(FrameError::Negative { length: -1 }));
        let mut large = BytesMut::from(&[0, 0, 0, 101][..]);
        assert_eq!(take(&mut large, 100), Err(FrameError::TooLarge { length: 101, most: 100 }));
        assert_eq!(take(&mut large, 101), Ok(None));
        // Three of the four bytes are no length yet.
        assert_eq!(take(&mut BytesMut::from(&[255, 255, 255][..]), 100), Ok(None));
    }
}
