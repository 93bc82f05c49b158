//! Arithmetic on serialized numbers, with Java's rules: integers wrap, a division by zero of integers is an error,
//! decimals divide to at least 32 digits, and keep 10,000 at most.

use super::calendar;
use super::duration::Duration;
use super::number::{Decimal, varint_to_big};
use bytes::Bytes;
use holon_cql::CqlType;
use holon_cql_language::ast::ArithmeticOperator;
use num_bigint::{BigInt, Sign};

/// Digits after the point that a division of decimals gives at least.
const DECIMAL_SCALE_MIN: i32 = 32;
const DECIMAL_SCALE_MAX: i32 = 1000;
/// Digits that a sum or product of decimals keeps.
const DECIMAL_DIGITS_MAX: usize = 10_000;
/// Bits of the product of two varints at most: what fits into a frame, long before that it is a mistake.
const VARINT_BITS_MAX: u64 = 8 << 20;

/// The types of numbers, from narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Numeric {
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    VarInt,
    Float,
    Double,
    Decimal,
}

impl Numeric {
    pub fn of(cql_type: &CqlType) -> Option<Numeric> {
        Some(match cql_type {
            CqlType::TinyInt => Numeric::TinyInt,
            CqlType::SmallInt => Numeric::SmallInt,
            CqlType::Int => Numeric::Int,
            CqlType::BigInt | CqlType::Counter => Numeric::BigInt,
            CqlType::VarInt => Numeric::VarInt,
            CqlType::Float => Numeric::Float,
            CqlType::Double => Numeric::Double,
            CqlType::Decimal => Numeric::Decimal,
            _ => return None,
        })
    }

    pub fn cql_type(self) -> CqlType {
        match self {
            Numeric::TinyInt => CqlType::TinyInt,
            Numeric::SmallInt => CqlType::SmallInt,
            Numeric::Int => CqlType::Int,
            Numeric::BigInt => CqlType::BigInt,
            Numeric::VarInt => CqlType::VarInt,
            Numeric::Float => CqlType::Float,
            Numeric::Double => CqlType::Double,
            Numeric::Decimal => CqlType::Decimal,
        }
    }

    /// The type of an operation on both: `bigint` and `float` make a `double`, `varint` and either make a `decimal`.
    pub fn combined(self, other: Numeric) -> Numeric {
        let (narrow, wide) = if self <= other { (self, other) } else { (other, self) };
        match (narrow, wide) {
            (Numeric::BigInt, Numeric::Float) => Numeric::Double,
            (Numeric::VarInt, Numeric::Float | Numeric::Double) => Numeric::Decimal,
            _ => wide,
        }
    }
}

/// A number out of its bytes.
#[derive(Clone, Debug)]
pub enum Number {
    Whole(i64),
    Big(BigInt),
    Real(f64),
    Decimal(Decimal),
}

impl Number {
    pub fn read(cql_type: &CqlType, value: &[u8]) -> Option<Number> {
        Some(match Numeric::of(cql_type)? {
            Numeric::TinyInt => Number::Whole(i8::from_be_bytes(value.try_into().ok()?).into()),
            Numeric::SmallInt => Number::Whole(i16::from_be_bytes(value.try_into().ok()?).into()),
            Numeric::Int => Number::Whole(i32::from_be_bytes(value.try_into().ok()?).into()),
            Numeric::BigInt => Number::Whole(i64::from_be_bytes(value.try_into().ok()?)),
            Numeric::VarInt => Number::Big(varint_to_big(value)),
            Numeric::Float => Number::Real(f32::from_be_bytes(value.try_into().ok()?).into()),
            Numeric::Double => Number::Real(f64::from_be_bytes(value.try_into().ok()?)),
            Numeric::Decimal => Number::Decimal(Decimal::decode(value)?),
        })
    }

    pub fn to_big(&self) -> Option<BigInt> {
        match self {
            Number::Whole(value) => Some(BigInt::from(*value)),
            Number::Big(value) => Some(value.clone()),
            Number::Real(value) => Decimal::from_f64(*value)?.to_big(),
            Number::Decimal(value) => value.to_big(),
        }
    }

    pub fn to_real(&self) -> f64 {
        match self {
            Number::Whole(value) => *value as f64,
            Number::Big(value) => value.to_string().parse().unwrap_or(f64::NAN),
            Number::Real(value) => *value,
            Number::Decimal(value) => value.to_f64(),
        }
    }

    pub fn to_decimal(&self) -> Option<Decimal> {
        match self {
            Number::Whole(value) => Some(Decimal::from_big(BigInt::from(*value))),
            Number::Big(value) => Some(Decimal::from_big(value.clone())),
            Number::Real(value) => Decimal::from_f64(*value),
            Number::Decimal(value) => Some(value.clone()),
        }
    }

    /// The low 64 bits, as Java's `longValue`; of a real number the nearest.
    pub fn to_whole(&self) -> i64 {
        match self {
            Number::Whole(value) => *value,
            Number::Real(value) => *value as i64,
            other => other.to_big().map_or(0, |big| low_bits(&big)),
        }
    }

    pub fn write(&self, numeric: Numeric) -> Option<Bytes> {
        let bytes = match numeric {
            Numeric::TinyInt => (self.to_whole() as i8).to_be_bytes().to_vec(),
            Numeric::SmallInt => (self.to_whole() as i16).to_be_bytes().to_vec(),
            Numeric::Int => match self {
                Number::Real(value) => (*value as i32).to_be_bytes().to_vec(),
                other => (other.to_whole() as i32).to_be_bytes().to_vec(),
            },
            Numeric::BigInt => self.to_whole().to_be_bytes().to_vec(),
            Numeric::VarInt => self.to_big()?.to_signed_bytes_be(),
            Numeric::Float => (self.to_real() as f32).to_be_bytes().to_vec(),
            Numeric::Double => self.to_real().to_be_bytes().to_vec(),
            Numeric::Decimal => self.to_decimal()?.encode(),
        };
        Some(bytes.into())
    }
}

fn low_bits(big: &BigInt) -> i64 {
    let bytes = big.to_signed_bytes_le();
    let fill = if big.sign() == Sign::Minus { 0xff } else { 0 };
    let mut low = [fill; 8];
    let length = bytes.len().min(8);
    low[..length].copy_from_slice(&bytes[..length]);
    i64::from_le_bytes(low)
}

/// A number of one type as another; `None` if it has none (NaN as a decimal).
pub fn convert(from: &CqlType, to: &CqlType, value: &[u8]) -> Option<Bytes> {
    Number::read(from, value)?.write(Numeric::of(to)?)
}

/// # Errors
/// Division by zero, and results that are too large.
pub fn arithmetic(
    operator: ArithmeticOperator,
    types: &[CqlType],
    result: &CqlType,
    values: &[Bytes],
) -> Result<Option<Bytes>, String> {
    let ([left_type, right_type], [left, right]) = (types, values) else { return Ok(None) };
    if let CqlType::Text | CqlType::Ascii = result {
        return Ok(Some([&left[..], &right[..]].concat().into()));
    }
    if *right_type == CqlType::Duration {
        return shift_time(operator, left_type, left, right);
    }
    let (Some(numeric), Some(left), Some(right)) =
        (Numeric::of(result), Number::read(left_type, left), Number::read(right_type, right))
    else {
        return Ok(None);
    };
    let number = match numeric {
        Numeric::TinyInt | Numeric::SmallInt | Numeric::Int | Numeric::BigInt => {
            Number::Whole(whole(operator, left.to_whole(), right.to_whole())?)
        }
        Numeric::VarInt => match (left.to_big(), right.to_big()) {
            (Some(left), Some(right)) => Number::Big(big(operator, left, right)?),
            _ => return Ok(None),
        },
        Numeric::Float | Numeric::Double => Number::Real(real(operator, left.to_real(), right.to_real())),
        Numeric::Decimal => match (left.to_decimal(), right.to_decimal()) {
            (Some(left), Some(right)) => Number::Decimal(decimal(operator, &left, &right)?),
            _ if left.to_real().is_nan() || right.to_real().is_nan() => {
                return Err("A NaN cannot be converted into a decimal".to_string());
            }
            _ => return Err("An infinite number cannot be converted into a decimal".to_string()),
        },
    };
    Ok(number.write(numeric))
}

fn whole(operator: ArithmeticOperator, left: i64, right: i64) -> Result<i64, String> {
    Ok(match operator {
        ArithmeticOperator::Add => left.wrapping_add(right),
        ArithmeticOperator::Subtract => left.wrapping_sub(right),
        ArithmeticOperator::Multiply => left.wrapping_mul(right),
        ArithmeticOperator::Divide | ArithmeticOperator::Modulo if right == 0 => return Err("/ by zero".to_string()),
        ArithmeticOperator::Divide => left.wrapping_div(right),
        ArithmeticOperator::Modulo => left.wrapping_rem(right),
    })
}

fn big(operator: ArithmeticOperator, left: BigInt, right: BigInt) -> Result<BigInt, String> {
    if left.bits() + right.bits() > VARINT_BITS_MAX {
        return Err("the numbers are too large to calculate with".to_string());
    }
    Ok(match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        _ if right.sign() == Sign::NoSign => return Err("BigInteger divide by zero".to_string()),
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Modulo => left % right,
    })
}

fn real(operator: ArithmeticOperator, left: f64, right: f64) -> f64 {
    match operator {
        ArithmeticOperator::Add => left + right,
        ArithmeticOperator::Subtract => left - right,
        ArithmeticOperator::Multiply => left * right,
        ArithmeticOperator::Divide => left / right,
        ArithmeticOperator::Modulo => left % right,
    }
}

pub fn decimal(operator: ArithmeticOperator, left: &Decimal, right: &Decimal) -> Result<Decimal, String> {
    let too_far = || "the numbers are too far apart to calculate with".to_string();
    if operator == ArithmeticOperator::Multiply {
        let scale = left.scale.checked_add(right.scale).ok_or_else(too_far)?;
        return Ok(round(Decimal { unscaled: big(operator, left.unscaled.clone(), right.unscaled.clone())?, scale }));
    }
    let (a, b, scale) = Decimal::aligned(left, right).ok_or_else(too_far)?;
    match operator {
        ArithmeticOperator::Divide => {
            if b.sign() == Sign::NoSign {
                return Err("BigInteger divide by zero".to_string());
            }
            // Where the first digit of the quotient stands: as many digits come behind it as in front of a scale.
            let first = (digits(left) - left.scale).saturating_sub(digits(right) - right.scale);
            let wanted = DECIMAL_SCALE_MIN.saturating_sub(first).max(DECIMAL_SCALE_MIN);
            let result_scale = wanted.max(left.scale).max(right.scale).min(DECIMAL_SCALE_MAX);
            Ok(strip(Decimal { unscaled: divide_half_up(&raise(&a, result_scale), &b), scale: result_scale }))
        }
        ArithmeticOperator::Modulo if b.sign() == Sign::NoSign => Err("Division by zero".to_string()),
        other => Ok(round(Decimal { unscaled: big(other, a, b)?, scale })),
    }
}

/// How many digits a decimal has: one for zero.
fn digits(decimal: &Decimal) -> i32 {
    i32::try_from(decimal.unscaled.magnitude().to_string().len()).unwrap_or(i32::MAX / 2)
}

/// Cuts what is behind the digits that are kept.
fn round(decimal: Decimal) -> Decimal {
    // A digit has a little more than three bits.
    if decimal.unscaled.bits() <= 3 * DECIMAL_DIGITS_MAX as u64 {
        return decimal;
    }
    let beyond = i32::try_from(decimal.unscaled.magnitude().to_string().len().saturating_sub(DECIMAL_DIGITS_MAX));
    match beyond {
        Ok(beyond) if beyond > 0 => Decimal {
            unscaled: divide_half_up(&decimal.unscaled, &raise(&BigInt::from(1), beyond)),
            scale: decimal.scale.saturating_sub(beyond),
        },
        _ => decimal,
    }
}

fn raise(value: &BigInt, digits: i32) -> BigInt {
    value * BigInt::from(10).pow(digits.max(0).cast_unsigned())
}

fn divide_half_up(left: &BigInt, right: &BigInt) -> BigInt {
    let (quotient, rest) = (left / right, left % right);
    let double: BigInt = rest * 2;
    if double.magnitude() >= right.magnitude() {
        let away = if (left.sign() == Sign::Minus) == (right.sign() == Sign::Minus) { 1 } else { -1 };
        return quotient + away;
    }
    quotient
}

/// `numerator / count`, rounded half to even at the scale of the numerator, as `avg` of decimals does.
pub fn average(sum: &Decimal, count: i64) -> Decimal {
    let count = BigInt::from(count);
    let (quotient, rest) = (&sum.unscaled / &count, &sum.unscaled % &count);
    let double: BigInt = rest * 2;
    let odd = &quotient % 2 != BigInt::from(0);
    let round = match double.magnitude().cmp(count.magnitude()) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => i32::from(odd),
        std::cmp::Ordering::Greater => 1,
    };
    let round = if sum.unscaled.sign() == Sign::Minus { -round } else { round };
    Decimal { unscaled: quotient + round, scale: sum.scale }
}

fn strip(mut decimal: Decimal) -> Decimal {
    let ten = BigInt::from(10);
    while decimal.scale > 0 && (&decimal.unscaled % &ten).sign() == Sign::NoSign {
        decimal.unscaled /= &ten;
        decimal.scale -= 1;
    }
    decimal
}

fn shift_time(
    operator: ArithmeticOperator,
    left_type: &CqlType,
    left: &[u8],
    right: &[u8],
) -> Result<Option<Bytes>, String> {
    let Some(duration) = Duration::decode(right) else { return Ok(None) };
    let (unit, precision) =
        if *left_type == CqlType::Date { (86_400_000_000_000, "day") } else { (1_000_000, "millisecond") };
    if duration.nanos % unit != 0 {
        return Err(format!("The duration must have a {precision} precision. Was: {duration}"));
    }
    Ok(shifted(operator, left_type, left, duration))
}

fn shifted(operator: ArithmeticOperator, left_type: &CqlType, left: &[u8], duration: Duration) -> Option<Bytes> {
    let sign = if operator == ArithmeticOperator::Subtract { -1 } else { 1 };
    let millis = match left_type {
        CqlType::Date => calendar::timestamp_of_date(u32::from_be_bytes(left.try_into().ok()?)),
        _ => i64::from_be_bytes(left.try_into().ok()?),
    };
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = calendar::civil_from_days(days);
    let months = year * 12 + month - 1 + sign * i64::from(duration.months);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let day = day.min(calendar::days_in_month(year, month));
    let days = calendar::days_from_civil(year, month, day) + sign * i64::from(duration.days);
    let millis = days * 86_400_000 + of_day + sign * (duration.nanos / 1_000_000);
    match left_type {
        CqlType::Date => Some(Bytes::copy_from_slice(&calendar::date_of_timestamp(millis)?.to_be_bytes())),
        _ => Some(Bytes::copy_from_slice(&millis.to_be_bytes())),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Negate,
    Absolute,
    Exponential,
    Logarithm,
    Logarithm10,
    Round,
}

/// # Errors
/// None today; kept for functions with a smaller range.
pub fn unary(function: Unary, cql_type: &CqlType, value: &[u8]) -> Result<Option<Bytes>, String> {
    let (Some(numeric), Some(number)) = (Numeric::of(cql_type), Number::read(cql_type, value)) else {
        return Ok(None);
    };
    let result = match (function, number) {
        (Unary::Negate, Number::Whole(value)) => Number::Whole(value.wrapping_neg()),
        (Unary::Negate, Number::Big(value)) => Number::Big(-value),
        (Unary::Negate, Number::Real(value)) => Number::Real(-value),
        (Unary::Negate, Number::Decimal(value)) => {
            Number::Decimal(Decimal { unscaled: -value.unscaled, scale: value.scale })
        }
        (Unary::Absolute, Number::Whole(value)) => Number::Whole(value.wrapping_abs()),
        (Unary::Absolute, Number::Big(value)) => Number::Big(BigInt::from(value.magnitude().clone())),
        (Unary::Absolute, Number::Real(value)) => Number::Real(value.abs()),
        (Unary::Absolute, Number::Decimal(value)) => {
            Number::Decimal(Decimal { unscaled: BigInt::from(value.unscaled.magnitude().clone()), scale: value.scale })
        }
        (Unary::Exponential, number) => Number::Real(number.to_real().exp()),
        (Unary::Logarithm, number) => Number::Real(number.to_real().ln()),
        (Unary::Logarithm10, number) => Number::Real(number.to_real().log10()),
        (Unary::Round, Number::Real(value)) => Number::Real((value + 0.5).floor()),
        (Unary::Round, Number::Decimal(value)) if value.scale > 0 => {
            let divisor = BigInt::from(10).pow(value.scale.min(DECIMAL_SCALE_MAX * 10).cast_unsigned());
            Number::Decimal(Decimal::from_big(divide_half_up(&value.unscaled, &divisor)))
        }
        (Unary::Round, other) => other,
    };
    Ok(result.write(numeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal_of(text: &str) -> Decimal {
        Decimal::from_text(text).expect("a decimal")
    }

    #[test]
    fn types_of_operations_follow_the_table() {
        let combined = |a: CqlType, b: CqlType| Some(Numeric::of(&a)?.combined(Numeric::of(&b)?).cql_type());
        assert_eq!(combined(CqlType::Int, CqlType::Float), Some(CqlType::Float));
        assert_eq!(combined(CqlType::BigInt, CqlType::Float), Some(CqlType::Double));
        assert_eq!(combined(CqlType::VarInt, CqlType::Double), Some(CqlType::Decimal));
        assert_eq!(combined(CqlType::TinyInt, CqlType::SmallInt), Some(CqlType::SmallInt));
    }

    #[test]
    fn decimals_divide_to_many_digits_and_averages_round_to_even() {
        let third = decimal(ArithmeticOperator::Divide, &decimal_of("1"), &decimal_of("3")).expect("a number");
        assert_eq!(third.to_string(), format!("0.{}", "3".repeat(32)));
        let half = decimal(ArithmeticOperator::Divide, &decimal_of("1.00"), &decimal_of("2")).expect("a number");
        assert_eq!(half.to_string(), "0.5");
        assert_eq!(average(&decimal_of("5"), 2).to_string(), "2");
        assert_eq!(average(&decimal_of("7"), 2).to_string(), "4");
        assert_eq!(average(&decimal_of("-5"), 2).to_string(), "-2");
        assert!(decimal(ArithmeticOperator::Divide, &decimal_of("1"), &decimal_of("0")).is_err());
    }

    #[test]
    fn times_move_by_months_days_and_nanoseconds() {
        let start = calendar::timestamp_from_text("2024-01-31 10:00").expect("a timestamp").to_be_bytes();
        let month = Duration::from_text("1mo1h").expect("a duration").encode();
        let moved = shift_time(ArithmeticOperator::Add, &CqlType::Timestamp, &start, &month)
            .expect("possible")
            .expect("a timestamp");
        let expected = calendar::timestamp_from_text("2024-02-29 11:00").expect("a timestamp");
        assert_eq!(moved[..], expected.to_be_bytes());
    }
}
