//! Types as they are written, checked and made explicit: what Cassandra implies about `frozen` is spelled out.
//!
//! User types are taken by name; whether they exist is the schema's to say (`schema::transform`).

use crate::error::{CqlError, CqlResult};
use holon_cql::CqlType;
use holon_cql::limits::NESTING_MAX;
use holon_cql_language::ast;

/// The type of a column or field of `keyspace`.
pub fn column_type(written: &ast::CqlType, keyspace: &str) -> CqlResult<CqlType> {
    let converted = Converter { keyspace }.convert(written, false)?;
    if converted.depth() > NESTING_MAX {
        return Err(CqlError::Invalid(format!(
            "type nests {} levels or more, at most {NESTING_MAX} are allowed",
            NESTING_MAX + 1
        )));
    }
    Ok(converted)
}

struct Converter<'a> {
    keyspace: &'a str,
}

impl Converter<'_> {
    /// `frozen`: inside something frozen, which freezes what is in it.
    fn convert(&self, written: &ast::CqlType, frozen: bool) -> CqlResult<CqlType> {
        let freeze = |cql_type: CqlType| if frozen { CqlType::frozen(cql_type) } else { cql_type };
        Ok(match written {
            ast::CqlType::Native(native) => native_type(*native)?,
            ast::CqlType::List(element) => freeze(CqlType::list(self.element(written, element, frozen)?)),
            ast::CqlType::Set(element) => {
                let converted = self.element(written, element, frozen)?;
                if converted == CqlType::Duration {
                    return Err(CqlError::Invalid(format!("Durations are not allowed inside sets: {written}")));
                }
                freeze(CqlType::set(converted))
            }
            ast::CqlType::Map(key, value) => {
                let key = self.element(written, key, frozen)?;
                if key == CqlType::Duration {
                    return Err(CqlError::Invalid(format!("Durations are not allowed as map keys: {written}")));
                }
                freeze(CqlType::map(key, self.element(written, value, frozen)?))
            }
            ast::CqlType::Tuple(elements) => {
                let converted: CqlResult<Vec<CqlType>> =
                    elements.iter().map(|element| self.convert(element, true)).collect();
                let converted = converted?;
                if converted.contains(&CqlType::Counter) {
                    return Err(CqlError::invalid("Counters are not allowed inside tuples"));
                }
                CqlType::frozen(CqlType::tuple(converted))
            }
            ast::CqlType::Vector(element, dimensions) => {
                let converted = self.convert(element, true)?;
                if converted == CqlType::Counter {
                    return Err(CqlError::invalid("Counters are not allowed inside vectors"));
                }
                CqlType::vector(converted, *dimensions)
            }
            ast::CqlType::Frozen(inner) => self.frozen(inner)?,
            ast::CqlType::User(name) => freeze(self.user_type(name)?),
            ast::CqlType::Custom(class) => custom_type(class)?,
        })
    }

    /// An element, key or value of a collection.
    fn element(&self, collection: &ast::CqlType, element: &ast::CqlType, frozen: bool) -> CqlResult<CqlType> {
        let refuse = |what: &str| {
            Err(CqlError::Invalid(format!("Non-frozen {what} are not allowed inside collections: {collection}")))
        };
        if !frozen {
            match element {
                ast::CqlType::List(_) | ast::CqlType::Set(_) | ast::CqlType::Map(..) => return refuse("collections"),
                ast::CqlType::User(_) => return refuse("UDTs"),
                _ => {}
            }
        }
        let converted = self.convert(element, true)?;
        if converted == CqlType::Counter {
            return Err(CqlError::Invalid(format!("Counters are not allowed inside collections: {collection}")));
        }
        Ok(converted)
    }

    fn frozen(&self, inner: &ast::CqlType) -> CqlResult<CqlType> {
        match inner {
            ast::CqlType::Native(_) | ast::CqlType::Vector(..) | ast::CqlType::Custom(_) => Err(CqlError::Invalid(
                format!("frozen<> is only allowed on collections, tuples, and user-defined types (got {inner})"),
            )),
            other => self.convert(other, true),
        }
    }

    fn user_type(&self, name: &ast::QualifiedName) -> CqlResult<CqlType> {
        if let Some(keyspace) = name.keyspace.as_ref().filter(|keyspace| keyspace.as_str() != self.keyspace) {
            return Err(CqlError::Invalid(format!(
                "Statement on keyspace {} cannot refer to a user type in keyspace {}; user types can only be used in the \
                 keyspace they are defined in",
                self.keyspace,
                keyspace.as_str()
            )));
        }
        Ok(CqlType::udt(self.keyspace, name.name.as_str(), Vec::new()))
    }
}

fn native_type(native: ast::NativeType) -> CqlResult<CqlType> {
    CqlType::scalar(native.name()).ok_or_else(|| CqlError::Invalid(format!("type {} is not supported", native.name())))
}

/// `'org.apache.cassandra.db.marshal.Int32Type'`: the classes of the types that have a name of their own.
fn custom_type(class: &str) -> CqlResult<CqlType> {
    match CqlType::from_class_name(class, NESTING_MAX) {
        Some(known) if known.is_scalar() => Ok(known),
        _ => Err(CqlError::Config(format!("Unable to find abstract-type class '{class}'"))),
    }
}
