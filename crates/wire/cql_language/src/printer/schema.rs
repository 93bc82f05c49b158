//! Keyspaces, types, indexes, views, functions and triggers.

use super::name::{FunctionName, Quoted, TypeName, UnqualifiedFunctionName};
use super::select::where_clause;
use super::table::table_options;
use super::{ands, commas, when};
use crate::ast::{
    AlterKeyspace, AlterMaterializedView, AlterType, AlterTypeAction, CreateAggregate, CreateFunction, CreateIndex,
    CreateKeyspace, CreateMaterializedView, CreateTrigger, CreateType, DropFunction, DropIndex, DropKeyspace,
    DropMaterializedView, DropTrigger, DropType, FieldDefinition, FunctionArgument, IndexTarget, IndexTargetKind,
};
use std::fmt::{Display, Formatter, Result};

impl Display for CreateKeyspace {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE KEYSPACE {if_not_exists}{} WITH {}", self.name, ands(&self.properties))
    }
}

impl Display for AlterKeyspace {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_exists = when(self.if_exists, "IF EXISTS ");
        write!(f, "ALTER KEYSPACE {if_exists}{} WITH {}", self.name, ands(&self.properties))
    }
}

impl Display for DropKeyspace {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP KEYSPACE {}{}", when(self.if_exists, "IF EXISTS "), self.name)
    }
}

impl Display for CreateType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE TYPE {if_not_exists}{} ({})", TypeName(&self.name), commas(&self.fields))
    }
}

impl Display for FieldDefinition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.name, self.field_type)
    }
}

impl Display for AlterType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "ALTER TYPE {}{} ", when(self.if_exists, "IF EXISTS "), TypeName(&self.name))?;
        match &self.action {
            AlterTypeAction::Add { if_not_exists, field } => {
                write!(f, "ADD {}{field}", when(*if_not_exists, "IF NOT EXISTS "))
            }
            AlterTypeAction::Rename { if_exists, renames } => {
                write!(f, "RENAME {}{}", when(*if_exists, "IF EXISTS "), ands(renames))
            }
            AlterTypeAction::AlterField { field, to } => write!(f, "ALTER {field} TYPE {to}"),
        }
    }
}

impl Display for DropType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP TYPE {}{}", when(self.if_exists, "IF EXISTS "), TypeName(&self.name))
    }
}

impl Display for CreateIndex {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "CREATE {}INDEX ", when(self.custom, "CUSTOM "))?;
        f.write_str(when(self.if_not_exists, "IF NOT EXISTS "))?;
        self.name.iter().try_for_each(|name| write!(f, "{name} "))?;
        write!(f, "ON {} ({})", self.table, commas(&self.targets))?;
        self.using.iter().try_for_each(|using| write!(f, " USING {}", Quoted(using)))?;
        if self.properties.is_empty() { Ok(()) } else { write!(f, " WITH {}", ands(&self.properties)) }
    }
}

impl Display for IndexTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let column = &self.column;
        match self.kind {
            IndexTargetKind::Simple => column.fmt(f),
            IndexTargetKind::Keys => write!(f, "keys({column})"),
            IndexTargetKind::Values => write!(f, "values({column})"),
            IndexTargetKind::Entries => write!(f, "entries({column})"),
            IndexTargetKind::Full => write!(f, "full({column})"),
        }
    }
}

impl Display for DropIndex {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP INDEX {}{}", when(self.if_exists, "IF EXISTS "), self.name)
    }
}

impl Display for CreateMaterializedView {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE MATERIALIZED VIEW {if_not_exists}{} AS ", self.name)?;
        write!(f, "SELECT {} FROM {}", self.selection, self.base)?;
        where_clause(f, &self.relations)?;
        write!(f, " {}", self.primary_key)?;
        table_options(f, &self.options)
    }
}

impl Display for AlterMaterializedView {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_exists = when(self.if_exists, "IF EXISTS ");
        write!(f, "ALTER MATERIALIZED VIEW {if_exists}{} WITH {}", self.name, ands(&self.properties))
    }
}

impl Display for DropMaterializedView {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP MATERIALIZED VIEW {}{}", when(self.if_exists, "IF EXISTS "), self.name)
    }
}

impl Display for CreateFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let or_replace = when(self.or_replace, "OR REPLACE ");
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE {or_replace}FUNCTION {if_not_exists}{}", FunctionName(&self.name))?;
        let on_null = if self.called_on_null_input { "CALLED" } else { "RETURNS NULL" };
        write!(f, " ({}) {on_null} ON NULL INPUT RETURNS {}", commas(&self.arguments), self.returns)?;
        // The grammar takes no quotes here.
        write!(f, " LANGUAGE {} AS {}", self.language.as_str(), Quoted(&self.body))
    }
}

impl Display for FunctionArgument {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.name, self.argument_type)
    }
}

impl Display for CreateAggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let or_replace = when(self.or_replace, "OR REPLACE ");
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE {or_replace}AGGREGATE {if_not_exists}{}", FunctionName(&self.name))?;
        let state_function = UnqualifiedFunctionName(&self.state_function);
        write!(f, " ({}) SFUNC {state_function} STYPE {}", commas(&self.argument_types), self.state_type)?;
        if let Some(function) = &self.final_function {
            write!(f, " FINALFUNC {}", UnqualifiedFunctionName(function))?;
        }
        self.initial_state.iter().try_for_each(|state| write!(f, " INITCOND {state}"))
    }
}

pub(super) fn drop_function(f: &mut Formatter<'_>, what: &str, dropped: &DropFunction) -> Result {
    write!(f, "DROP {what} {}{}", when(dropped.if_exists, "IF EXISTS "), FunctionName(&dropped.name))?;
    dropped.argument_types.iter().try_for_each(|types| write!(f, " ({})", commas(types)))
}

impl Display for CreateTrigger {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE TRIGGER {if_not_exists}{} ON {} USING {}", self.name, self.table, Quoted(&self.using))
    }
}

impl Display for DropTrigger {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP TRIGGER {}{} ON {}", when(self.if_exists, "IF EXISTS "), self.name, self.table)
    }
}
