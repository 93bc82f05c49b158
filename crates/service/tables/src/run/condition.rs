//! The tests of conditional writes, on a row as it is: made by coordinators, carried out by tablets.

use crate::schema::Table;
use crate::types::{collection, compare::compare};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_cql::CqlType;
use holon_store::Row;

/// A test of one column, of an element of it, or of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub column: u32,
    /// The key of a map (serialized), the index of a list, the number of a field (2 bytes).
    pub element: Option<Bytes>,
    pub test: ConditionTest,
    /// One value, but for [`ConditionTest::In`]; `None` is null.
    pub values: Vec<Option<Bytes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionTest {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Contains,
    ContainsKey,
}

impl ConditionTest {
    const ALL: [ConditionTest; 9] = [
        ConditionTest::Equal,
        ConditionTest::NotEqual,
        ConditionTest::Less,
        ConditionTest::LessOrEqual,
        ConditionTest::Greater,
        ConditionTest::GreaterOrEqual,
        ConditionTest::In,
        ConditionTest::Contains,
        ConditionTest::ContainsKey,
    ];
}

impl Condition {
    pub(crate) fn encode(&self, out: &mut ByteWriter) {
        out.put_varint(self.column.into());
        out.put_u8(self.element.is_some().into());
        if let Some(element) = &self.element {
            out.put_prefixed(element);
        }
        out.put_u8(self.test as u8);
        out.put_varint(self.values.len() as u64);
        for value in &self.values {
            out.put_u8(value.is_some().into());
            if let Some(value) = value {
                out.put_prefixed(value);
            }
        }
    }

    pub(crate) fn decode(input: &mut ByteReader) -> Result<Condition, ShortInput> {
        let offset = input.offset();
        let column = u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })?;
        let element = if input.u8()? == 0 { None } else { Some(input.prefixed()?) };
        let offset = input.offset();
        let test = *ConditionTest::ALL.get(usize::from(input.u8()?)).ok_or(ShortInput { offset })?;
        let mut values = Vec::new();
        for _ in 0..input.count()? {
            values.push(if input.u8()? == 0 { None } else { Some(input.prefixed()?) });
        }
        Ok(Condition { column, element, test, values })
    }

    /// Whether it holds of a row (`None`: there is no such row: all its columns are null).
    pub fn holds(&self, table: &Table, row: Option<&Row>) -> bool {
        let Some(column) = table.column_by_id(self.column) else { return false };
        let whole = row.and_then(|row| super::cells::column_value(column, row));
        let (value, cql_type) = match &self.element {
            None => (whole, column.column_type.unfrozen().clone()),
            Some(element) => element_of(&column.column_type, whole, element),
        };
        // An unfrozen collection without elements is empty, not null.
        let empty = column.is_multi_cell() && self.element.is_none() && cql_type.is_collection();
        self.test_value(&cql_type, value.as_deref(), empty)
    }

    fn test_value(&self, cql_type: &CqlType, value: Option<&[u8]>, null_is_empty: bool) -> bool {
        let wanted = self.values.first().cloned().flatten();
        let equal = |wanted: Option<&[u8]>| match (value, wanted) {
            (Some(value), Some(wanted)) => compare(cql_type, value, wanted).is_eq(),
            (None, None) => true,
            (None, Some(wanted)) => null_is_empty && collection::count(wanted) == 0,
            (Some(_), None) => false,
        };
        let order = || match (value, wanted.as_deref()) {
            (Some(value), Some(wanted)) => Some(compare(cql_type, value, wanted)),
            (None, Some(wanted)) if null_is_empty => Some(0.cmp(&collection::count(wanted))),
            _ => None,
        };
        match self.test {
            ConditionTest::Equal => equal(wanted.as_deref()),
            ConditionTest::NotEqual => !equal(wanted.as_deref()),
            ConditionTest::In => self.values.iter().any(|wanted| equal(wanted.as_deref())),
            ConditionTest::Less => order().is_some_and(|order| order.is_lt()),
            ConditionTest::LessOrEqual => order().is_some_and(|order| order.is_le()),
            ConditionTest::Greater => order().is_some_and(|order| order.is_gt()),
            ConditionTest::GreaterOrEqual => order().is_some_and(|order| order.is_ge()),
            ConditionTest::Contains | ConditionTest::ContainsKey => match (value, wanted.as_deref()) {
                (Some(value), Some(wanted)) => {
                    contains(cql_type, value, wanted, self.test == ConditionTest::ContainsKey)
                }
                _ => false,
            },
        }
    }
}

/// Whether a collection holds a value, or (of a map) a key.
pub fn contains(cql_type: &CqlType, value: &[u8], wanted: &[u8], key: bool) -> bool {
    match cql_type.unfrozen() {
        CqlType::List(element) | CqlType::Set(element) => {
            collection::elements(value).any(|other| compare(element, other, wanted).is_eq())
        }
        CqlType::Map(pair) if key => {
            collection::entries(value).any(|(other, _)| compare(&pair.0, other, wanted).is_eq())
        }
        CqlType::Map(pair) => collection::entries(value).any(|(_, other)| compare(&pair.1, other, wanted).is_eq()),
        _ => false,
    }
}

fn element_of(cql_type: &CqlType, whole: Option<Bytes>, element: &Bytes) -> (Option<Bytes>, CqlType) {
    let nothing = Bytes::new();
    let value = whole.as_ref().unwrap_or(&nothing);
    match cql_type.unfrozen() {
        CqlType::Map(pair) => {
            let found = collection::entries(value).find(|(key, _)| compare(&pair.0, key, element).is_eq());
            (found.map(|(_, found)| collection::shared(value, found)), pair.1.clone())
        }
        CqlType::List(element_type) => {
            let index = element.first_chunk::<4>().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
            let found = usize::try_from(index).ok().and_then(|index| collection::elements(value).nth(index));
            (found.map(|found| collection::shared(value, found)), CqlType::clone(element_type))
        }
        CqlType::Udt(udt) => {
            let index = element.first_chunk::<2>().map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)));
            let found = collection::fields(value).nth(index).flatten();
            let cql_type = udt.fields.get(index).map_or(CqlType::Blob, |field| field.cql_type.clone());
            (found.map(|found| collection::shared(value, found)), cql_type)
        }
        _ => (None, CqlType::Blob),
    }
}
