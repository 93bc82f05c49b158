//! Terms to typed expressions.

use super::aggregate::AggregatePlan;
use super::expression::{Expression, Marker};
use super::markers::MarkerCollector;
use crate::error::{CqlError, CqlResult};
use crate::schema::{Schema, Table};
use crate::types::function::{self, Call};
use crate::types::literal::{self, LiteralError};
use bytes::Bytes;
use holon_cql::CqlType;
use holon_cql_language::ast::{self, BindMarker, Identifier, Literal, Term};

/// What a term is for: the name is for messages and for the names of markers.
#[derive(Clone, Copy)]
pub struct Receiver<'a> {
    pub name: &'a str,
    pub cql_type: &'a CqlType,
}

/// Turns the terms of one statement into expressions, and collects its markers.
pub struct TermPlanner<'a> {
    pub schema: &'a Schema,
    /// Of the table: where user types are looked up.
    pub keyspace: &'a str,
    pub table: &'a Table,
    pub markers: &'a mut MarkerCollector,
}

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

impl TermPlanner<'_> {
    pub fn marker(&mut self, marker: &BindMarker, name: &str, cql_type: &CqlType) -> Expression {
        self.markers.add(marker.index, marker.name.as_ref().map(Identifier::as_str), name, cql_type);
        Expression::Marker(Box::new(Marker::new(marker.index, cql_type.clone())))
    }

    /// # Errors
    /// A term that is no value of the receiver's type.
    pub fn term(&mut self, term: &Term, receiver: Receiver<'_>) -> CqlResult<Expression> {
        let Receiver { name, cql_type } = receiver;
        match term {
            Term::Literal(constant) => constant_of(constant, receiver),
            Term::Null => Ok(Expression::Null),
            Term::Bind(marker) => Ok(self.marker(marker, name, cql_type)),
            Term::List(elements) => self.list(elements, receiver),
            Term::EmptyBraces => match cql_type.unfrozen() {
                CqlType::Set(_) | CqlType::Map(_) => Ok(Expression::Constant(Bytes::from_static(&[0; 4]))),
                _ => invalid(format!("Invalid set literal for {name} of type {cql_type}")),
            },
            Term::Set(elements) => self.set(elements, receiver),
            Term::Map(entries) => self.map(entries, receiver),
            Term::UserType(fields) => self.user_type(fields, receiver),
            Term::Tuple(parts) => self.tuple(parts, receiver),
            Term::Function { name: function, arguments } => {
                let call = self.function(function, arguments, Some(cql_type))?;
                self.assign(call, term, receiver)
            }
            Term::Cast { .. } | Term::TypeHint { .. } | Term::Negate(_) | Term::Arithmetic(_) => {
                let typed = self.typed(term, Some(cql_type))?;
                self.assign(typed, term, receiver)
            }
        }
    }

    /// A typed expression as a value of the receiver: the types must agree.
    fn assign(&self, typed: (Expression, CqlType), term: &Term, receiver: Receiver<'_>) -> CqlResult<Expression> {
        let (expression, from) = typed;
        if function::is_assignable(&from, receiver.cql_type) {
            return Ok(expression);
        }
        let Receiver { name, cql_type } = receiver;
        match term {
            Term::Function { name: function, .. } => invalid(format!(
                "Type error: cannot assign result of function {} (type {from}) to {name} (type {cql_type})",
                qualified(function)
            )),
            _ => invalid(format!("Type error: cannot assign a value of type {from} to {name} of type {cql_type}")),
        }
    }

    fn list(&mut self, elements: &[Term], receiver: Receiver<'_>) -> CqlResult<Expression> {
        let Receiver { name, cql_type } = receiver;
        let value_name = format!("value({name})");
        match cql_type.unfrozen() {
            CqlType::List(element) => {
                let expressions =
                    self.all("list", name, elements, Receiver { name: &value_name, cql_type: element })?;
                Ok(fold(Expression::List(expressions)))
            }
            CqlType::Vector(vector) => {
                if elements.len() != vector.dimensions as usize {
                    return invalid(format!(
                        "Invalid vector literal for {name} of type {cql_type}; expected {} elements, but given {}",
                        vector.dimensions,
                        elements.len()
                    ));
                }
                let receiver = Receiver { name: &value_name, cql_type: &vector.element };
                let expressions = self.all("vector", name, elements, receiver)?;
                Ok(fold(Expression::Vector(vector.clone(), expressions)))
            }
            _ => invalid(format!("Invalid list literal for {name} of type {cql_type}")),
        }
    }

    fn all(&mut self, kind: &str, name: &str, elements: &[Term], receiver: Receiver<'_>) -> CqlResult<Vec<Expression>> {
        let mut element = |element: &Term| {
            let value = self.term(element, receiver);
            value.map_err(|error| misfit(error, kind, name, &format!("value {element}"), receiver.cql_type))
        };
        elements.iter().map(&mut element).collect()
    }

    fn set(&mut self, elements: &[Term], receiver: Receiver<'_>) -> CqlResult<Expression> {
        let Receiver { name, cql_type } = receiver;
        let CqlType::Set(element) = cql_type.unfrozen() else {
            return invalid(format!("Invalid set literal for {name} of type {cql_type}"));
        };
        let value_name = format!("value({name})");
        let expressions = self.all("set", name, elements, Receiver { name: &value_name, cql_type: element })?;
        Ok(fold(Expression::Set(CqlType::clone(element), expressions)))
    }

    fn map(&mut self, entries: &[(Term, Term)], receiver: Receiver<'_>) -> CqlResult<Expression> {
        let Receiver { name, cql_type } = receiver;
        let CqlType::Map(pair) = cql_type.unfrozen() else {
            return invalid(format!("Invalid map literal for {name} of type {cql_type}"));
        };
        let (key_name, value_name) = (format!("key({name})"), format!("value({name})"));
        let mut expressions = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let planned = self.term(key, Receiver { name: &key_name, cql_type: &pair.0 });
            let planned = planned.map_err(|error| misfit(error, "map", name, &format!("key {key}"), &pair.0))?;
            let mapped = self.term(value, Receiver { name: &value_name, cql_type: &pair.1 });
            let mapped = mapped.map_err(|error| misfit(error, "map", name, &format!("value {value}"), &pair.1))?;
            expressions.push((planned, mapped));
        }
        Ok(fold(Expression::Map(pair.0.clone(), expressions)))
    }

    fn user_type(&mut self, fields: &[(Identifier, Term)], receiver: Receiver<'_>) -> CqlResult<Expression> {
        let Receiver { name, cql_type } = receiver;
        let CqlType::Udt(udt) = cql_type.unfrozen() else {
            return invalid(format!("Invalid user type literal for {name} of type {cql_type}"));
        };
        if let Some((unknown, _)) = fields.iter().find(|(field, _)| !udt.fields.iter().any(|own| *field == *own.name)) {
            return invalid(format!("Unknown field '{}' in value of user defined type {}", unknown.as_str(), udt.name));
        }
        let mut expressions = Vec::with_capacity(udt.fields.len());
        for field in &udt.fields {
            let given = fields.iter().rev().find(|(given, _)| *given == *field.name);
            expressions.push(match given {
                Some((_, term)) => {
                    let field_name = format!("{name}.{}", field.name);
                    let value = self.term(term, Receiver { name: &field_name, cql_type: &field.cql_type });
                    let part = format!("field {}", field.name);
                    value.map_err(|error| misfit(error, "user type", name, &part, &field.cql_type))?
                }
                None => Expression::Null,
            });
        }
        Ok(fold(Expression::Fields(expressions)))
    }

    fn tuple(&mut self, parts: &[Term], receiver: Receiver<'_>) -> CqlResult<Expression> {
        let Receiver { name, cql_type } = receiver;
        let CqlType::Tuple(types) = cql_type.unfrozen() else {
            // One term in parentheses is that term.
            if let [only] = parts {
                return self.term(only, receiver);
            }
            return invalid(format!("Invalid tuple literal for {name} of type {cql_type}"));
        };
        if parts.len() > types.len() {
            return invalid(format!(
                "Invalid tuple literal for {name}: too many elements. Type {cql_type} expects {} but got {}",
                types.len(),
                parts.len()
            ));
        }
        let mut expressions = Vec::with_capacity(parts.len());
        for (index, (part, part_type)) in parts.iter().zip(types.iter()).enumerate() {
            let part_name = format!("{name}[{index}]");
            let value = self.term(part, Receiver { name: &part_name, cql_type: part_type });
            let place = format!("component {index}");
            expressions.push(value.map_err(|error| misfit(error, "tuple", name, &place, part_type))?);
        }
        Ok(fold(Expression::Fields(expressions)))
    }

    /// A function call with its type.
    pub fn function(
        &mut self,
        name: &ast::QualifiedName,
        arguments: &[Term],
        receiver: Option<&CqlType>,
    ) -> CqlResult<(Expression, CqlType)> {
        let function = name.name.as_str();
        if AggregatePlan::is_name(function) {
            return invalid(format!(
                "Aggregation functions are not supported in the WHERE clause or as values: {name}()"
            ));
        }
        if matches!(function, "tojson" | "to_json") {
            let shown = if function == "tojson" { "toJson" } else { function };
            return invalid(format!("{shown}() may only be used within the selection clause of SELECT statements"));
        }
        let is_token = name.name == "token";
        let mut hints: Vec<Option<CqlType>> = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            let partition_key = self.table.partition_key().get(index);
            let by_key = partition_key.filter(|_| is_token).map(|column| column.column_type.clone());
            hints.push(by_key.or(self.natural_type(argument)?));
        }
        let call = self.resolve(name, &hints, receiver)?;
        let argument_types = call.argument_types().to_vec();
        let mut expressions = Vec::with_capacity(arguments.len());
        for (index, (argument, argument_type)) in arguments.iter().zip(&argument_types).enumerate() {
            let argument_name = format!("arg{index}({})", qualified(name));
            expressions.push(self.term(argument, Receiver { name: &argument_name, cql_type: argument_type })?);
        }
        let return_type = call.return_type().clone();
        Ok((Expression::Call(Box::new(call), expressions), return_type))
    }

    pub fn resolve(
        &self,
        name: &ast::QualifiedName,
        arguments: &[Option<CqlType>],
        receiver: Option<&CqlType>,
    ) -> CqlResult<Call> {
        let native = name.keyspace.as_ref().is_none_or(|keyspace| *keyspace == "system");
        let found = if native {
            function::resolve(name.name.as_str(), arguments, receiver, self.table).map_err(CqlError::Invalid)?
        } else {
            None
        };
        found.ok_or_else(|| CqlError::Invalid(format!("Unknown function '{}'", qualified(name))))
    }

    /// The type that a term has by itself, as far as it has one.
    pub fn natural_type(&mut self, term: &Term) -> CqlResult<Option<CqlType>> {
        Ok(match term {
            Term::Literal(constant) => Some(literal::natural_type(constant)),
            Term::TypeHint { hint, .. } => Some(self.named_type(hint)?),
            Term::Cast { to, .. } => Some(self.named_type(to)?),
            Term::Negate(inner) => self.natural_type(inner)?,
            Term::Tuple(parts) if parts.len() == 1 => self.natural_type(&parts[0])?,
            Term::Arithmetic(operation) => {
                let (left, right) = (self.natural_type(&operation.left)?, self.natural_type(&operation.right)?);
                match (left, right) {
                    (Some(left), Some(right)) => function::arithmetic_type(operation.operator, &left, &right),
                    (left, right) => left.or(right),
                }
            }
            Term::Function { name, arguments } => {
                let hints = arguments.iter().map(|term| self.natural_type(term)).collect::<CqlResult<Vec<_>>>()?;
                self.resolve(name, &hints, None).ok().map(|call| call.return_type().clone())
            }
            Term::List(elements) => {
                let element = elements.first().map(|first| self.natural_type(first)).transpose()?.flatten();
                element.map(CqlType::list)
            }
            Term::Set(elements) => {
                let element = elements.first().map(|first| self.natural_type(first)).transpose()?.flatten();
                element.map(CqlType::set)
            }
            _ => None,
        })
    }

    /// The type of a term that takes no other: a constant alone takes what is wanted of it.
    fn own_type(&mut self, term: &Term) -> CqlResult<Option<CqlType>> {
        match term {
            Term::Literal(_) => Ok(None),
            Term::Negate(inner) => self.own_type(inner),
            Term::Tuple(parts) if parts.len() == 1 => self.own_type(&parts[0]),
            Term::Arithmetic(operation) => {
                let left = self.own_type(&operation.left)?;
                Ok(left.or(self.own_type(&operation.right)?))
            }
            other => self.natural_type(other),
        }
    }

    /// A term whose type decides itself; `wanted` helps where nothing else does.
    pub fn typed(&mut self, term: &Term, wanted: Option<&CqlType>) -> CqlResult<(Expression, CqlType)> {
        match term {
            Term::TypeHint { hint, term } => {
                let cql_type = self.named_type(hint)?;
                let name = format!("({cql_type})");
                let expression = self.term(term, Receiver { name: &name, cql_type: &cql_type })?;
                Ok((expression, cql_type))
            }
            Term::Cast { term, to } => {
                let to = self.named_type(to)?;
                if matches!(**term, Term::Bind(_)) {
                    let mut name = to.to_string();
                    name[..1].make_ascii_uppercase();
                    return invalid(format!(
                        "Ambiguous call to function system.castAs{name}: use type hint to disambiguate, example '(int) ?'"
                    ));
                }
                let (inner, from) = self.typed(term, None)?;
                let call = Call::cast(&from, &to).map_err(CqlError::Invalid)?;
                Ok((Expression::Call(Box::new(call), vec![inner]), to))
            }
            Term::Negate(inner) => {
                let (inner, cql_type) = self.typed(inner, wanted)?;
                let call = Call::negate(&cql_type).map_err(CqlError::Invalid)?;
                Ok((Expression::Call(Box::new(call), vec![inner]), cql_type))
            }
            Term::Arithmetic(operation) => {
                let marker = |term: &Term| matches!(term, Term::Bind(_));
                let open = |term: &Term| matches!(term, Term::Bind(_) | Term::Literal(_));
                let (left, right) = (&operation.left, &operation.right);
                let ambiguous = (marker(left) && open(right)) || (open(left) && marker(right));
                // Only one operation gives a tinyint; others may come of several types.
                let several = wanted.is_none_or(|wanted| *wanted != CqlType::TinyInt && function::is_numeric(wanted));
                if ambiguous && several {
                    return invalid(format!(
                        "Ambiguous '{}' operation with args {left} and {right}: use type hint to disambiguate, example \
                         '(int) ?'",
                        function::operator_symbol(operation.operator)
                    ));
                }
                let (left_own, right_own) = (self.own_type(&operation.left)?, self.own_type(&operation.right)?);
                let left = self.typed(&operation.left, right_own.as_ref().or(wanted))?;
                let right = self.typed(&operation.right, left_own.as_ref().or(wanted))?;
                let (first, second) = (operation.left.to_string(), operation.right.to_string());
                let call = Call::arithmetic(operation.operator, &left.1, &right.1, (&first, &second))
                    .map_err(CqlError::Invalid)?;
                let cql_type = call.return_type().clone();
                Ok((Expression::Call(Box::new(call), vec![left.0, right.0]), cql_type))
            }
            Term::Function { name, arguments } => self.function(name, arguments, wanted),
            Term::Tuple(parts) if parts.len() == 1 => self.typed(&parts[0], wanted),
            Term::Literal(constant) => {
                // A constant takes the type that is wanted if it can: in `v + 1` the 1 is what v is.
                let natural = literal::natural_type(constant);
                let cql_type = wanted.filter(|wanted| literal::fits(constant, wanted)).cloned().unwrap_or(natural);
                let name = literal::source_text(constant);
                Ok((constant_of(constant, Receiver { name: &name, cql_type: &cql_type })?, cql_type))
            }
            other => {
                let cql_type = match (self.natural_type(other)?, wanted) {
                    (Some(natural), _) => natural,
                    (None, Some(wanted)) => wanted.clone(),
                    (None, None) => {
                        return invalid("Ambiguous call: use type hint to disambiguate, example '(int) ?'".to_string());
                    }
                };
                Ok((self.term(other, Receiver { name: "value", cql_type: &cql_type })?, cql_type))
            }
        }
    }

    /// A type as it is written, with user types looked up.
    pub fn named_type(&self, written: &ast::CqlType) -> CqlResult<CqlType> {
        resolve_type(self.schema, self.keyspace, written)
    }
}

pub fn resolve_type(schema: &Schema, keyspace: &str, written: &ast::CqlType) -> CqlResult<CqlType> {
    let inner = |written: &ast::CqlType| resolve_type(schema, keyspace, written);
    Ok(match written {
        ast::CqlType::Native(native) => CqlType::scalar(native.name())
            .ok_or_else(|| CqlError::Invalid(format!("Unknown type {}", native.name())))?,
        ast::CqlType::List(element) => CqlType::list(inner(element)?),
        ast::CqlType::Set(element) => CqlType::set(inner(element)?),
        ast::CqlType::Map(key, value) => CqlType::map(inner(key)?, inner(value)?),
        ast::CqlType::Tuple(parts) => CqlType::tuple(parts.iter().map(inner).collect::<CqlResult<Vec<_>>>()?),
        ast::CqlType::Vector(element, dimensions) => CqlType::vector(inner(element)?, *dimensions),
        ast::CqlType::Frozen(frozen) => CqlType::frozen(inner(frozen)?),
        ast::CqlType::User(name) => {
            let keyspace = name.keyspace.as_ref().map_or(keyspace, Identifier::as_str);
            let found = schema.user_type(keyspace, name.name.as_str());
            let unknown = || CqlError::Invalid(format!("Unknown type {keyspace}.{}", name.name.as_str()));
            CqlType::Udt(found.ok_or_else(unknown)?.clone())
        }
        ast::CqlType::Custom(class) => CqlType::Custom((&**class).into()),
    })
}

fn constant_of(constant: &Literal, receiver: Receiver<'_>) -> CqlResult<Expression> {
    let Receiver { name, cql_type } = receiver;
    match literal::serialize(constant, cql_type) {
        Ok(bytes) => Ok(Expression::Constant(bytes)),
        Err(LiteralError::Text(text)) => invalid(text),
        Err(LiteralError::Kind) => invalid(format!(
            "Invalid {} constant ({}) for \"{name}\" of type {cql_type}",
            literal::kind_name(constant),
            constant.raw_text()
        )),
    }
}

/// Names the part of a literal that is of another type; texts that are no values of the right type speak for themselves.
fn misfit(error: CqlError, kind: &str, name: &str, part: &str, cql_type: &CqlType) -> CqlError {
    match error {
        CqlError::Invalid(text) if text.starts_with("Invalid ") || text.starts_with("Type error") => {
            CqlError::Invalid(format!("Invalid {kind} literal for {name}: {part} is not of type {cql_type}"))
        }
        other => other,
    }
}

/// Evaluates a collection of constants once.
fn fold(expression: Expression) -> Expression {
    use crate::types::collection;
    let constants = |elements: &[Expression]| -> Option<Vec<Bytes>> {
        let constant = |element: &Expression| match element {
            Expression::Constant(bytes) => Some(bytes.clone()),
            _ => None,
        };
        elements.iter().map(constant).collect()
    };
    let folded = match &expression {
        Expression::List(elements) => constants(elements).map(|elements| collection::encode_list(&elements)),
        Expression::Set(cql_type, elements) => {
            constants(elements).map(|elements| collection::encode_set(cql_type, elements))
        }
        Expression::Vector(vector, elements) => {
            constants(elements).map(|elements| collection::encode_vector(vector, &elements).into())
        }
        _ => None,
    };
    folded.map_or(expression, Expression::Constant)
}

pub fn qualified(name: &ast::QualifiedName) -> String {
    match &name.keyspace {
        Some(keyspace) => format!("{}.{}", keyspace.as_str(), name.name.as_str()),
        None => name.name.as_str().to_string(),
    }
}
