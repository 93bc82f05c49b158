//! The native aggregates: count, min, max, sum, avg.

use super::expression::Expression;
use crate::types::calculate::{self, Number, Numeric};
use crate::types::compare::compare;
use crate::types::function::is_numeric;
use crate::types::number::Decimal;
use bytes::Bytes;
use holon_cql::CqlType;
use holon_cql_language::ast::ArithmeticOperator;
use num_bigint::BigInt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CountRows,
    Count,
    Min,
    Max,
    Sum,
    Average,
}

#[derive(Clone, Debug)]
pub struct AggregatePlan {
    kind: Kind,
    argument: Option<(Expression, CqlType)>,
}

impl AggregatePlan {
    pub fn is_name(name: &str) -> bool {
        matches!(name, "count" | "min" | "max" | "sum" | "avg")
    }

    /// # Errors
    /// A wrong number of arguments, or a type that has no such aggregate.
    pub fn new(name: &str, argument: Option<(Expression, CqlType)>, arguments: usize) -> Result<AggregatePlan, String> {
        let kind = match (name, &argument) {
            ("count", None) => Kind::CountRows,
            ("count", Some(_)) => Kind::Count,
            ("min", _) => Kind::Min,
            ("max", _) => Kind::Max,
            ("sum", _) => Kind::Sum,
            _ => Kind::Average,
        };
        if arguments > 1 || (arguments == 0 && kind != Kind::CountRows) {
            return Err(format!(
                "Invalid number of arguments in call to function system.{name}: 1 required but {arguments} provided"
            ));
        }
        if let (Kind::Sum | Kind::Average, Some((_, cql_type))) = (kind, &argument)
            && !is_numeric(cql_type)
        {
            return Err(format!(
                "Invalid call to function {name}, none of its type signatures match (argument of type {cql_type})"
            ));
        }
        Ok(AggregatePlan { kind, argument })
    }

    pub fn argument(&self) -> Option<&Expression> {
        self.argument.as_ref().map(|(expression, _)| expression)
    }

    pub fn result_type(&self) -> CqlType {
        match (self.kind, &self.argument) {
            (Kind::CountRows | Kind::Count, _) | (_, None) => CqlType::BigInt,
            (Kind::Sum | Kind::Average, Some((_, CqlType::Counter))) => CqlType::BigInt,
            (_, Some((_, cql_type))) => cql_type.clone(),
        }
    }

    pub fn start(&self) -> AggregateState {
        AggregateState::default()
    }

    /// One more row; `value` is that of the argument.
    ///
    /// # Errors
    /// Sums that are too large to calculate with.
    pub fn add(&self, state: &mut AggregateState, value: Option<Bytes>) -> Result<(), String> {
        if self.kind == Kind::CountRows {
            state.count += 1;
            return Ok(());
        }
        let (Some(value), Some((_, cql_type))) = (value, &self.argument) else { return Ok(()) };
        match self.kind {
            Kind::Min | Kind::Max => {
                let wanted =
                    if self.kind == Kind::Min { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
                if state.best.as_ref().is_none_or(|best| compare(cql_type, &value, best) == wanted) {
                    state.best = Some(value);
                }
            }
            Kind::Sum | Kind::Average => {
                if let Some(number) = Number::read(cql_type, &value) {
                    state.count += 1;
                    state.add(number)?;
                }
            }
            _ => state.count += 1,
        }
        Ok(())
    }

    pub fn result(&self, state: &AggregateState) -> Option<Bytes> {
        match self.kind {
            Kind::CountRows | Kind::Count => Some(Bytes::copy_from_slice(&state.count.to_be_bytes())),
            Kind::Min | Kind::Max => state.best.clone(),
            Kind::Sum | Kind::Average => {
                let numeric = Numeric::of(&self.result_type())?;
                let sum = if self.kind == Kind::Sum { state.total(numeric) } else { state.average(numeric) };
                sum.write(numeric)
            }
        }
    }
}

/// What an aggregate has seen so far: of constant size (but for the digits of exact sums).
#[derive(Clone, Debug, Default)]
pub struct AggregateState {
    count: i64,
    best: Option<Bytes>,
    whole: i128,
    real: f64,
    /// Kahan's compensation.
    lost: f64,
    big: BigInt,
    decimal: Option<Decimal>,
}

impl AggregateState {
    fn add(&mut self, number: Number) -> Result<(), String> {
        match number {
            // 2⁶⁴ rows of 2⁶³ each fit.
            Number::Whole(value) => self.whole += i128::from(value),
            Number::Big(value) => self.big += value,
            Number::Real(value) => {
                let adjusted = value - self.lost;
                let sum = self.real + adjusted;
                self.lost = if sum.is_finite() { (sum - self.real) - adjusted } else { 0.0 };
                self.real = sum;
            }
            Number::Decimal(value) => {
                let sum = match &self.decimal {
                    Some(sum) => calculate::decimal(ArithmeticOperator::Add, sum, &value)?,
                    None => value,
                };
                self.decimal = Some(sum);
            }
        }
        Ok(())
    }

    fn total(&self, numeric: Numeric) -> Number {
        match numeric {
            Numeric::TinyInt | Numeric::SmallInt | Numeric::Int | Numeric::BigInt => Number::Whole(self.whole as i64),
            Numeric::VarInt => Number::Big(self.big.clone()),
            Numeric::Float | Numeric::Double => Number::Real(self.real),
            Numeric::Decimal => Number::Decimal(self.decimal()),
        }
    }

    fn average(&self, numeric: Numeric) -> Number {
        if self.count == 0 {
            return self.total(numeric);
        }
        match numeric {
            Numeric::TinyInt | Numeric::SmallInt | Numeric::Int | Numeric::BigInt => {
                Number::Whole((self.whole / i128::from(self.count)) as i64)
            }
            Numeric::VarInt => Number::Big(&self.big / BigInt::from(self.count)),
            Numeric::Float | Numeric::Double => Number::Real(self.real / self.count as f64),
            Numeric::Decimal => Number::Decimal(calculate::average(&self.decimal(), self.count)),
        }
    }

    fn decimal(&self) -> Decimal {
        self.decimal.clone().unwrap_or(Decimal::from_big(BigInt::from(0)))
    }
}
