//! CREATE, ALTER and DROP TABLE.

use super::name::FunctionName;
use super::{ands, commas, when};
use crate::ast::{
    AlterTable, AlterTableAction, ClusteringOrder, ColumnDefinition, ColumnMask, CreateTable, DropTable, PrimaryKey,
    Rename, TableOption,
};
use std::fmt::{Display, Formatter, Result};

impl Display for CreateTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE TABLE {if_not_exists}{} ({}", self.name, commas(&self.columns))?;
        let comma = when(!self.columns.is_empty(), ", ");
        self.primary_key.iter().try_for_each(|key| write!(f, "{comma}{key}"))?;
        f.write_str(")")?;
        table_options(f, &self.options)
    }
}

pub(super) fn table_options(f: &mut Formatter<'_>, options: &[TableOption]) -> Result {
    if options.is_empty() { Ok(()) } else { write!(f, " WITH {}", ands(options)) }
}

impl Display for ColumnDefinition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}{}", self.name, self.column_type, when(self.is_static, " STATIC"))?;
        self.mask.iter().try_for_each(|mask| write!(f, " {mask}"))
    }
}

impl Display for ColumnMask {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.function {
            Some(function) => write!(f, "MASKED WITH {}({})", FunctionName(function), commas(&self.arguments)),
            None => f.write_str("MASKED WITH DEFAULT"),
        }
    }
}

impl Display for PrimaryKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.partition.as_slice() {
            [single] => write!(f, "PRIMARY KEY ({single}")?,
            several => write!(f, "PRIMARY KEY (({})", commas(several))?,
        }
        self.clustering.iter().try_for_each(|column| write!(f, ", {column}"))?;
        f.write_str(")")
    }
}

impl Display for TableOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            TableOption::Property(property) => property.fmt(f),
            TableOption::CompactStorage => f.write_str("COMPACT STORAGE"),
            TableOption::ClusteringOrder(order) => write!(f, "CLUSTERING ORDER BY ({})", commas(order)),
        }
    }
}

impl Display for ClusteringOrder {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.column, self.direction)
    }
}

impl Display for AlterTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "ALTER TABLE {}{} {}", when(self.if_exists, "IF EXISTS "), self.name, self.action)
    }
}

impl Display for AlterTableAction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            AlterTableAction::Add { if_not_exists, columns } => {
                write!(f, "ADD {}", when(*if_not_exists, "IF NOT EXISTS "))?;
                one_or_parenthesized(f, columns)
            }
            AlterTableAction::Drop { if_exists, columns, timestamp } => {
                write!(f, "DROP {}", when(*if_exists, "IF EXISTS "))?;
                one_or_parenthesized(f, columns)?;
                timestamp.iter().try_for_each(|timestamp| write!(f, " USING TIMESTAMP {timestamp}"))
            }
            AlterTableAction::Rename { if_exists, renames } => {
                write!(f, "RENAME {}{}", when(*if_exists, "IF EXISTS "), ands(renames))
            }
            AlterTableAction::AlterType { column, to } => write!(f, "ALTER {column} TYPE {to}"),
            AlterTableAction::Mask { if_exists, column, mask } => {
                write!(f, "ALTER {}{column} ", when(*if_exists, "IF EXISTS "))?;
                match mask {
                    Some(mask) => mask.fmt(f),
                    None => f.write_str("DROP MASKED"),
                }
            }
            AlterTableAction::DropCompactStorage => f.write_str("DROP COMPACT STORAGE"),
            AlterTableAction::With(properties) => write!(f, "WITH {}", ands(properties)),
        }
    }
}

fn one_or_parenthesized<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> Result {
    match items {
        [one] => one.fmt(f),
        several => write!(f, "({})", commas(several)),
    }
}

impl Display for Rename {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} TO {}", self.from, self.to)
    }
}

impl Display for DropTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP TABLE {}{}", when(self.if_exists, "IF EXISTS "), self.name)
    }
}
