//! CREATE and DROP FUNCTION and AGGREGATE.

use super::{CqlType, Identifier, QualifiedName, Term};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateFunction {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: QualifiedName,
    pub arguments: Vec<FunctionArgument>,
    /// `CALLED ON NULL INPUT` rather than `RETURNS NULL ON NULL INPUT`.
    pub called_on_null_input: bool,
    pub returns: CqlType,
    /// In lower case.
    pub language: Identifier,
    pub body: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionArgument {
    pub name: Identifier,
    pub argument_type: CqlType,
}

/// DROP FUNCTION or DROP AGGREGATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropFunction {
    pub if_exists: bool,
    pub name: QualifiedName,
    /// `None` if no parentheses were written: then the name must be unique.
    pub argument_types: Option<Vec<CqlType>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAggregate {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: QualifiedName,
    pub argument_types: Vec<CqlType>,
    /// `SFUNC`: state and row to state.
    pub state_function: Identifier,
    /// `STYPE`.
    pub state_type: CqlType,
    /// `FINALFUNC`: state to result.
    pub final_function: Option<Identifier>,
    /// `INITCOND`: the first state.
    pub initial_state: Option<Term>,
}
