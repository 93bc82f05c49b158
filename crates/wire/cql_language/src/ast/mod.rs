//! What a statement says, as plain data, one file a family.
//!
//! Not checked against any schema: names may not exist and values may not fit. Nothing here borrows from the text or
//! has interior mutability, so every type is `Send + Sync` and a statement is shared by `Arc` (see
//! [`SharedStatement`](crate::SharedStatement)).
//!
//! Names are canonical (folded to lower case unless they were quoted) and synonyms are merged (`COLUMNFAMILY` is
//! `TABLE`, `c += v` is `c = c + v`): equal meaning is an equal tree as far as syntax can tell. `Display` prints any
//! tree that the parser can build, and the print parses back to an equal tree.
//!
//! Parentheses are data: `(a + b) * c` has a [`Term::Tuple`] of one element on its left. Precedence is therefore never
//! guessed when printing; whoever builds trees by hand puts the parentheses in.

mod function;
mod index;
mod keyspace;
mod modification;
mod name;
mod permission;
mod property;
mod relation;
mod role;
mod select;
mod table;
mod term;
mod types;
mod user_type;
mod utility;
mod view;

pub use function::{CreateAggregate, CreateFunction, DropFunction, FunctionArgument};
pub use index::{CreateIndex, DropIndex, IndexTarget, IndexTargetKind};
pub use keyspace::{AlterKeyspace, CreateKeyspace, DropKeyspace};
pub use modification::{
    Assignment, Batch, BatchKind, Condition, ConditionTarget, ConditionTest, Delete, DeleteTarget, IfClause, Insert,
    InsertSource, JsonDefault, JsonValue, Modification, Operation, Update, Using,
};
pub use name::{Identifier, QualifiedName};
pub use permission::{ListPermissions, Permission, PermissionChange, Permissions, Resource};
pub use property::{Property, PropertyValue};
pub use relation::{ComparisonOperator, InValues, Relation, RelationTarget};
pub use role::{
    AddIdentity, AlterUser, CidrAccess, CreateUser, DatacenterAccess, DropIdentity, DropRole, ListRoles, Role,
    RoleChange, RoleOption, UserPassword,
};
pub use select::{
    Ordering, OrderingKind, Select, Selection, SelectionItem, Selector, SelectorOperation, WriteAttribute,
};
pub use table::{
    AlterTable, AlterTableAction, ClusteringOrder, ColumnDefinition, ColumnMask, CreateTable, Direction, DropTable,
    PrimaryKey, Rename, TableOption,
};
pub use term::{ArithmeticOperator, BindMarker, Literal, Term, TermOperation};
pub use types::{CqlType, NativeType};
pub use user_type::{AlterType, AlterTypeAction, CreateType, DropType, FieldDefinition};
pub use utility::{CreateTrigger, Describe, DescribeTarget, DropTrigger};
pub use view::{AlterMaterializedView, CreateMaterializedView, DropMaterializedView};

/// Any statement of the language. The large ones are boxed so that a vector or a channel of statements stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Select(Box<Select>),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Batch(Box<Batch>),
    /// `USE keyspace`.
    Use(Identifier),
    /// `TRUNCATE [TABLE] table`.
    Truncate(QualifiedName),
    CreateKeyspace(Box<CreateKeyspace>),
    AlterKeyspace(Box<AlterKeyspace>),
    DropKeyspace(DropKeyspace),
    CreateTable(Box<CreateTable>),
    AlterTable(Box<AlterTable>),
    DropTable(DropTable),
    CreateType(Box<CreateType>),
    AlterType(Box<AlterType>),
    DropType(DropType),
    CreateIndex(Box<CreateIndex>),
    DropIndex(DropIndex),
    CreateMaterializedView(Box<CreateMaterializedView>),
    AlterMaterializedView(Box<AlterMaterializedView>),
    DropMaterializedView(DropMaterializedView),
    CreateFunction(Box<CreateFunction>),
    DropFunction(DropFunction),
    CreateAggregate(Box<CreateAggregate>),
    /// `DROP AGGREGATE`: the same shape as dropping a function.
    DropAggregate(DropFunction),
    CreateTrigger(Box<CreateTrigger>),
    DropTrigger(Box<DropTrigger>),
    CreateRole(Box<Role>),
    AlterRole(Box<Role>),
    DropRole(DropRole),
    CreateUser(Box<CreateUser>),
    AlterUser(Box<AlterUser>),
    /// `DROP USER`: an older spelling of `DROP ROLE`.
    DropUser(DropRole),
    AddIdentity(Box<AddIdentity>),
    DropIdentity(DropIdentity),
    GrantPermissions(Box<PermissionChange>),
    RevokePermissions(Box<PermissionChange>),
    ListPermissions(Box<ListPermissions>),
    GrantRole(RoleChange),
    RevokeRole(RoleChange),
    ListRoles(ListRoles),
    ListUsers,
    ListSuperusers,
    Describe(Box<Describe>),
}
