//! Every bound of the codec, with its unit and its reason. All are checked before memory is taken.

/// Greatest request, in bytes, unless the broker's configuration says otherwise: Kafka's default of `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Greatest number of elements of all arrays of a request together, and of its tagged fields. A frame of 100 MiB could hold fifty
/// million of two bytes, and the largest kind takes 128 bytes of memory: so a request takes no more than 128 MiB beside its frame.
/// Nobody names a million partitions, members or settings in one request.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// Pieces of records shorter than this, in bytes, are copied into the head of a response: cheaper than a piece of their own, for whoever
/// gathers them into a socket.
pub const COPIED_BYTES_MAX: usize = 128;

/// Greatest response, in bytes: its length has 31 bits.
pub const RESPONSE_BYTES_MAX: usize = i32::MAX as usize;
