//! Scalar functions, casts and arithmetic: which there are for which types, and what they give.

use super::calculate::{self, Numeric};
use super::{calendar, collection, number, text, uuids};
use crate::error::{CqlError, CqlResult};
use crate::schema::Table;
use bytes::Bytes;
use holon_cql::CqlType;
use holon_cql_language::ast::ArithmeticOperator;
use holon_kernel::Shard;

/// A function with the types it is called with.
#[derive(Clone, Debug)]
pub struct Call {
    kind: Kind,
    name: String,
    arguments: Vec<CqlType>,
    result: CqlType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Now,
    RandomUuid,
    CurrentTimestamp,
    CurrentDate,
    CurrentTime,
    ToDate,
    ToTimestamp,
    ToUnixTimestamp,
    SmallestTimeUuid,
    LargestTimeUuid,
    Token,
    ToBlob,
    FromBlob,
    Cast,
    Negate,
    Arithmetic(ArithmeticOperator),
    Absolute,
    Exponential,
    Logarithm,
    Logarithm10,
    Round,
    CollectionCount,
    MapKeys,
    MapValues,
    ToJson,
    FromJson,
    SimilarityCosine,
    SimilarityEuclidean,
    SimilarityDotProduct,
}

/// Whether values of one type may stand for another's without being changed.
pub fn is_assignable(from: &CqlType, to: &CqlType) -> bool {
    let (from, to) = (from.unfrozen(), to.unfrozen());
    from == to
        || match (from, to) {
            (CqlType::Ascii, CqlType::Text)
            | (CqlType::TimeUuid, CqlType::Uuid)
            | (CqlType::BigInt, CqlType::Counter | CqlType::Timestamp)
            | (CqlType::Counter | CqlType::Timestamp, CqlType::BigInt)
            | (CqlType::Int | CqlType::BigInt | CqlType::Timestamp, CqlType::VarInt)
            | (_, CqlType::Blob) => true,
            (CqlType::List(a), CqlType::List(b)) | (CqlType::Set(a), CqlType::Set(b)) => is_assignable(a, b),
            (CqlType::Map(a), CqlType::Map(b)) => is_assignable(&a.0, &b.0) && is_assignable(&a.1, &b.1),
            _ => false,
        }
}

/// A native function by name; `None` if there is none of that name. Types that are not known are `None`.
///
/// # Errors
/// The function takes no such arguments.
pub fn resolve(
    name: &str,
    arguments: &[Option<CqlType>],
    receiver: Option<&CqlType>,
    table: &Table,
) -> Result<Option<Call>, String> {
    if name == "token" {
        let types: Vec<CqlType> = table.partition_key().iter().map(|column| column.column_type.clone()).collect();
        return checked(name, Kind::Token, arguments, types, CqlType::BigInt).map(Some);
    }
    if let Some(call) = blob_function(name, arguments, receiver)? {
        return Ok(Some(call));
    }
    if matches!(name, "fromjson" | "from_json") {
        let Some(receiver) = receiver else {
            let shown = if name == "fromjson" { "fromJson" } else { name };
            return Err(format!("{shown}() cannot be used in the selection clause of a SELECT statement"));
        };
        return checked(name, Kind::FromJson, arguments, vec![CqlType::Text], receiver.clone()).map(Some);
    }
    let first = arguments.first().cloned().flatten();
    refuse_ambiguous(name, arguments)?;
    let time_like = || match &first {
        Some(known @ (CqlType::TimeUuid | CqlType::Timestamp | CqlType::Date)) => known.clone(),
        // A time that is written out.
        Some(CqlType::Text) if name.ends_with("date") => CqlType::Timestamp,
        Some(CqlType::Text) => CqlType::Date,
        _ => CqlType::TimeUuid,
    };
    let numeric = || first.clone().filter(|known| Numeric::of(known).is_some()).unwrap_or(CqlType::Double);
    let given = || first.clone().or_else(|| receiver.cloned()).unwrap_or(CqlType::Text);
    let (kind, types, result) = match name {
        "now" | "currenttimeuuid" | "current_timeuuid" => (Kind::Now, vec![], CqlType::TimeUuid),
        "uuid" => (Kind::RandomUuid, vec![], CqlType::Uuid),
        "currenttimestamp" | "current_timestamp" => (Kind::CurrentTimestamp, vec![], CqlType::Timestamp),
        "currentdate" | "current_date" => (Kind::CurrentDate, vec![], CqlType::Date),
        "currenttime" | "current_time" => (Kind::CurrentTime, vec![], CqlType::Time),
        "todate" | "to_date" => (Kind::ToDate, vec![time_like()], CqlType::Date),
        "totimestamp" | "to_timestamp" => (Kind::ToTimestamp, vec![time_like()], CqlType::Timestamp),
        "tounixtimestamp" | "to_unix_timestamp" => (Kind::ToUnixTimestamp, vec![time_like()], CqlType::BigInt),
        "dateof" => (Kind::ToTimestamp, vec![CqlType::TimeUuid], CqlType::Timestamp),
        "unixtimestampof" => (Kind::ToUnixTimestamp, vec![CqlType::TimeUuid], CqlType::BigInt),
        "mintimeuuid" | "min_timeuuid" => (Kind::SmallestTimeUuid, vec![CqlType::Timestamp], CqlType::TimeUuid),
        "maxtimeuuid" | "max_timeuuid" => (Kind::LargestTimeUuid, vec![CqlType::Timestamp], CqlType::TimeUuid),
        "abs" => (Kind::Absolute, vec![numeric()], numeric()),
        "exp" => (Kind::Exponential, vec![numeric()], numeric()),
        "log" => (Kind::Logarithm, vec![numeric()], numeric()),
        "log10" => (Kind::Logarithm10, vec![numeric()], numeric()),
        "round" => (Kind::Round, vec![numeric()], numeric()),
        "collection_count" => (Kind::CollectionCount, vec![given()], CqlType::Int),
        "tojson" | "to_json" => (Kind::ToJson, vec![given()], CqlType::Text),
        "map_keys" | "map_values" => match first.as_ref().map(CqlType::unfrozen) {
            Some(CqlType::Map(pair)) if name == "map_keys" => {
                (Kind::MapKeys, vec![given()], CqlType::frozen(CqlType::set(pair.0.clone())))
            }
            Some(CqlType::Map(pair)) => {
                (Kind::MapValues, vec![given()], CqlType::frozen(CqlType::list(pair.1.clone())))
            }
            _ => return Err(format!("Function system.{name} requires a map argument")),
        },
        "similarity_cosine" | "similarity_euclidean" | "similarity_dot_product" => {
            let kind = match name {
                "similarity_cosine" => Kind::SimilarityCosine,
                "similarity_euclidean" => Kind::SimilarityEuclidean,
                _ => Kind::SimilarityDotProduct,
            };
            let vector = float_vector(name, arguments)?;
            (kind, vec![vector.clone(), vector.clone()], CqlType::Float)
        }
        _ => return Ok(None),
    };
    checked(name, kind, arguments, types, result).map(Some)
}

pub fn is_similarity(name: &str) -> bool {
    matches!(name, "similarity_cosine" | "similarity_euclidean" | "similarity_dot_product")
}

/// The type of the two vectors of a similarity.
fn float_vector(name: &str, arguments: &[Option<CqlType>]) -> Result<CqlType, String> {
    if arguments.len() != 2 {
        return Err(format!(
            "Invalid number of arguments for function system.{name}: 2 required, {} given",
            arguments.len()
        ));
    }
    let mut known = arguments.iter().flatten();
    let first = known.next().ok_or_else(|| {
        format!("Cannot infer type of argument ? in call to function system.{name}: use type casts to disambiguate")
    })?;
    for found in arguments.iter().flatten() {
        let dimensions = |of: &CqlType| match of.unfrozen() {
            CqlType::Vector(vector) if vector.element == CqlType::Float => Some(vector.dimensions),
            _ => None,
        };
        let (Some(own), wanted) = (dimensions(found), dimensions(first)) else {
            return Err(format!("Function system.{name} requires a float vector argument, but found {found}"));
        };
        if wanted.is_some_and(|wanted| wanted != own) {
            return Err(format!("All arguments must have the same vector dimensions, but found {first} and {found}"));
        }
    }
    Ok(first.clone())
}

/// A marker does not tell which of several functions of one name is meant.
fn refuse_ambiguous(name: &str, arguments: &[Option<CqlType>]) -> Result<(), String> {
    let signatures = match name {
        "todate" | "to_date" => "(timeuuid), (timestamp)",
        "totimestamp" | "to_timestamp" => "(timeuuid), (date)",
        "tounixtimestamp" | "to_unix_timestamp" => "(timeuuid), (timestamp), (date)",
        _ => return Ok(()),
    };
    if matches!(arguments, [None]) {
        return Err(format!(
            "Ambiguous call to function {name} (can be matched by following signatures: {signatures}): use type cast to \
             disambiguate"
        ));
    }
    Ok(())
}

fn checked(
    name: &str,
    kind: Kind,
    arguments: &[Option<CqlType>],
    types: Vec<CqlType>,
    result: CqlType,
) -> Result<Call, String> {
    if arguments.len() != types.len() {
        return Err(format!(
            "Invalid number of arguments in call to function system.{name}: {} required but {} provided",
            types.len(),
            arguments.len()
        ));
    }
    Ok(Call { kind, name: format!("system.{name}"), arguments: types, result })
}

/// `intasblob`, `blobasint`, `int_as_blob`, `blob_as_int`, ….
fn blob_function(name: &str, arguments: &[Option<CqlType>], _: Option<&CqlType>) -> Result<Option<Call>, String> {
    let to = name.strip_suffix("_as_blob").or_else(|| name.strip_suffix("asblob"));
    if let Some(from) = to.and_then(CqlType::scalar) {
        return checked(name, Kind::ToBlob, arguments, vec![from], CqlType::Blob).map(Some);
    }
    let from = name.strip_prefix("blob_as_").or_else(|| name.strip_prefix("blobas"));
    match from.and_then(CqlType::scalar) {
        Some(to) => checked(name, Kind::FromBlob, arguments, vec![CqlType::Blob], to).map(Some),
        None => Ok(None),
    }
}

/// Whether a value may be an argument of a function: of the functions on blobs each takes its own type only.
pub fn is_argument(call: &Call, from: &CqlType, to: &CqlType) -> bool {
    let counts = |of: &CqlType| *of.unfrozen() == CqlType::Counter;
    is_assignable(from, to) && (call.kind != Kind::ToBlob || counts(from) == counts(to))
}

/// What an operation on two types gives; `None` if there is no such operation.
pub fn arithmetic_type(operator: ArithmeticOperator, left: &CqlType, right: &CqlType) -> Option<CqlType> {
    match (left, right) {
        (CqlType::Timestamp | CqlType::Date, CqlType::Duration) if !operator.is_multiplicative() => {
            return Some(left.clone());
        }
        (CqlType::Text | CqlType::Ascii, CqlType::Text | CqlType::Ascii) if operator == ArithmeticOperator::Add => {
            return Some(if left == right { left.clone() } else { CqlType::Text });
        }
        _ => {}
    }
    Some(Numeric::of(left)?.combined(Numeric::of(right)?).cql_type())
}

impl Call {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn argument_types(&self) -> &[CqlType] {
        &self.arguments
    }

    pub fn return_type(&self) -> &CqlType {
        &self.result
    }

    /// # Errors
    /// There is no such cast.
    pub fn cast(from: &CqlType, to: &CqlType) -> Result<Call, String> {
        let (from, to) = (from.unfrozen(), to.unfrozen());
        let possible = from == to
            || (Numeric::of(from).is_some() && Numeric::of(to).is_some() && *to != CqlType::Counter)
            || match (from, to) {
                (CqlType::TimeUuid, CqlType::Timestamp | CqlType::Date)
                | (CqlType::Timestamp, CqlType::Date)
                | (CqlType::Date, CqlType::Timestamp) => true,
                (CqlType::Blob | CqlType::Duration, CqlType::Text | CqlType::Ascii) => false,
                (from, CqlType::Text | CqlType::Ascii) => from.is_scalar(),
                _ => false,
            };
        if !possible {
            return Err(format!("{from} cannot be cast to {to}"));
        }
        let name = format!("system.cast_as_{to}");
        Ok(Call { kind: Kind::Cast, name, arguments: vec![from.clone()], result: to.clone() })
    }

    /// # Errors
    /// The type is not a number.
    pub fn negate(cql_type: &CqlType) -> Result<Call, String> {
        if Numeric::of(cql_type).is_none() {
            return Err(format!("the '-' operation is not supported between -{cql_type}"));
        }
        let (arguments, result) = (vec![cql_type.clone()], cql_type.clone());
        Ok(Call { kind: Kind::Negate, name: "system.negate".to_string(), arguments, result })
    }

    /// # Errors
    /// There is no such operation on these types.
    pub fn arithmetic(
        operator: ArithmeticOperator,
        left: &CqlType,
        right: &CqlType,
        names: (&str, &str),
    ) -> Result<Call, String> {
        let symbol = operator_symbol(operator);
        let result = arithmetic_type(operator, left, right)
            .ok_or_else(|| format!("the '{symbol}' operation is not supported between {} and {}", names.0, names.1))?;
        let name = format!("system.{symbol}");
        Ok(Call { kind: Kind::Arithmetic(operator), name, arguments: vec![left.clone(), right.clone()], result })
    }

    /// Null for a null argument.
    ///
    /// # Errors
    /// Arguments out of the range of the function.
    pub fn call(&self, arguments: &[Option<Bytes>], shard: &Shard) -> CqlResult<Option<Bytes>> {
        if let Some(without) = self.without_arguments(shard) {
            return Ok(Some(without));
        }
        if self.kind == Kind::ToJson {
            let value = arguments.first().cloned().flatten();
            return Ok(Some(super::json::to_json(&self.arguments[0], value.as_deref()).into()));
        }
        if arguments.iter().any(Option::is_none) {
            return Ok(None);
        }
        let values: Vec<Bytes> = arguments.iter().flatten().cloned().collect();
        let Some(first) = values.first() else { return Ok(None) };
        // An empty value is no number and no time: it gives null, as in Cassandra.
        let keeps_empty = matches!(self.kind, Kind::Token | Kind::ToBlob | Kind::FromBlob)
            || self.arguments.iter().all(|cql_type| matches!(cql_type, CqlType::Text | CqlType::Ascii));
        if first.is_empty() && !keeps_empty {
            return Ok(None);
        }
        self.with_arguments(&values, first).map_err(|text| self.failure(text))
    }

    /// What a client is told of a failed call: functions on blobs refuse their argument, all others fail.
    fn failure(&self, text: String) -> CqlError {
        if matches!(self.kind, Kind::Token | Kind::FromBlob | Kind::SimilarityCosine) {
            return CqlError::Invalid(text);
        }
        let function = self.name.trim_start_matches("system.").to_string();
        let arguments = self.arguments.iter().map(ToString::to_string).collect();
        CqlError::FunctionFailure { function, arguments, text }
    }

    fn without_arguments(&self, shard: &Shard) -> Option<Bytes> {
        let wall = shard.wall();
        Some(match self.kind {
            Kind::Now => copy(&uuids::time_uuid(shard.unique_micros(), shard.random_u64()).to_be_bytes()),
            Kind::RandomUuid => {
                let bits = (u128::from(shard.random_u64()) << 64) | u128::from(shard.random_u64());
                copy(&uuids::random(bits).to_be_bytes())
            }
            Kind::CurrentTimestamp => copy(&wall.millis().to_be_bytes()),
            Kind::CurrentDate => copy(&calendar::date_of_timestamp(wall.millis())?.to_be_bytes()),
            Kind::CurrentTime => {
                copy(&(wall.micros().wrapping_mul(1000)).rem_euclid(calendar::DAY_NANOS).to_be_bytes())
            }
            _ => return None,
        })
    }

    fn with_arguments(&self, values: &[Bytes], first: &Bytes) -> Result<Option<Bytes>, String> {
        let from = &self.arguments[0];
        Ok(match self.kind {
            Kind::ToDate => {
                millis_of(from, first).and_then(calendar::date_of_timestamp).map(|days| copy(&days.to_be_bytes()))
            }
            Kind::ToTimestamp | Kind::ToUnixTimestamp => {
                millis_of(from, first).map(|millis| copy(&millis.to_be_bytes()))
            }
            Kind::SmallestTimeUuid => long(first).map(|millis| copy(&uuids::minimum(millis).to_be_bytes())),
            Kind::LargestTimeUuid => long(first).map(|millis| copy(&uuids::maximum(millis).to_be_bytes())),
            Kind::Token => {
                let columns: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
                let key = holon_cql::token::partition_key(&columns).ok_or("Key length is longer than 65535")?;
                Some(copy(&holon_cql::token::token(&key).to_be_bytes()))
            }
            Kind::ToBlob => Some(first.clone()),
            Kind::FromBlob => {
                holon_cql::value::validate(&self.result, first).map_err(|error| {
                    format!(
                        "In call to function {}, value 0x{} is not a valid binary representation for type {}: {error}",
                        self.name,
                        crate::error::hexadecimal(first),
                        self.result
                    )
                })?;
                Some(first.clone())
            }
            Kind::Cast => cast_value(from, &self.result, first)?,
            Kind::Arithmetic(operator) => calculate::arithmetic(operator, &self.arguments, &self.result, values)
                .map_err(|reason| {
                    let symbol = operator_symbol(operator);
                    format!("the operation '{from} {symbol} {}' failed: {reason}", self.arguments[1])
                })?,
            Kind::Negate | Kind::Absolute | Kind::Exponential | Kind::Logarithm | Kind::Logarithm10 | Kind::Round => {
                calculate::unary(self.unary(), from, first)?
            }
            Kind::FromJson => {
                let text = String::from_utf8_lossy(first);
                let failed = |reason: String| {
                    format!(
                        "execution of '{}[text]' failed: Could not decode JSON string '{text}': {reason}",
                        self.name
                    )
                };
                let json = super::json_value::Json::parse(&text).map_err(failed)?;
                super::json_value::serialize(&json, &self.result).map_err(failed)?
            }
            Kind::CollectionCount => Some(copy(&(collection::count(first) as i32).to_be_bytes())),
            Kind::MapKeys => {
                let keys: Vec<&[u8]> = collection::entries(first).map(|(key, _)| key).collect();
                Some(collection::encode_list(&keys))
            }
            Kind::MapValues => {
                let entries: Vec<&[u8]> = collection::entries(first).map(|(_, value)| value).collect();
                Some(collection::encode_list(&entries))
            }
            Kind::SimilarityCosine | Kind::SimilarityEuclidean | Kind::SimilarityDotProduct => {
                let zero = |value: &Bytes| value.iter().all(|byte| *byte == 0);
                if self.kind == Kind::SimilarityCosine && values.iter().any(zero) {
                    return Err("Function system.similarity_cosine doesn't support all-zero vectors.".to_string());
                }
                Some(copy(&similarity(self.kind, from, values).to_be_bytes()))
            }
            _ => None,
        })
    }

    fn unary(&self) -> calculate::Unary {
        match self.kind {
            Kind::Absolute => calculate::Unary::Absolute,
            Kind::Exponential => calculate::Unary::Exponential,
            Kind::Logarithm => calculate::Unary::Logarithm,
            Kind::Logarithm10 => calculate::Unary::Logarithm10,
            Kind::Round => calculate::Unary::Round,
            _ => calculate::Unary::Negate,
        }
    }
}

pub fn operator_symbol(operator: ArithmeticOperator) -> &'static str {
    match operator {
        ArithmeticOperator::Add => "+",
        ArithmeticOperator::Subtract => "-",
        ArithmeticOperator::Multiply => "*",
        ArithmeticOperator::Divide => "/",
        ArithmeticOperator::Modulo => "%",
    }
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn long(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

fn millis_of(from: &CqlType, value: &[u8]) -> Option<i64> {
    match from {
        CqlType::TimeUuid => uuids::from_bytes(value).map(uuids::unix_millis),
        CqlType::Date => Some(calendar::timestamp_of_date(u32::from_be_bytes(value.try_into().ok()?))),
        _ => long(value),
    }
}

fn cast_value(from: &CqlType, to: &CqlType, value: &Bytes) -> Result<Option<Bytes>, String> {
    if from == to {
        return Ok(Some(value.clone()));
    }
    if Numeric::of(from).is_some() && Numeric::of(to).is_some() {
        return Ok(calculate::convert(from, to, value));
    }
    Ok(match to {
        CqlType::Text | CqlType::Ascii => text::to_text(from, value).map(Bytes::from),
        CqlType::Timestamp => millis_of(from, value).map(|millis| copy(&millis.to_be_bytes())),
        CqlType::Date => {
            millis_of(from, value).and_then(calendar::date_of_timestamp).map(|days| copy(&days.to_be_bytes()))
        }
        _ => None,
    })
}

fn similarity(kind: Kind, vector: &CqlType, values: &[Bytes]) -> f32 {
    let CqlType::Vector(vector) = vector else { return 0.0 };
    let floats = |value: &Bytes| -> Vec<f32> {
        collection::vector_elements(vector, value)
            .map(|element| element.first_chunk::<4>().map_or(0.0, |bytes| f32::from_be_bytes(*bytes)))
            .collect()
    };
    let (Some(a), Some(b)) = (values.first().map(floats), values.get(1).map(floats)) else { return 0.0 };
    let dot: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    match kind {
        Kind::SimilarityDotProduct => (1.0 + dot) / 2.0,
        Kind::SimilarityEuclidean => {
            let distance: f32 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
            1.0 / (1.0 + distance)
        }
        _ => {
            let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
            (1.0 + dot / (norm(&a) * norm(&b))) / 2.0
        }
    }
}

/// The sum of a column of numbers in its own type, and the like for averages: see [`calculate`].
pub fn is_numeric(cql_type: &CqlType) -> bool {
    Numeric::of(cql_type).is_some()
}

/// The number of a varint that fits into 64 bits.
pub fn small_varint(value: &[u8]) -> Option<i64> {
    i64::try_from(number::varint_to_big(value)).ok()
}
