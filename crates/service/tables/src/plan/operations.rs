//! What an INSERT, UPDATE or DELETE does to one column.

use super::expression::Expression;
use super::modification::{element_types, field_of};
use super::relations::column;
use super::terms::{Receiver, TermPlanner};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, Table};
use holon_cql::CqlType;
use holon_cql_language::ast::{self, DeleteTarget};

#[derive(Clone, Debug)]
pub struct Operation {
    /// Place in the table.
    pub column: usize,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// The whole column; null deletes it.
    Set(Expression),
    Delete,
    /// To the end of a list.
    Append(Expression),
    /// To the front of a list.
    Prepend(Expression),
    /// From a list, by value: reads first.
    Discard(Expression),
    /// Elements to a set, or entries to a map.
    Put(Expression),
    /// Elements of a set, or keys of a map.
    Remove(Expression),
    /// `map[key] = value`
    SetKey(Expression, Expression),
    /// `list[index] = value`: reads first.
    SetIndex(Expression, Expression),
    SetField(usize, Expression),
    /// From a map or set, by key.
    DeleteKey(Expression),
    /// From a list: reads first.
    DeleteIndex(Expression),
    DeleteField(usize),
    /// Reads first.
    Count {
        by: Expression,
        negative: bool,
    },
}

impl Operation {
    pub fn set(column: &Column, value: Expression) -> Operation {
        Operation { column: column.index, action: Action::Set(value) }
    }

    /// The tablet has to look at the row before it knows what to write.
    pub fn reads_first(&self) -> bool {
        matches!(self.action, Action::Discard(_) | Action::SetIndex(..) | Action::DeleteIndex(_) | Action::Count { .. })
    }
}

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

/// `SET …`
///
/// # Errors
/// Operations that the type of the column does not have.
pub fn assignment(column: &Column, written: &ast::Assignment, terms: &mut TermPlanner<'_>) -> CqlResult<Operation> {
    let whole = Receiver { name: &column.name, cql_type: &column.column_type };
    let action = match &written.operation {
        ast::Operation::Set(term) => {
            if column.column_type == CqlType::Counter {
                return invalid(format!(
                    "Cannot set the value of counter column {} (counters can only be incremented/decremented, not set)",
                    column.name
                ));
            }
            Action::Set(terms.term(term, whole)?)
        }
        ast::Operation::Add(term) => match &column.column_type {
            CqlType::Counter => Action::Count { by: terms.term(term, counter(column))?, negative: false },
            CqlType::List(_) => Action::Append(terms.term(term, whole)?),
            CqlType::Set(_) | CqlType::Map(_) => Action::Put(terms.term(term, whole)?),
            other => return invalid(refused(column, other, written)),
        },
        ast::Operation::Prepend(term) => match &column.column_type {
            CqlType::List(_) => Action::Prepend(terms.term(term, whole)?),
            CqlType::Counter => Action::Count { by: terms.term(term, counter(column))?, negative: false },
            CqlType::Set(_) | CqlType::Map(_) => Action::Put(terms.term(term, whole)?),
            other => return invalid(refused(column, other, written)),
        },
        ast::Operation::Subtract(term) => match &column.column_type {
            CqlType::Counter => Action::Count { by: terms.term(term, counter(column))?, negative: true },
            CqlType::List(_) => Action::Discard(terms.term(term, whole)?),
            CqlType::Set(_) => Action::Remove(terms.term(term, whole)?),
            CqlType::Map(pair) => {
                let keys = CqlType::set(pair.0.clone());
                Action::Remove(terms.term(term, Receiver { name: &column.name, cql_type: &keys })?)
            }
            other => return invalid(refused(column, other, written)),
        },
        ast::Operation::SetElement { key, value } => {
            refuse_frozen(column, written)?;
            let (key_type, value_type) = element_types(column)?;
            let is_list = matches!(column.column_type, CqlType::List(_));
            let key_name = if is_list { format!("idx({})", column.name) } else { format!("key({})", column.name) };
            let value_name = format!("value({})", column.name);
            let key = terms.term(key, Receiver { name: &key_name, cql_type: &key_type })?;
            let value = terms.term(value, Receiver { name: &value_name, cql_type: &value_type })?;
            if is_list { Action::SetIndex(key, value) } else { Action::SetKey(key, value) }
        }
        ast::Operation::SetField { field, value } => {
            refuse_frozen_type(column, written)?;
            let (position, field_type) = field_of(column, field.as_str())?;
            let name = format!("{}.{}", column.name, field.as_str());
            Action::SetField(position, terms.term(value, Receiver { name: &name, cql_type: &field_type })?)
        }
    };
    Ok(Operation { column: column.index, action })
}

fn counter(column: &Column) -> Receiver<'_> {
    Receiver { name: &column.name, cql_type: &CqlType::Counter }
}

fn refused(column: &Column, cql_type: &CqlType, written: &ast::Assignment) -> String {
    let name = &column.name;
    let what = match cql_type.unfrozen() {
        collection if collection.is_collection() => "frozen collection",
        CqlType::Tuple(_) | CqlType::Udt(_) => "tuple",
        _ => "non counter",
    };
    format!("Invalid operation ({written}) for {what} column {name}")
}

fn refuse_frozen(column: &Column, written: &ast::Assignment) -> CqlResult<()> {
    let name = &column.name;
    if !column.column_type.is_collection() && !column.column_type.unfrozen().is_collection() {
        return invalid(format!("Invalid operation ({written}) for non collection column {name}"));
    }
    if !column.is_multi_cell() {
        return invalid(format!("Invalid operation ({written}) for frozen collection column {name}"));
    }
    Ok(())
}

fn refuse_frozen_type(column: &Column, written: &ast::Assignment) -> CqlResult<()> {
    if !matches!(column.column_type.unfrozen(), CqlType::Udt(_)) {
        return invalid(format!("Invalid operation ({written}) for non-UDT column {}", column.name));
    }
    if !column.is_multi_cell() {
        return invalid(format!("Invalid operation ({written}) for frozen UDT column {}", column.name));
    }
    Ok(())
}

/// `DELETE …`
///
/// # Errors
/// Key columns, and elements of what has none.
pub fn deletion(table: &Table, target: &DeleteTarget, terms: &mut TermPlanner<'_>) -> CqlResult<Operation> {
    let name = match target {
        DeleteTarget::Column(name)
        | DeleteTarget::Element { column: name, .. }
        | DeleteTarget::Field { column: name, .. } => name,
    };
    let column = column(table, name.as_str())?;
    if column.kind.is_primary_key() {
        return invalid(format!("Invalid identifier {} for deletion (should not be a PRIMARY KEY part)", column.name));
    }
    let action = match target {
        DeleteTarget::Column(_) => Action::Delete,
        DeleteTarget::Element { key, .. } => {
            if !column.column_type.is_collection() {
                return invalid(format!("Invalid deletion operation for non collection column {}", column.name));
            }
            if !column.is_multi_cell() {
                return invalid(format!("Invalid deletion operation for frozen collection column {}", column.name));
            }
            let key_name = format!("key({})", column.name);
            match &column.column_type {
                CqlType::List(_) => {
                    let receiver = Receiver { name: &key_name, cql_type: &CqlType::Int };
                    Action::DeleteIndex(terms.term(key, receiver)?)
                }
                CqlType::Set(element) => {
                    Action::DeleteKey(terms.term(key, Receiver { name: &key_name, cql_type: element })?)
                }
                CqlType::Map(pair) => {
                    Action::DeleteKey(terms.term(key, Receiver { name: &key_name, cql_type: &pair.0 })?)
                }
                _ => return Err(CqlError::invalid("Invalid deletion operation")),
            }
        }
        DeleteTarget::Field { field, .. } => {
            if !matches!(column.column_type.unfrozen(), CqlType::Udt(_)) {
                return invalid(format!("Invalid field deletion operation for non-UDT column {}", column.name));
            }
            if !column.is_multi_cell() {
                return invalid(format!("Frozen UDT column {} does not support field deletions", column.name));
            }
            Action::DeleteField(field_of(column, field.as_str())?.0)
        }
    };
    Ok(Operation { column: column.index, action })
}
