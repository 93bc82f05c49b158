//! Random definitions.

use crate::choices::Choices;
use crate::selectors::{relation, selection};
use crate::terms::{cql_type, properties, term};
use holon_cql_language::ast::{
    AlterKeyspace, AlterMaterializedView, AlterTable, AlterTableAction, AlterType, AlterTypeAction, ClusteringOrder,
    ColumnDefinition, ColumnMask, CreateAggregate, CreateFunction, CreateIndex, CreateKeyspace, CreateMaterializedView,
    CreateTable, CreateTrigger, CreateType, Describe, DescribeTarget, Direction, DropFunction, DropIndex, DropKeyspace,
    DropMaterializedView, DropTable, DropTrigger, DropType, FieldDefinition, FunctionArgument, Identifier, IndexTarget,
    IndexTargetKind, PrimaryKey, QualifiedName, Rename, Statement, TableOption,
};

pub fn table_statement(choices: &mut Choices) -> Statement {
    match choices.below(4) {
        0 => Statement::CreateTable(Box::new(create_table(choices))),
        1 => Statement::AlterTable(Box::new(AlterTable {
            if_exists: choices.flag(),
            name: choices.qualified(),
            action: alter_action(choices),
        })),
        2 => Statement::DropTable(DropTable { if_exists: choices.flag(), name: choices.qualified() }),
        _ => view_statement(choices),
    }
}

fn create_table(choices: &mut Choices) -> CreateTable {
    CreateTable {
        if_not_exists: choices.flag(),
        name: choices.qualified(),
        columns: choices.several(1, column_definition),
        primary_key: choices.maybe(primary_key),
        options: table_options(choices, true),
    }
}

fn column_definition(choices: &mut Choices) -> ColumnDefinition {
    ColumnDefinition {
        name: choices.name(),
        column_type: cql_type(choices),
        is_static: choices.flag(),
        mask: choices.maybe(column_mask),
    }
}

fn column_mask(choices: &mut Choices) -> ColumnMask {
    match choices.maybe(Choices::qualified) {
        Some(function) => ColumnMask { function: Some(function), arguments: choices.several(0, term) },
        None => ColumnMask { function: None, arguments: Vec::new() },
    }
}

fn primary_key(choices: &mut Choices) -> PrimaryKey {
    PrimaryKey { partition: choices.several(1, Choices::name), clustering: choices.several(0, Choices::name) }
}

fn table_options(choices: &mut Choices, compact: bool) -> Vec<TableOption> {
    let mut options: Vec<TableOption> = properties(choices, 0).into_iter().map(TableOption::Property).collect();
    if compact && choices.flag() {
        options.push(TableOption::CompactStorage);
    }
    if choices.flag() {
        options.push(TableOption::ClusteringOrder(choices.several(1, |choices| ClusteringOrder {
            column: choices.name(),
            direction: choices.one_of(&[Direction::Ascending, Direction::Descending]),
        })));
    }
    options
}

fn rename(choices: &mut Choices) -> Rename {
    Rename { from: choices.name(), to: choices.name() }
}

fn alter_action(choices: &mut Choices) -> AlterTableAction {
    match choices.below(7) {
        0 => AlterTableAction::Add { if_not_exists: choices.flag(), columns: choices.several(1, column_definition) },
        1 => AlterTableAction::Drop {
            if_exists: choices.flag(),
            columns: choices.several(1, Choices::name),
            timestamp: choices.maybe(|choices| choices.one_of(&["0", "-5"]).into()),
        },
        2 => AlterTableAction::Rename { if_exists: choices.flag(), renames: choices.several(1, rename) },
        3 => AlterTableAction::AlterType { column: choices.column(), to: cql_type(choices) },
        4 => AlterTableAction::Mask {
            if_exists: choices.flag(),
            column: choices.column(),
            mask: choices.maybe(column_mask),
        },
        5 => AlterTableAction::DropCompactStorage,
        _ => AlterTableAction::With(properties(choices, 1)),
    }
}

fn view_statement(choices: &mut Choices) -> Statement {
    match choices.below(3) {
        0 => Statement::CreateMaterializedView(Box::new(CreateMaterializedView {
            if_not_exists: choices.flag(),
            name: choices.qualified(),
            selection: selection(choices),
            base: choices.qualified(),
            relations: choices.several(0, relation),
            primary_key: primary_key(choices),
            options: table_options(choices, false),
        })),
        1 => Statement::AlterMaterializedView(Box::new(AlterMaterializedView {
            if_exists: choices.flag(),
            name: choices.qualified(),
            properties: properties(choices, 1),
        })),
        _ => Statement::DropMaterializedView(DropMaterializedView {
            if_exists: choices.flag(),
            name: choices.qualified(),
        }),
    }
}

pub fn other_statement(choices: &mut Choices) -> Statement {
    match choices.below(6) {
        0 => keyspace_statement(choices),
        1 => type_statement(choices),
        2 => index_statement(choices),
        3 => function_statement(choices),
        4 if choices.flag() => Statement::CreateTrigger(Box::new(CreateTrigger {
            if_not_exists: choices.flag(),
            name: choices.name(),
            table: choices.qualified(),
            using: choices.string(),
        })),
        4 => Statement::DropTrigger(Box::new(DropTrigger {
            if_exists: choices.flag(),
            name: choices.name(),
            table: choices.qualified(),
        })),
        _ => {
            Statement::Describe(Box::new(Describe { target: describe_target(choices), with_internals: choices.flag() }))
        }
    }
}

fn keyspace_statement(choices: &mut Choices) -> Statement {
    let (flag, name) = (choices.flag(), choices.name());
    match choices.below(3) {
        0 => {
            let properties = properties(choices, 1);
            Statement::CreateKeyspace(Box::new(CreateKeyspace { if_not_exists: flag, name, properties }))
        }
        1 => {
            let properties = properties(choices, 1);
            Statement::AlterKeyspace(Box::new(AlterKeyspace { if_exists: flag, name, properties }))
        }
        _ => Statement::DropKeyspace(DropKeyspace { if_exists: flag, name }),
    }
}

fn field(choices: &mut Choices) -> FieldDefinition {
    FieldDefinition { name: choices.name(), field_type: cql_type(choices) }
}

fn type_statement(choices: &mut Choices) -> Statement {
    let (flag, name) = (choices.flag(), choices.qualified());
    match choices.below(3) {
        0 => {
            let fields = choices.several(1, field);
            Statement::CreateType(Box::new(CreateType { if_not_exists: flag, name, fields }))
        }
        1 => {
            let action = match choices.below(3) {
                0 => AlterTypeAction::Add { if_not_exists: choices.flag(), field: field(choices) },
                1 => AlterTypeAction::Rename { if_exists: choices.flag(), renames: choices.several(1, rename) },
                _ => AlterTypeAction::AlterField { field: choices.name(), to: cql_type(choices) },
            };
            Statement::AlterType(Box::new(AlterType { if_exists: flag, name, action }))
        }
        _ => Statement::DropType(DropType { if_exists: flag, name }),
    }
}

fn index_statement(choices: &mut Choices) -> Statement {
    if choices.flag() {
        return Statement::DropIndex(DropIndex { if_exists: choices.flag(), name: choices.qualified() });
    }
    Statement::CreateIndex(Box::new(CreateIndex {
        custom: choices.flag(),
        if_not_exists: choices.flag(),
        name: choices.maybe(Choices::name),
        table: choices.qualified(),
        targets: choices.several(0, |choices| IndexTarget {
            kind: choices.one_of(&[
                IndexTargetKind::Simple,
                IndexTargetKind::Keys,
                IndexTargetKind::Values,
                IndexTargetKind::Entries,
                IndexTargetKind::Full,
            ]),
            column: choices.column(),
        }),
        using: choices.maybe(Choices::string),
        properties: properties(choices, 0),
    }))
}

fn function_statement(choices: &mut Choices) -> Statement {
    match choices.below(4) {
        0 => Statement::CreateFunction(Box::new(CreateFunction {
            or_replace: choices.flag(),
            if_not_exists: choices.flag(),
            name: choices.qualified(),
            arguments: choices
                .several(0, |choices| FunctionArgument { name: choices.name(), argument_type: cql_type(choices) }),
            called_on_null_input: choices.flag(),
            returns: cql_type(choices),
            language: Identifier::new(choices.one_of(&["java", "wasm"])),
            body: choices.string(),
        })),
        1 => Statement::CreateAggregate(Box::new(CreateAggregate {
            or_replace: choices.flag(),
            if_not_exists: choices.flag(),
            name: choices.qualified(),
            argument_types: choices.several(0, cql_type),
            state_function: choices.name(),
            state_type: cql_type(choices),
            final_function: choices.maybe(Choices::name),
            initial_state: choices.maybe(term),
        })),
        2 => Statement::DropFunction(drop_function(choices)),
        _ => Statement::DropAggregate(drop_function(choices)),
    }
}

fn drop_function(choices: &mut Choices) -> DropFunction {
    DropFunction {
        if_exists: choices.flag(),
        name: choices.qualified(),
        argument_types: choices.maybe(|choices| choices.several(0, cql_type)),
    }
}

fn describe_target(choices: &mut Choices) -> DescribeTarget {
    let name: QualifiedName = choices.qualified();
    match choices.below(15) {
        0 => DescribeTarget::Cluster,
        1 => DescribeTarget::Schema { full: choices.flag() },
        2 => DescribeTarget::Keyspaces,
        3 => DescribeTarget::Keyspace { name: choices.maybe(Choices::name), only: choices.flag() },
        4 => DescribeTarget::Tables,
        5 => DescribeTarget::Table(name),
        6 => DescribeTarget::Index(name),
        7 => DescribeTarget::MaterializedView(name),
        8 => DescribeTarget::Types,
        9 => DescribeTarget::Type(name),
        10 => DescribeTarget::Functions,
        11 => DescribeTarget::Function(name),
        12 => DescribeTarget::Aggregates,
        13 => DescribeTarget::Aggregate(name),
        _ => DescribeTarget::Generic(name),
    }
}
