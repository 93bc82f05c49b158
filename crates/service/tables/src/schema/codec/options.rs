//! Options of tables as bytes: a list of (number, value), so that one may be added without a new format.

use super::{boolean, put_bool, put_list, put_text, small};
use crate::schema::options::{Caching, ReadRepair, RowsCached, SpeculativeRetry, TableOption};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use std::collections::BTreeMap;

pub(super) fn put_options(out: &mut ByteWriter, options: &[TableOption]) {
    put_list(out, options, put_table_option);
}

pub(super) fn read_options(input: &mut ByteReader) -> Result<Vec<TableOption>, ShortInput> {
    super::list(input, read_table_option)
}

fn put_table_option(out: &mut ByteWriter, option: &TableOption) {
    let mut value = ByteWriter::new();
    let number = match option {
        TableOption::AdditionalWritePolicy(policy) => {
            value.put_slice(policy.0.as_bytes());
            1
        }
        TableOption::BloomFilterFpChance(chance) => {
            value.put_u64(chance.to_bits());
            2
        }
        TableOption::Caching(caching) => {
            put_caching(&mut value, caching);
            3
        }
        TableOption::Cdc(on) => {
            put_bool(&mut value, *on);
            4
        }
        TableOption::Comment(text) => {
            value.put_slice(text.as_bytes());
            5
        }
        TableOption::Compaction(map) => {
            put_texts(&mut value, map);
            6
        }
        TableOption::Compression(map) => {
            put_texts(&mut value, map);
            7
        }
        TableOption::Memtable(name) => {
            value.put_slice(name.as_bytes());
            8
        }
        TableOption::CrcCheckChance(chance) => {
            value.put_u64(chance.to_bits());
            9
        }
        TableOption::Extensions(map) => {
            put_extensions(&mut value, map);
            11
        }
        TableOption::ReadRepair(read_repair) => {
            put_bool(&mut value, *read_repair == ReadRepair::Blocking);
            16
        }
        TableOption::SpeculativeRetry(policy) => {
            value.put_slice(policy.0.as_bytes());
            17
        }
        TableOption::DefaultTimeToLive(number)
        | TableOption::GcGraceSeconds(number)
        | TableOption::MaxIndexInterval(number)
        | TableOption::MemtableFlushPeriod(number)
        | TableOption::MinIndexInterval(number) => {
            value.put_varint(u64::from(*number));
            number_of(option)
        }
    };
    out.put_u8(number);
    out.put_prefixed(value.as_slice());
}

fn number_of(option: &TableOption) -> u8 {
    match option {
        TableOption::DefaultTimeToLive(_) => 10,
        TableOption::GcGraceSeconds(_) => 12,
        TableOption::MaxIndexInterval(_) => 13,
        TableOption::MemtableFlushPeriod(_) => 14,
        _ => 15,
    }
}

fn read_table_option(input: &mut ByteReader) -> Result<TableOption, ShortInput> {
    let offset = input.offset();
    let number = input.u8()?;
    let bytes = input.prefixed()?;
    let malformed = ShortInput { offset };
    let text = || String::from_utf8(bytes.to_vec()).map_err(|_| malformed);
    let mut value = ByteReader::new(bytes.clone());
    let option = match number {
        1 => return Ok(TableOption::AdditionalWritePolicy(SpeculativeRetry(text()?))),
        5 => return Ok(TableOption::Comment(text()?)),
        8 => return Ok(TableOption::Memtable(text()?)),
        17 => return Ok(TableOption::SpeculativeRetry(SpeculativeRetry(text()?))),
        2 => TableOption::BloomFilterFpChance(f64::from_bits(value.u64()?)),
        3 => TableOption::Caching(read_caching(&mut value)?),
        4 => TableOption::Cdc(boolean(&mut value)?),
        6 => TableOption::Compaction(read_texts(&mut value)?),
        7 => TableOption::Compression(read_texts(&mut value)?),
        9 => TableOption::CrcCheckChance(f64::from_bits(value.u64()?)),
        10 => TableOption::DefaultTimeToLive(small(&mut value)?),
        11 => TableOption::Extensions(read_extensions(&mut value)?),
        12 => TableOption::GcGraceSeconds(small(&mut value)?),
        13 => TableOption::MaxIndexInterval(small(&mut value)?),
        14 => TableOption::MemtableFlushPeriod(small(&mut value)?),
        15 => TableOption::MinIndexInterval(small(&mut value)?),
        16 => {
            let blocking = boolean(&mut value)?;
            TableOption::ReadRepair(if blocking { ReadRepair::Blocking } else { ReadRepair::None })
        }
        _ => return Err(malformed),
    };
    value.end().map_err(|_| malformed)?;
    Ok(option)
}

fn put_caching(out: &mut ByteWriter, caching: &Caching) {
    put_bool(out, caching.keys);
    match caching.rows {
        RowsCached::None => out.put_u8(0),
        RowsCached::All => out.put_u8(1),
        RowsCached::Head(rows) => {
            out.put_u8(2);
            out.put_varint(u64::from(rows));
        }
    }
}

fn read_caching(input: &mut ByteReader) -> Result<Caching, ShortInput> {
    let keys = boolean(input)?;
    let offset = input.offset();
    let rows = match input.u8()? {
        0 => RowsCached::None,
        1 => RowsCached::All,
        2 => RowsCached::Head(small(input)?),
        _ => return Err(ShortInput { offset }),
    };
    Ok(Caching { keys, rows })
}

fn put_texts(out: &mut ByteWriter, map: &BTreeMap<String, String>) {
    out.put_varint(map.len() as u64);
    for (name, value) in map {
        put_text(out, name);
        put_text(out, value);
    }
}

fn read_texts(input: &mut ByteReader) -> Result<BTreeMap<String, String>, ShortInput> {
    (0..input.count()?).map(|_| Ok((input.prefixed_str()?, input.prefixed_str()?))).collect()
}

fn put_extensions(out: &mut ByteWriter, map: &BTreeMap<String, Bytes>) {
    out.put_varint(map.len() as u64);
    for (name, value) in map {
        put_text(out, name);
        out.put_prefixed(value);
    }
}

fn read_extensions(input: &mut ByteReader) -> Result<BTreeMap<String, Bytes>, ShortInput> {
    (0..input.count()?).map(|_| Ok((input.prefixed_str()?, input.prefixed()?))).collect()
}
