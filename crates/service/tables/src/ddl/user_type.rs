//! CREATE, ALTER and DROP TYPE.

use super::{DdlContext, table, types};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Change, UserField};
use holon_cql_language::ast::{AlterType, AlterTypeAction, CreateType, DropType, FieldDefinition};

pub(super) fn create(context: &DdlContext<'_>, statement: &CreateType) -> CqlResult<Change> {
    let user_type = context.qualified(&statement.name)?;
    let fields: CqlResult<Vec<UserField>> =
        statement.fields.iter().map(|definition| field(definition, &user_type.keyspace)).collect();
    Ok(Change::CreateType { if_not_exists: statement.if_not_exists, fields: fields?, user_type })
}

pub(super) fn alter(context: &DdlContext<'_>, statement: &AlterType) -> CqlResult<Change> {
    let user_type = context.qualified(&statement.name)?;
    let if_exists = statement.if_exists;
    match &statement.action {
        AlterTypeAction::Add { if_not_exists, field: definition } => Ok(Change::AddField {
            if_exists,
            if_not_exists: *if_not_exists,
            field: field(definition, &user_type.keyspace)?,
            user_type,
        }),
        AlterTypeAction::Rename { if_exists: if_field_exists, renames } => Ok(Change::RenameFields {
            user_type,
            if_exists,
            if_field_exists: *if_field_exists,
            renames: table::pairs(renames),
        }),
        AlterTypeAction::AlterField { .. } => Err(CqlError::invalid("Altering field types is no longer supported")),
    }
}

pub(super) fn drop(context: &DdlContext<'_>, statement: &DropType) -> CqlResult<Change> {
    Ok(Change::DropType { user_type: context.qualified(&statement.name)?, if_exists: statement.if_exists })
}

fn field(definition: &FieldDefinition, keyspace: &str) -> CqlResult<UserField> {
    Ok(UserField {
        name: definition.name.as_str().to_string(),
        cql_type: types::column_type(&definition.field_type, keyspace)?,
    })
}
