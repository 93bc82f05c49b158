//! A type and bytes: `validate` and `decode` agree, and what is decoded is written as bytes of the same value.
#![no_main]

use bytes::Bytes;
use holon_cql::value::validate;
use holon_cql::{CqlType, Reader, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut reader = Reader::new(Bytes::copy_from_slice(input));
    let Ok(cql_type) = CqlType::decode(&mut reader) else { return };
    let bytes = reader.rest();
    let decoded = Value::decode(&cql_type, &bytes);
    assert_eq!(validate(&cql_type, &bytes), decoded.as_ref().map(|_| ()).map_err(Clone::clone));
    let Ok(value) = decoded else { return };
    // Booleans other than 1 and long forms of varints are written shorter: the bytes may differ once, then no more.
    let written = value.to_bytes(&cql_type).expect("a value that was decoded can be written");
    let again = Value::decode(&cql_type, &written).expect("what was written can be read");
    assert_eq!(again.to_bytes(&cql_type).expect("can be written"), written);
});
