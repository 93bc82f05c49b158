//! What stands between SELECT and FROM: expressions over a row, aggregates over rows.

use super::aggregate::AggregatePlan;
use super::expression::{ElementOf, Expression};
use super::modification::field_of;
use super::relations::column;
use super::terms::{Receiver, TermPlanner, qualified};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, ColumnKind, Table};
use crate::types::function::{self, Call};
use crate::types::literal;
use holon_cql::CqlType;
use holon_cql_language::ast::{self, Selection, Selector, SelectorOperation, Term, WriteAttribute};

/// One column of the result.
#[derive(Clone, Debug)]
pub struct Output {
    pub name: String,
    pub cql_type: CqlType,
    pub expression: Expression,
}

/// A selection, planned.
#[derive(Clone, Debug, Default)]
pub struct SelectionPlan {
    pub outputs: Vec<Output>,
    pub aggregates: Vec<AggregatePlan>,
}

impl SelectionPlan {
    /// The places of the columns, if the selection is nothing but columns.
    pub fn plain_columns(&self) -> Option<Vec<usize>> {
        let place = |output: &Output| match output.expression {
            Expression::Column(index) => Some(index),
            _ => None,
        };
        self.outputs.iter().map(place).collect()
    }
}

/// Plans a selection over a table.
pub struct SelectionPlanner<'a, 'b> {
    pub table: &'a Table,
    pub terms: TermPlanner<'b>,
    aggregates: Vec<AggregatePlan>,
    inside_aggregate: bool,
    inside_expression: bool,
}

struct Typed {
    expression: Expression,
    cql_type: CqlType,
    name: String,
}

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

impl<'a, 'b> SelectionPlanner<'a, 'b> {
    pub fn new(table: &'a Table, terms: TermPlanner<'b>) -> Self {
        SelectionPlanner { table, terms, aggregates: Vec::new(), inside_aggregate: false, inside_expression: false }
    }

    /// # Errors
    /// Unknown columns and functions, arguments that do not fit, aggregates of aggregates.
    pub fn plan(mut self, selection: &Selection) -> CqlResult<SelectionPlan> {
        let outputs = match selection {
            Selection::All => self.table.columns.iter().map(all_output).collect(),
            Selection::Items(items) => {
                let mut outputs = Vec::with_capacity(items.len());
                for item in items {
                    let typed = self.selector(&item.selector, None)?;
                    let name = item.alias.as_ref().map_or(typed.name, |alias| alias.as_str().to_string());
                    outputs.push(Output { name, cql_type: typed.cql_type, expression: typed.expression });
                }
                outputs
            }
        };
        Ok(SelectionPlan { outputs, aggregates: self.aggregates })
    }

    fn selector(&mut self, selector: &Selector, wanted: Option<&CqlType>) -> CqlResult<Typed> {
        match selector {
            Selector::Column(name) => {
                let column = column(self.table, name.as_str())?;
                let cql_type = column.column_type.clone();
                Ok(Typed { expression: Expression::Column(column.index), cql_type, name: column.name.to_string() })
            }
            Selector::CountRows => self.aggregate("count", &[], "count".to_string()),
            Selector::WriteAttribute { attribute, of } => self.attribute(*attribute, of),
            Selector::Cast { selector, to } => {
                let inner = self.nested(selector, None)?;
                let to = self.terms.named_type(to)?;
                if inner.cql_type.unfrozen() == to.unfrozen() {
                    return Ok(inner);
                }
                let call = Call::cast(&inner.cql_type, &to).map_err(CqlError::Invalid)?;
                let name = format!("cast({} as {to})", inner.name);
                Ok(Typed { expression: Expression::Call(Box::new(call), vec![inner.expression]), cql_type: to, name })
            }
            Selector::Function { name, arguments } => self.function(name, arguments, wanted),
            Selector::Field { of, field } => {
                let of = self.nested(of, None)?;
                let CqlType::Udt(udt) = of.cql_type.unfrozen() else {
                    return invalid(format!(
                        "Invalid field selection: {} of type {} is not a user type",
                        of.name, of.cql_type
                    ));
                };
                let position = udt.fields.iter().position(|own| *field == *own.name).ok_or_else(|| {
                    CqlError::Invalid(format!("{} of type {} has no field {}", of.name, udt.name, field.as_str()))
                })?;
                let cql_type = udt.fields[position].cql_type.clone();
                let name = format!("{}.{}", of.name, field.as_str());
                Ok(Typed { expression: Expression::Field(Box::new(of.expression), position), cql_type, name })
            }
            Selector::Element { of, key } => self.element(of, key),
            Selector::Slice { of, from, to } => self.slice(of, from.as_ref(), to.as_ref()),
            Selector::TypeHint { hint, selector } => self.type_hint(hint, selector),
            Selector::Negate(inner) => {
                let inner = self.nested(inner, wanted)?;
                let call = Call::negate(&inner.cql_type).map_err(CqlError::Invalid)?;
                let (name, cql_type) = (format!("-{}", inner.name), inner.cql_type);
                Ok(Typed { expression: Expression::Call(Box::new(call), vec![inner.expression]), cql_type, name })
            }
            Selector::Arithmetic(operation) => {
                refuse_ambiguous(operation, wanted)?;
                let left_is_term = as_term(&operation.left).is_some();
                // The side that has a type of its own comes first: a constant on the other takes its type.
                let (left, right) = if left_is_term {
                    let right = self.nested(&operation.right, wanted)?;
                    (self.nested(&operation.left, Some(&right.cql_type))?, right)
                } else {
                    let left = self.nested(&operation.left, wanted)?;
                    let right = self.nested(&operation.right, Some(&left.cql_type))?;
                    (left, right)
                };
                let call =
                    Call::arithmetic(operation.operator, &left.cql_type, &right.cql_type, (&left.name, &right.name))
                        .map_err(CqlError::Invalid)?;
                let name = format!("{} {} {}", left.name, call.name().trim_start_matches("system."), right.name);
                let cql_type = call.return_type().clone();
                let expression = Expression::Call(Box::new(call), vec![left.expression, right.expression]);
                Ok(Typed { expression, cql_type, name })
            }
            Selector::Tuple(parts) if parts.len() == 1 => {
                let inner = self.nested(&parts[0], wanted)?;
                Ok(Typed { name: format!("({})", inner.name), ..inner })
            }
            other => self.constant(other, wanted),
        }
    }

    fn type_hint(&mut self, hint: &ast::CqlType, selector: &Selector) -> CqlResult<Typed> {
        let cql_type = self.terms.named_type(hint)?;
        let inner = self.nested(selector, Some(&cql_type))?;
        if !function::is_assignable(&inner.cql_type, &cql_type) {
            return invalid(format!("Cannot assign value {} of type {} to {cql_type}", inner.name, inner.cql_type));
        }
        let name = format!("({cql_type}){}", inner.name);
        Ok(Typed { expression: inner.expression, cql_type, name })
    }

    fn nested(&mut self, selector: &Selector, wanted: Option<&CqlType>) -> CqlResult<Typed> {
        let outer = std::mem::replace(&mut self.inside_expression, true);
        let typed = self.selector(selector, wanted);
        self.inside_expression = outer;
        typed
    }

    /// Constants, markers, and collections of expressions.
    fn constant(&mut self, selector: &Selector, wanted: Option<&CqlType>) -> CqlResult<Typed> {
        if let Some(term) = as_term(selector) {
            let name = term_text(&term);
            let (expression, cql_type) = match (&term, wanted) {
                (Term::Bind(_) | Term::Null, None) => {
                    return invalid(format!(
                        "Cannot infer type for term {name} in selection clause (try using a cast to force a type)"
                    ));
                }
                (Term::Bind(marker), Some(wanted)) => {
                    (self.terms.marker(marker, "[selection]", wanted), wanted.clone())
                }
                (Term::Null, Some(wanted)) => (Expression::Null, wanted.clone()),
                (term, wanted) => self.terms.typed(term, wanted)?,
            };
            return Ok(Typed { expression, cql_type, name });
        }
        let (parts, open, close): (&[Selector], &str, &str) = match selector {
            Selector::List(parts) => (parts, "[", "]"),
            Selector::Set(parts) => (parts, "{", "}"),
            Selector::Tuple(parts) => (parts, "(", ")"),
            Selector::MapOrUserType(entries) => return self.map(entries, wanted),
            _ => {
                return invalid("Cannot infer type of an empty collection in selection clause; use a type hint".into());
            }
        };
        let element = match wanted.map(CqlType::unfrozen) {
            Some(CqlType::List(element) | CqlType::Set(element)) => Some(CqlType::clone(element)),
            Some(CqlType::Vector(vector)) => Some(vector.element.clone()),
            _ => None,
        };
        let parts = parts.iter().map(|part| self.nested(part, element.as_ref())).collect::<CqlResult<Vec<_>>>()?;
        let misfit = |part: &&Typed| element.as_ref().is_some_and(|of| !function::is_assignable(&part.cql_type, of));
        if let (Some(part), Some(of)) = (parts.iter().find(misfit), &element) {
            return invalid(format!("Type error: {} of type {} is not of type {of}", part.name, part.cql_type));
        }
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let name = format!("{open}{}{close}", names.join(", "));
        let first = element.or_else(|| parts.first().map(|part| part.cql_type.clone()));
        let types: Vec<CqlType> = parts.iter().map(|part| part.cql_type.clone()).collect();
        let expressions = parts.into_iter().map(|part| part.expression).collect();
        let unknown = || CqlError::Invalid(format!("Cannot infer type for term {name} in selection clause"));
        let (expression, cql_type) = match (selector, wanted.map(CqlType::unfrozen)) {
            (Selector::List(_), Some(CqlType::Vector(vector))) => {
                (Expression::Vector(vector.clone(), expressions), CqlType::Vector(vector.clone()))
            }
            (Selector::List(_), _) => (Expression::List(expressions), CqlType::list(first.ok_or_else(unknown)?)),
            (Selector::Set(_), _) => {
                let element = first.ok_or_else(unknown)?;
                (Expression::Set(element.clone(), expressions), CqlType::set(element))
            }
            _ => (Expression::Fields(expressions), CqlType::tuple(types)),
        };
        Ok(Typed { expression, cql_type, name })
    }

    fn map(&mut self, entries: &[(Selector, Selector)], wanted: Option<&CqlType>) -> CqlResult<Typed> {
        let Some(CqlType::Map(pair)) = wanted.map(CqlType::unfrozen) else {
            return invalid("Cannot infer type of a map or user type in selection clause; use a type hint".to_string());
        };
        let mut expressions = Vec::with_capacity(entries.len());
        let mut names = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (key, value) = (self.nested(key, Some(&pair.0))?, self.nested(value, Some(&pair.1))?);
            names.push(format!("{}: {}", key.name, value.name));
            expressions.push((key.expression, value.expression));
        }
        let cql_type = CqlType::map(pair.0.clone(), pair.1.clone());
        let name = format!("{{{}}}", names.join(", "));
        Ok(Typed { expression: Expression::Map(pair.0.clone(), expressions), cql_type, name })
    }

    fn function(
        &mut self,
        name: &ast::QualifiedName,
        arguments: &[Selector],
        wanted: Option<&CqlType>,
    ) -> CqlResult<Typed> {
        let native = name.keyspace.as_ref().is_none_or(|keyspace| *keyspace == "system");
        let function = name.name.as_str();
        if native && AggregatePlan::is_name(function) {
            // `count(1)` counts rows, as `count(*)` does.
            if function == "count" && matches!(arguments, [Selector::Literal(_)]) {
                return self.aggregate("count", &[], "count".to_string());
            }
            if self.inside_aggregate {
                return invalid("aggregate functions cannot be used as arguments of aggregate functions".to_string());
            }
            self.inside_aggregate = true;
            let parts = arguments.iter().map(|argument| self.nested(argument, None)).collect::<CqlResult<Vec<_>>>();
            self.inside_aggregate = false;
            let parts = parts?;
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            let name = format!("system.{function}({})", names.join(", "));
            return self.aggregate(function, &parts, name);
        }
        let is_token = function == "token";
        let mut parts: Vec<Option<Typed>> = Vec::with_capacity(arguments.len());
        let is_vector =
            |argument: &Selector| matches!(argument, Selector::List(_)) && function::is_similarity(function);
        for (index, argument) in arguments.iter().enumerate() {
            let key = self.table.partition_key().get(index).filter(|_| is_token).map(|key| key.column_type.clone());
            let untyped = matches!(argument, Selector::Bind(_) | Selector::Null) || is_vector(argument);
            parts.push(if untyped && key.is_none() { None } else { Some(self.nested(argument, key.as_ref())?) });
        }
        let hints: Vec<Option<CqlType>> = parts
            .iter()
            .zip(arguments)
            .map(|(part, argument)| match (part, argument) {
                (Some(part), _) => Some(part.cql_type.clone()),
                // A list that is written out is a vector to a similarity.
                (None, Selector::List(parts)) => Some(CqlType::vector(CqlType::Float, parts.len() as u32)),
                _ => None,
            })
            .collect();
        let call = self.terms.resolve(name, &hints, wanted)?;
        let types = call.argument_types().to_vec();
        let mut expressions = Vec::with_capacity(arguments.len());
        let mut names = Vec::with_capacity(arguments.len());
        for (index, ((part, argument), expected)) in parts.into_iter().zip(arguments).zip(&types).enumerate() {
            let part = match part {
                Some(part) if function::is_argument(&call, &part.cql_type, expected) => part,
                // What was written out takes the type that is wanted, if it can.
                Some(part)
                    if (as_term(argument).is_some() && part.cql_type.is_scalar())
                        || matches!((argument, expected), (Selector::List(_), CqlType::Vector(_))) =>
                {
                    self.nested(argument, Some(expected))?
                }
                Some(part) => {
                    return invalid(format!(
                        "Type error: {} cannot be passed as argument {index} of function {} of type {expected}",
                        part.name,
                        call.name()
                    ));
                }
                None => self.nested(argument, Some(expected))?,
            };
            names.push(part.name);
            expressions.push(part.expression);
        }
        let name = format!("{}({})", call.name(), names.join(", "));
        let cql_type = call.return_type().clone();
        Ok(Typed { expression: Expression::Call(Box::new(call), expressions), cql_type, name })
    }

    fn aggregate(&mut self, function: &str, arguments: &[Typed], name: String) -> CqlResult<Typed> {
        if self.inside_aggregate {
            return invalid("aggregate functions cannot be used as arguments of aggregate functions".to_string());
        }
        let argument = arguments.first().map(|argument| (argument.expression.clone(), argument.cql_type.clone()));
        let plan = AggregatePlan::new(function, argument, arguments.len()).map_err(CqlError::Invalid)?;
        let cql_type = plan.result_type();
        self.aggregates.push(plan);
        Ok(Typed { expression: Expression::Aggregate(self.aggregates.len() - 1), cql_type, name })
    }

    fn attribute(&mut self, attribute: WriteAttribute, of: &Selector) -> CqlResult<Typed> {
        let function = match attribute {
            WriteAttribute::WriteTime => "writetime",
            WriteAttribute::MaxWriteTime => "maxwritetime",
            WriteAttribute::Ttl => "ttl",
        };
        let (name, element) = match of {
            Selector::Column(name) => (name, None),
            Selector::Element { of, key } => match &**of {
                Selector::Column(name) => (name, Some(Ok(key))),
                _ => return invalid(format!("{function} is only possible on columns, their elements and fields")),
            },
            Selector::Field { of, field } => match &**of {
                Selector::Column(name) => (name, Some(Err(field))),
                _ => return invalid(format!("{function} is only possible on columns, their elements and fields")),
            },
            _ => return invalid(format!("{function} is only possible on columns, their elements and fields")),
        };
        let column = column(self.table, name.as_str())?.clone();
        if column.kind.is_primary_key() {
            return invalid(format!("Cannot use selection function {function} on PRIMARY KEY part {}", column.name));
        }
        let scalar = if attribute == WriteAttribute::Ttl { CqlType::Int } else { CqlType::BigInt };
        let of_all = column.is_multi_cell() && element.is_none() && attribute != WriteAttribute::MaxWriteTime;
        let name = format!("{function}({})", column.name);
        if let Some(element) = &element {
            refuse_element(&column, element.is_ok())?;
        }
        let element = match element {
            None => None,
            // Elements of a frozen value were written with it.
            Some(_) if !column.is_multi_cell() => None,
            Some(Ok(key)) => {
                let key_type = match &column.column_type {
                    CqlType::Map(pair) => pair.0.clone(),
                    CqlType::Set(element) => CqlType::clone(element),
                    _ => {
                        return invalid(format!(
                            "Invalid element selection: {} is of type {}",
                            column.name, column.column_type
                        ));
                    }
                };
                let key = self.terms.term(key, Receiver { name: &column.name, cql_type: &key_type })?;
                Some(Box::new(ElementOf::Key(key_type, key)))
            }
            Some(Err(field)) => Some(Box::new(ElementOf::Field(field_of(&column, field.as_str())?.0 as u16))),
        };
        let cql_type = if of_all { CqlType::list(scalar) } else { scalar };
        Ok(Typed { expression: Expression::Attribute { attribute, column: column.index, element }, cql_type, name })
    }

    fn element(&mut self, of: &Selector, key: &Term) -> CqlResult<Typed> {
        let of = self.nested(of, None)?;
        let (key_type, result) = match of.cql_type.unfrozen() {
            CqlType::Map(pair) => (pair.0.clone(), pair.1.clone()),
            CqlType::Set(element) => (CqlType::clone(element), CqlType::clone(element)),
            CqlType::List(_) => {
                return invalid(format!(
                    "Element selection is only allowed on sets and maps, but {} is a list",
                    of.name
                ));
            }
            _ => {
                return invalid(format!(
                    "Invalid element selection: {} is of type {} is not a collection",
                    of.name, of.cql_type
                ));
            }
        };
        let name = format!("{}[{}]", of.name, term_text(key));
        let key = self.terms.term(key, Receiver { name: &of.name, cql_type: &key_type })?;
        let expression =
            Expression::Element { of: Box::new(of.expression), collection: of.cql_type, key: Box::new(key) };
        Ok(Typed { expression, cql_type: result, name })
    }

    fn slice(&mut self, of: &Selector, from: Option<&Term>, to: Option<&Term>) -> CqlResult<Typed> {
        let of = self.nested(of, None)?;
        let key_type = match of.cql_type.unfrozen() {
            CqlType::Map(pair) => pair.0.clone(),
            CqlType::Set(element) => CqlType::clone(element),
            _ => {
                return invalid(format!(
                    "Slice selection is only allowed on sets and maps, but {} is a {}",
                    of.name, of.cql_type
                ));
            }
        };
        let text = |bound: Option<&Term>| bound.map_or(String::new(), term_text);
        let name = format!("{}[{}..{}]", of.name, text(from), text(to));
        let mut bound = |bound: Option<&Term>| -> CqlResult<Option<Box<Expression>>> {
            let receiver = Receiver { name: &of.name, cql_type: &key_type };
            bound.map(|term| self.terms.term(term, receiver).map(Box::new)).transpose()
        };
        let (from, to) = (bound(from)?, bound(to)?);
        let cql_type = of.cql_type.clone();
        let expression = Expression::Slice { of: Box::new(of.expression), collection: of.cql_type, from, to };
        Ok(Typed { expression, cql_type, name })
    }
}

/// `writetime(c[k])` and `writetime(c.f)` are for collections without places, and for user types.
fn refuse_element(column: &Column, by_key: bool) -> CqlResult<()> {
    let (name, cql_type) = (&column.name, &column.column_type);
    match cql_type.unfrozen() {
        CqlType::Map(_) | CqlType::Set(_) if by_key => Ok(()),
        CqlType::Udt(_) if !by_key => Ok(()),
        CqlType::List(_) if by_key => {
            invalid(format!("Element selection is only allowed on sets and maps, but {name} is a list"))
        }
        _ if by_key => invalid(format!("Invalid element selection: {name} is of type {cql_type} is not a collection")),
        _ => invalid(format!("Invalid field selection: {name} of type {cql_type} is not a user type")),
    }
}

fn all_output(column: &Column) -> Output {
    Output {
        name: column.name.to_string(),
        cql_type: column.column_type.clone(),
        expression: Expression::Column(column.index),
    }
}

/// A marker beside another, or beside a constant, may be of several types.
fn refuse_ambiguous(operation: &SelectorOperation, wanted: Option<&CqlType>) -> CqlResult<()> {
    let marker = |selector: &Selector| matches!(selector, Selector::Bind(_));
    let open = |selector: &Selector| matches!(selector, Selector::Bind(_) | Selector::Literal(_));
    let (left, right) = (&operation.left, &operation.right);
    if wanted.is_none() && ((marker(left) && open(right)) || (open(left) && marker(right))) {
        return invalid(format!(
            "Ambiguous '{}' operation with args {left} and {right}: use type hint to disambiguate, example '(int) ?'",
            function::operator_symbol(operation.operator)
        ));
    }
    Ok(())
}

/// A selector that is a term: it names no column.
fn as_term(selector: &Selector) -> Option<Term> {
    Some(match selector {
        Selector::Literal(constant) => Term::Literal(constant.clone()),
        Selector::Null => Term::Null,
        Selector::Bind(marker) => Term::Bind(marker.clone()),
        Selector::Negate(inner) => Term::Negate(Box::new(as_term(inner)?)),
        _ => return None,
    })
}

fn term_text(term: &Term) -> String {
    match term {
        Term::Literal(constant) => literal::source_text(constant),
        Term::Null => "null".to_string(),
        Term::Bind(_) => "?".to_string(),
        Term::Function { name, .. } => format!("{}(…)", qualified(name)),
        Term::Negate(inner) => format!("-{}", term_text(inner)),
        _ => "…".to_string(),
    }
}

/// The places of the columns that expressions look at.
pub fn columns_used(expression: &Expression, places: &mut Vec<usize>) {
    match expression {
        Expression::Column(index) => places.push(*index),
        Expression::Attribute { column, .. } => places.push(*column),
        Expression::List(parts)
        | Expression::Set(_, parts)
        | Expression::Fields(parts)
        | Expression::Vector(_, parts) => {
            parts.iter().for_each(|part| columns_used(part, places));
        }
        Expression::Call(_, arguments) => arguments.iter().for_each(|argument| columns_used(argument, places)),
        Expression::Map(_, entries) => entries.iter().for_each(|(key, value)| {
            columns_used(key, places);
            columns_used(value, places);
        }),
        Expression::Field(of, _) | Expression::Element { of, .. } | Expression::Slice { of, .. } => {
            columns_used(of, places);
        }
        _ => {}
    }
}

/// Whether any of these places is a static column.
pub fn uses_static(table: &Table, places: &[usize]) -> bool {
    places.iter().any(|place| table.columns[*place].kind == ColumnKind::Static)
}
