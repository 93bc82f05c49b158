//! Typed expressions: what stands for a value, of a term or of a selection, ready to be evaluated with bound values
//! and, in a selection or filter, with a row.

use crate::error::{CqlError, CqlResult};
use crate::types::collection;
use crate::types::function::Call;
use bytes::Bytes;
use holon_cql::value::validate;
use holon_cql::{BoundValue, CqlType, VectorType};
use holon_cql_language::ast::WriteAttribute;
use holon_kernel::Shard;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Expression {
    Constant(Bytes),
    Null,
    Marker(Box<Marker>),
    /// The value of a column of the row, by its place in the table.
    Column(usize),
    List(Vec<Expression>),
    Set(CqlType, Vec<Expression>),
    Map(CqlType, Vec<(Expression, Expression)>),
    /// A tuple or user type; also of fewer fields than its type.
    Fields(Vec<Expression>),
    Vector(Arc<VectorType>, Vec<Expression>),
    Call(Box<Call>, Vec<Expression>),
    /// The field of a tuple or user type.
    Field(Box<Expression>, usize),
    /// The element of a map (its value), or of a set (the element itself, if it is there).
    Element {
        of: Box<Expression>,
        collection: CqlType,
        key: Box<Expression>,
    },
    /// Part of a map or set between two keys, both included.
    Slice {
        of: Box<Expression>,
        collection: CqlType,
        from: Option<Box<Expression>>,
        to: Option<Box<Expression>>,
    },
    /// When a column was written, or how long it lives.
    Attribute {
        attribute: WriteAttribute,
        column: usize,
        element: Option<Box<ElementOf>>,
    },
    /// The result of an aggregate of the statement.
    Aggregate(usize),
}

/// Which element of an unfrozen collection, or field of an unfrozen user type.
#[derive(Clone, Debug)]
pub enum ElementOf {
    Key(CqlType, Expression),
    Field(u16),
}

#[derive(Clone, Debug)]
pub struct Marker {
    pub index: u16,
    pub cql_type: CqlType,
    /// Sets or maps are in it: clients send their elements in any order.
    pub holds_sets: bool,
}

impl Marker {
    pub fn new(index: u16, cql_type: CqlType) -> Marker {
        Marker { index, holds_sets: collection::holds_sets(&cql_type), cql_type }
    }
}

/// The values of a row, by place of the column in the table.
pub trait RowValues {
    fn column(&self, index: usize) -> Option<Bytes>;

    fn attribute(&self, attribute: WriteAttribute, column: usize, element: Option<&[u8]>) -> Option<Bytes>;
}

/// What expressions are evaluated with.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    pub values: &'a [BoundValue],
    pub shard: &'a Shard,
    pub row: Option<&'a dyn RowValues>,
    pub aggregates: &'a [Option<Bytes>],
}

impl<'a> Environment<'a> {
    pub fn new(values: &'a [BoundValue], shard: &'a Shard) -> Environment<'a> {
        Environment { values, shard, row: None, aggregates: &[] }
    }
}

impl Expression {
    pub fn is_marker(&self) -> bool {
        matches!(self, Expression::Marker(_))
    }

    /// # Errors
    /// Bound bytes that are no value of their type, nulls inside of collections, a function that refuses its arguments.
    pub fn evaluate(&self, environment: &Environment<'_>) -> CqlResult<BoundValue> {
        Ok(match self {
            Expression::Constant(bytes) => BoundValue::Value(bytes.clone()),
            Expression::Null => BoundValue::Null,
            Expression::Marker(marker) => {
                let value = environment.values.get(usize::from(marker.index)).ok_or_else(|| {
                    CqlError::Invalid(format!("Invalid amount of bind variables: marker {} has no value", marker.index))
                })?;
                if let BoundValue::Value(bytes) = value {
                    validate(&marker.cql_type, bytes).map_err(|error| CqlError::Invalid(error.to_string()))?;
                    if marker.holds_sets {
                        return Ok(BoundValue::Value(collection::in_order(&marker.cql_type, bytes)));
                    }
                }
                value.clone()
            }
            Expression::Column(index) => from_option(environment.row.and_then(|row| row.column(*index))),
            Expression::Aggregate(index) => from_option(environment.aggregates.get(*index).cloned().flatten()),
            Expression::List(_) | Expression::Set(..) | Expression::Map(..) | Expression::Vector(..) => {
                BoundValue::Value(self.collection(environment)?)
            }
            Expression::Fields(fields) => {
                let mut values = Vec::with_capacity(fields.len());
                for (index, field) in fields.iter().enumerate() {
                    values.push(match field.evaluate(environment)? {
                        BoundValue::Value(bytes) => Some(bytes),
                        BoundValue::Null => None,
                        BoundValue::Unset => {
                            return Err(CqlError::Invalid(format!(
                                "Invalid unset value for field {index} of a tuple or UDT"
                            )));
                        }
                    });
                }
                BoundValue::Value(collection::encode_fields(&values))
            }
            Expression::Call(call, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    match argument.evaluate(environment)? {
                        BoundValue::Unset => {
                            return Err(CqlError::Invalid(format!(
                                "Invalid unset value for argument in call to function {}",
                                call.name()
                            )));
                        }
                        BoundValue::Null => values.push(None),
                        BoundValue::Value(bytes) => values.push(Some(bytes)),
                    }
                }
                from_option(call.call(&values, environment.shard)?)
            }
            other => from_option(other.access(environment)?),
        })
    }

    /// Somewhere in it is a `writetime`, `maxwritetime` or `ttl`.
    pub fn looks_at_attributes(&self) -> bool {
        match self {
            Expression::Attribute { .. } => true,
            Expression::List(parts)
            | Expression::Set(_, parts)
            | Expression::Fields(parts)
            | Expression::Vector(_, parts)
            | Expression::Call(_, parts) => parts.iter().any(Expression::looks_at_attributes),
            Expression::Map(_, entries) => {
                entries.iter().any(|(key, value)| key.looks_at_attributes() || value.looks_at_attributes())
            }
            Expression::Field(of, _) | Expression::Element { of, .. } | Expression::Slice { of, .. } => {
                of.looks_at_attributes()
            }
            _ => false,
        }
    }

    /// Unset counts as null.
    pub fn optional(&self, environment: &Environment<'_>) -> CqlResult<Option<Bytes>> {
        Ok(match self.evaluate(environment)? {
            BoundValue::Value(bytes) => Some(bytes),
            _ => None,
        })
    }

    fn inside_collection(&self, environment: &Environment<'_>) -> CqlResult<Bytes> {
        match self.evaluate(environment)? {
            BoundValue::Value(bytes) => Ok(bytes),
            BoundValue::Null => Err(CqlError::invalid("null is not supported inside collections")),
            BoundValue::Unset => Err(CqlError::invalid("unset value is not supported inside collections")),
        }
    }

    fn collection(&self, environment: &Environment<'_>) -> CqlResult<Bytes> {
        let all = |elements: &[Expression]| {
            elements.iter().map(|element| element.inside_collection(environment)).collect::<CqlResult<Vec<Bytes>>>()
        };
        Ok(match self {
            Expression::List(elements) => collection::encode_list(&all(elements)?),
            Expression::Set(element_type, elements) => collection::encode_set(element_type, all(elements)?),
            Expression::Vector(vector, elements) => collection::encode_vector(vector, &all(elements)?).into(),
            Expression::Map(key_type, entries) => {
                let entry = |(key, value): &(Expression, Expression)| {
                    Ok((key.inside_collection(environment)?, value.inside_collection(environment)?))
                };
                collection::encode_map(key_type, entries.iter().map(entry).collect::<CqlResult<_>>()?)
            }
            _ => Bytes::new(),
        })
    }

    fn access(&self, environment: &Environment<'_>) -> CqlResult<Option<Bytes>> {
        match self {
            Expression::Field(of, index) => {
                let Some(value) = of.optional(environment)? else { return Ok(None) };
                let field = collection::fields(&value).nth(*index).flatten();
                Ok(field.map(|field| collection::shared(&value, field)))
            }
            Expression::Element { of, collection: collection_type, key } => {
                let Some(value) = of.optional(environment)? else { return Ok(None) };
                let Some(key) = key.optional(environment)? else { return Ok(None) };
                Ok(find_element(collection_type, &value, &key))
            }
            Expression::Slice { of, collection: collection_type, from, to } => {
                let Some(value) = of.optional(environment)? else { return Ok(None) };
                let bound = |bound: &Option<Box<Expression>>| match bound {
                    Some(bound) => bound.optional(environment),
                    None => Ok(None),
                };
                let part = slice(collection_type, &value, bound(from)?.as_deref(), bound(to)?.as_deref());
                // Of a frozen collection an empty part is an empty collection, of others it is none.
                let is_none = !collection_type.is_frozen() && collection::count(&part) == 0;
                Ok((!is_none).then_some(part))
            }
            Expression::Attribute { attribute, column, element } => {
                let Some(row) = environment.row else { return Ok(None) };
                let path = match element.as_deref() {
                    None => None,
                    Some(ElementOf::Field(index)) => Some(index.to_be_bytes().to_vec()),
                    Some(ElementOf::Key(key_type, key)) => match key.optional(environment)? {
                        Some(key) => Some(crate::types::ordered::encoded(key_type, &key)),
                        None => return Ok(None),
                    },
                };
                Ok(row.attribute(*attribute, *column, path.as_deref()))
            }
            _ => Ok(None),
        }
    }
}

fn from_option(value: Option<Bytes>) -> BoundValue {
    value.map_or(BoundValue::Null, BoundValue::Value)
}

fn find_element(collection_type: &CqlType, value: &Bytes, key: &[u8]) -> Option<Bytes> {
    use crate::types::compare::compare;
    match collection_type.unfrozen() {
        CqlType::Map(pair) => {
            let found = collection::entries(value).find(|(other, _)| compare(&pair.0, other, key).is_eq());
            found.map(|(_, found)| collection::shared(value, found))
        }
        CqlType::Set(element) => {
            let found = collection::elements(value).find(|other| compare(element, other, key).is_eq());
            found.map(|found| collection::shared(value, found))
        }
        CqlType::List(_) => {
            let index = i32::from_be_bytes(*key.first_chunk::<4>()?);
            let found = collection::elements(value).nth(usize::try_from(index).ok()?);
            found.map(|found| collection::shared(value, found))
        }
        _ => None,
    }
}

fn slice(collection_type: &CqlType, value: &Bytes, from: Option<&[u8]>, to: Option<&[u8]>) -> Bytes {
    use crate::types::compare::compare;
    let within = |key_type: &CqlType, key: &[u8]| {
        from.is_none_or(|from| compare(key_type, key, from).is_ge())
            && to.is_none_or(|to| compare(key_type, key, to).is_le())
    };
    match collection_type.unfrozen() {
        CqlType::Map(pair) => {
            let entries = collection::entries(value).filter(|(key, _)| within(&pair.0, key));
            let entries: Vec<(Bytes, Bytes)> = entries
                .map(|(key, entry)| (collection::shared(value, key), collection::shared(value, entry)))
                .collect();
            collection::encode_entries(&entries)
        }
        CqlType::Set(element_type) => {
            let elements: Vec<&[u8]> =
                collection::elements(value).filter(|element| within(element_type, element)).collect();
            collection::encode_list(&elements)
        }
        _ => value.clone(),
    }
}
