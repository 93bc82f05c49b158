//! Rules that several changes share, with Cassandra's messages.

use crate::error::{CqlError, CqlResult};
use crate::limits::TABLETS_PER_TABLE_MAX;
use crate::schema::codec::resolve;
use crate::schema::{ColumnKind, Keyspace, Schema, TableDefinition};
use holon_cql::CqlType;
use holon_cql::limits::NESTING_MAX;
use std::sync::Arc;

/// Characters of the name of a keyspace, as in Cassandra: tools make file names of them.
pub const NAME_CHARACTERS_MAX: usize = 48;

/// Characters of the name of a table: with an id behind it, it is still the name of a directory for tools that make
/// one of it. Cassandra has the same bound since 5.0.4, and 48 before.
pub const TABLE_NAME_CHARACTERS_MAX: usize = 222;

/// Tables of a node. Every shard keeps the schema, every tablet its memtable: beyond this a node runs short of memory
/// before it stores anything. (Cassandra warns at 150.)
pub const TABLES_MAX: usize = 10_000;

/// Bytes of the name of a column, a user type or a field: the protocol counts them with 16 bits.
pub const INNER_NAME_BYTES_MAX: usize = 65_535;

/// Names that Cassandra takes as they are, whatever is in them.
pub(super) fn inner_name(kind: &str, name: &str) -> CqlResult<()> {
    if !name.is_empty() && name.len() <= INNER_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(CqlError::Invalid(format!(
        "the name of a {kind} has between 1 and {INNER_NAME_BYTES_MAX} bytes (got {})",
        name.len()
    )))
}

/// Types in a type, itself and all those in its user types included. Types that use types grow twofold with each step;
/// a result writes the whole of them out for every column.
pub const TYPE_NODES_MAX: usize = 1024;

/// Bounds how deep and how large a resolved type is. To be called before anything walks through the type.
pub(super) fn bounded(cql_type: &CqlType) -> CqlResult<()> {
    let mut nodes_left = TYPE_NODES_MAX;
    if fits(cql_type, NESTING_MAX, &mut nodes_left) {
        return Ok(());
    }
    Err(CqlError::Invalid(format!(
        "a type nests at most {NESTING_MAX} levels and holds at most {TYPE_NODES_MAX} types, those in its user types \
         included; use a flatter one"
    )))
}

fn fits(cql_type: &CqlType, levels_left: usize, nodes_left: &mut usize) -> bool {
    let (Some(deeper), Some(fewer)) = (levels_left.checked_sub(1), nodes_left.checked_sub(1)) else { return false };
    *nodes_left = fewer;
    match cql_type {
        CqlType::List(element) | CqlType::Set(element) => fits(element, deeper, nodes_left),
        CqlType::Map(pair) => fits(&pair.0, deeper, nodes_left) && fits(&pair.1, deeper, nodes_left),
        CqlType::Tuple(elements) => elements.iter().all(|element| fits(element, deeper, nodes_left)),
        CqlType::Udt(user) => user.fields.iter().all(|field| fits(&field.cql_type, deeper, nodes_left)),
        CqlType::Vector(vector) => fits(&vector.element, deeper, nodes_left),
        // Not a level of its own.
        CqlType::Frozen(inner) => fits(inner, levels_left, nodes_left),
        _ => true,
    }
}

fn is_possible_name(name: &str, characters_max: usize) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.is_empty() && name.len() <= characters_max && name.chars().all(is_word)
}

pub(super) fn keyspace_name(name: &str) -> CqlResult<()> {
    if is_possible_name(name, NAME_CHARACTERS_MAX) {
        return Ok(());
    }
    Err(CqlError::Invalid(format!(
        "Keyspace name must not be empty, more than {NAME_CHARACTERS_MAX} characters long, or contain \
         non-alphanumeric-underscore characters (got \"{name}\")"
    )))
}

pub(super) fn table_name(definition: &TableDefinition) -> CqlResult<()> {
    if is_possible_name(&definition.name, TABLE_NAME_CHARACTERS_MAX) {
        return Ok(());
    }
    Err(config(
        definition,
        format!(
            "Table name must not be empty, more than {TABLE_NAME_CHARACTERS_MAX} characters long, or contain \
             non-alphanumeric-underscore characters (got \"{}\")",
            definition.name
        ),
    ))
}

pub(super) fn table_count(schema: &Schema) -> CqlResult<()> {
    let tables: usize = schema.user_keyspaces().map(|keyspace| keyspace.tables.len()).sum();
    if tables < TABLES_MAX {
        return Ok(());
    }
    Err(CqlError::Invalid(format!("there are {tables} tables, the most a node takes; drop some first")))
}

pub(super) fn tablet_count(tablets: u32) -> CqlResult<()> {
    if tablets.is_power_of_two() && tablets <= TABLETS_PER_TABLE_MAX {
        return Ok(());
    }
    Err(CqlError::Server(format!(
        "a table of {tablets} tablets is not possible; their number is a power of two up to {TABLETS_PER_TABLE_MAX}"
    )))
}

/// What must hold of every table, after every change.
pub(super) fn table(definition: &TableDefinition, is_counter: bool) -> CqlResult<()> {
    definition.options.check().map_err(CqlError::Config)?;
    if !definition.columns.iter().any(|column| column.kind == ColumnKind::PartitionKey) {
        let name = format!("{}.{}", definition.keyspace, definition.name);
        return Err(config(definition, format!("Missing partition keys for table {name}")));
    }
    if is_counter && definition.options.default_time_to_live_seconds > 0 {
        return Err(CqlError::invalid("Cannot set default_time_to_live on a table with counters"));
    }
    for column in definition.columns.iter().filter(|column| !column.kind.is_primary_key()) {
        let holds_counter = column.column_type == CqlType::Counter;
        if is_counter && !holds_counter {
            let text = format!("Cannot have a non counter column (\"{}\") in a counter table", column.name);
            return Err(config(definition, text));
        }
        if !is_counter && holds_counter {
            let text = format!("Cannot have a counter column (\"{}\") in a non counter table", column.name);
            return Err(config(definition, text));
        }
    }
    Ok(())
}

fn config(definition: &TableDefinition, text: String) -> CqlError {
    CqlError::Config(format!("{}.{}: {text}", definition.keyspace, definition.name))
}

pub(super) fn useless_static() -> CqlError {
    CqlError::invalid(
        "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
    )
}

pub(super) fn unknown_type(name: String) -> CqlError {
    CqlError::Invalid(format!("Unknown type {name}"))
}

/// The type of a column with its user types looked up, if a column of this kind may have it.
pub(super) fn column_type(keyspace: &Keyspace, name: &str, written: &CqlType, kind: ColumnKind) -> CqlResult<CqlType> {
    inner_name("column", name)?;
    let found = resolve(written, &|_, name| keyspace.user_type(name).cloned()).map_err(unknown_type)?;
    bounded(&found)?;
    no_nested_multi_cell(&found)?;
    if !kind.is_primary_key() {
        return Ok(found);
    }
    if found.is_multi_cell() {
        let what = if found.is_collection() { "collection" } else { "user-defined" };
        return Err(CqlError::Invalid(format!(
            "Invalid non-frozen {what} type {found} for PRIMARY KEY column '{name}'"
        )));
    }
    if found == CqlType::Counter {
        return Err(CqlError::Invalid(format!("counter type is not supported for PRIMARY KEY column '{name}'")));
    }
    if contains(&found, &|inner| *inner == CqlType::Duration) {
        return Err(CqlError::Invalid(format!("duration type is not supported for PRIMARY KEY column '{name}'")));
    }
    Ok(found)
}

/// The type of a field of a user type with its own user types looked up.
pub(super) fn field_type(keyspace: &Keyspace, written: &CqlType) -> CqlResult<CqlType> {
    let found = resolve(written, &|_, name| keyspace.user_type(name).cloned()).map_err(unknown_type)?;
    bounded(&found)?;
    if contains(&found, &|inner| *inner == CqlType::Counter) {
        return Err(CqlError::invalid("A user type cannot contain counters"));
    }
    if matches!(found, CqlType::Udt(_)) {
        return Err(CqlError::invalid("A user type cannot contain non-frozen UDTs"));
    }
    Ok(found)
}

/// The cells of an unfrozen user type are its fields: a field cannot have cells of its own.
pub(super) fn no_nested_multi_cell(column_type: &CqlType) -> CqlResult<()> {
    match column_type {
        CqlType::Udt(user) if user.fields.iter().any(|field| field.cql_type.is_multi_cell()) => {
            Err(CqlError::invalid("Non-frozen UDTs with nested non-frozen collections are not supported"))
        }
        _ => Ok(()),
    }
}

/// Whether the predicate holds for the type or for one inside it.
fn contains(cql_type: &CqlType, predicate: &dyn Fn(&CqlType) -> bool) -> bool {
    if predicate(cql_type) {
        return true;
    }
    match cql_type {
        CqlType::List(element) | CqlType::Set(element) => contains(element, predicate),
        CqlType::Map(pair) => contains(&pair.0, predicate) || contains(&pair.1, predicate),
        CqlType::Tuple(elements) => elements.iter().any(|element| contains(element, predicate)),
        CqlType::Udt(user) => user.fields.iter().any(|field| contains(&field.cql_type, predicate)),
        CqlType::Vector(vector) => contains(&vector.element, predicate),
        CqlType::Frozen(inner) => contains(inner, predicate),
        _ => false,
    }
}

/// Whether a user type of this name (of the same keyspace) is in the type.
pub(crate) fn uses_type(cql_type: &CqlType, name: &str) -> bool {
    contains(cql_type, &|inner| matches!(inner, CqlType::Udt(user) if user.name == *name))
}

/// The type with a tuple in the place of every user type: it reads the same values and needs no definition.
pub(super) fn without_user_types(cql_type: &CqlType) -> CqlType {
    match cql_type {
        CqlType::List(element) => CqlType::list(without_user_types(element)),
        CqlType::Set(element) => CqlType::set(without_user_types(element)),
        CqlType::Map(pair) => CqlType::map(without_user_types(&pair.0), without_user_types(&pair.1)),
        CqlType::Tuple(elements) => CqlType::tuple(elements.iter().map(without_user_types).collect::<Vec<_>>()),
        CqlType::Udt(user) => {
            let fields: Vec<_> = user.fields.iter().map(|field| frozen(without_user_types(&field.cql_type))).collect();
            CqlType::frozen(CqlType::tuple(fields))
        }
        CqlType::Vector(vector) => CqlType::vector(without_user_types(&vector.element), vector.dimensions),
        CqlType::Frozen(inner) => frozen(without_user_types(inner)),
        other => other.clone(),
    }
}

fn frozen(cql_type: CqlType) -> CqlType {
    match cql_type {
        already @ CqlType::Frozen(_) => already,
        other => CqlType::frozen(other),
    }
}

/// Whether every value of the type `old` is one of `new` as well, by Cassandra's rules.
pub(super) fn reads_values_of(new: &CqlType, old: &CqlType) -> bool {
    if new == old {
        return true;
    }
    match (new, old) {
        (CqlType::Blob, _) => !old.is_multi_cell() && *old != CqlType::Counter,
        (CqlType::Text, CqlType::Ascii) => true,
        (CqlType::VarInt, CqlType::Int | CqlType::BigInt) => true,
        (CqlType::BigInt, CqlType::Timestamp) => true,
        (CqlType::Uuid, CqlType::TimeUuid) => true,
        (CqlType::Frozen(new), CqlType::Frozen(old)) => reads_values_of(new, old),
        (CqlType::List(new), CqlType::List(old)) | (CqlType::Set(new), CqlType::Set(old)) => reads_values_of(new, old),
        (CqlType::Map(new), CqlType::Map(old)) => reads_values_of(&new.0, &old.0) && reads_values_of(&new.1, &old.1),
        (CqlType::Tuple(new), CqlType::Tuple(old)) => tuple_reads(new, old),
        _ => false,
    }
}

fn tuple_reads(new: &Arc<[CqlType]>, old: &Arc<[CqlType]>) -> bool {
    new.len() >= old.len() && new.iter().zip(old.iter()).all(|(new, old)| reads_values_of(new, old))
}
