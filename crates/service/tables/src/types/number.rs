//! Varint and decimal: their serialized forms, their text, their order.
//!
//! A varint is a big-endian two's complement number of one byte or more; a decimal is a 32-bit scale and a varint.

use num_bigint::BigInt;
use std::cmp::Ordering;

/// Digits of a decimal after its point (or before it, if negative) that are still calculated with. Beyond this an
/// addition of `1e1000000000` and `1` would ask for a gigabyte.
const SCALE_SPREAD_MAX: i64 = 10_000;

pub fn varint_from_text(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse::<BigInt>().ok()?.to_signed_bytes_be())
}

pub fn varint_to_big(bytes: &[u8]) -> BigInt {
    BigInt::from_signed_bytes_be(bytes)
}

/// The bytes without superfluous leading ones: equal numbers have equal bytes. At least one byte.
pub fn minimal_varint(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let superfluous = (*first == 0 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
        if !superfluous {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

pub fn compare_varint(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (minimal_varint(a), minimal_varint(b));
    let negative = |bytes: &[u8]| bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    match (negative(a), negative(b)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, true) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
    }
}

/// `unscaled × 10^-scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    pub unscaled: BigInt,
    pub scale: i32,
}

impl Decimal {
    /// `-?[0-9]*(.[0-9]*)?([eE][+-]?[0-9]+)?`, with at least one digit: what Java's BigDecimal takes.
    pub fn from_text(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => {
                let exponent = &text[at + 1..];
                (&text[..at], exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>().ok()?)
            }
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: String = [whole, fraction].concat();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let unscaled: BigInt = digits.parse().ok()?;
        let scale = i32::try_from(fraction.len() as i64 - exponent).ok()?;
        Some(Decimal { unscaled: if negative { -unscaled } else { unscaled }, scale })
    }

    pub fn decode(bytes: &[u8]) -> Option<Decimal> {
        let (scale, unscaled) = bytes.split_first_chunk::<4>()?;
        Some(Decimal { unscaled: BigInt::from_signed_bytes_be(unscaled), scale: i32::from_be_bytes(*scale) })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.scale.to_be_bytes().to_vec();
        out.extend(self.unscaled.to_signed_bytes_be());
        out
    }

    pub fn from_big(unscaled: BigInt) -> Decimal {
        Decimal { unscaled, scale: 0 }
    }

    /// The shortest decimal that reads back as this number, as Java's `BigDecimal.valueOf(double)`.
    pub fn from_f64(value: f64) -> Option<Decimal> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{value:?}");
        Decimal::from_text(&text)
    }

    pub fn to_f64(&self) -> f64 {
        format!("{}e{}", self.unscaled, -i64::from(self.scale)).parse().unwrap_or(f64::NAN)
    }

    /// The whole part, towards zero. `None` if it has more digits than anything here calculates with.
    pub fn to_big(&self) -> Option<BigInt> {
        let spread = i64::from(self.scale);
        if spread >= 0 {
            if spread > self.unscaled.bits() as i64 {
                return Some(BigInt::from(0));
            }
            return Some(&self.unscaled / BigInt::from(10).pow(u32::try_from(spread).ok()?));
        }
        if -spread > SCALE_SPREAD_MAX {
            return None;
        }
        Some(&self.unscaled * BigInt::from(10).pow(u32::try_from(-spread).ok()?))
    }

    /// Sign (-1, 0, 1), the exponent `e` and the digits `d` of `0.d × 10^e`, with neither leading nor trailing zeros:
    /// equal numbers have equal parts.
    pub fn parts(&self) -> (i8, i64, Vec<u8>) {
        let text = self.unscaled.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.as_str()),
        };
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return (0, 0, Vec::new());
        }
        (sign, digits.len() as i64 - i64::from(self.scale), significant.bytes().map(|digit| digit - b'0').collect())
    }

    pub fn compare(&self, other: &Decimal) -> Ordering {
        let ((sign, exponent, digits), (other_sign, other_exponent, other_digits)) = (self.parts(), other.parts());
        sign.cmp(&other_sign).then_with(|| {
            let magnitude = exponent.cmp(&other_exponent).then_with(|| digits.cmp(&other_digits));
            if sign < 0 { magnitude.reverse() } else { magnitude }
        })
    }

    /// Both with the larger scale of the two. `None` if they are too far apart to be written out.
    pub fn aligned(a: &Decimal, b: &Decimal) -> Option<(BigInt, BigInt, i32)> {
        let scale = a.scale.max(b.scale);
        let raise = |value: &Decimal| {
            let spread = i64::from(scale) - i64::from(value.scale);
            if spread > SCALE_SPREAD_MAX {
                return None;
            }
            Some(&value.unscaled * BigInt::from(10).pow(u32::try_from(spread).ok()?))
        };
        Some((raise(a)?, raise(b)?, scale))
    }
}

impl std::fmt::Display for Decimal {
    /// As Java's `BigDecimal.toString`: plain unless the exponent is small or the scale negative.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.unscaled.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text.as_str()),
        };
        let (scale, length) = (i64::from(self.scale), digits.len() as i64);
        let adjusted = length - 1 - scale;
        if scale == 0 {
            write!(f, "{sign}{digits}")
        } else if scale > 0 && adjusted >= -6 {
            if scale >= length {
                write!(f, "{sign}0.{}{digits}", "0".repeat((scale - length) as usize))
            } else {
                let (whole, fraction) = digits.split_at((length - scale) as usize);
                write!(f, "{sign}{whole}.{fraction}")
            }
        } else {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let plus = if adjusted >= 0 { "+" } else { "" };
            write!(f, "{sign}{first}{point}{rest}E{plus}{adjusted}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_as_java_prints_them() {
        for text in ["0", "12", "-12.50", "0.001", "0.0000001", "1E+3", "123E+10", "-1.5E-10"] {
            let decimal = Decimal::from_text(text).expect("a decimal");
            let printed = if text == "0.0000001" { "1E-7" } else { text };
            let printed = if text == "123E+10" { "1.23E+12" } else { printed };
            assert_eq!(decimal.to_string(), printed);
            assert_eq!(Decimal::decode(&decimal.encode()), Some(decimal));
        }
        for text in ["", "-", "1.2.3", "e5", "1e", "abc", "1e99999999999"] {
            assert_eq!(Decimal::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn equal_numbers_compare_equal_however_they_are_written() {
        let order = |a: &str, b: &str| {
            Decimal::from_text(a).expect("a decimal").compare(&Decimal::from_text(b).expect("a decimal"))
        };
        assert_eq!(order("1.0", "1.00"), Ordering::Equal);
        assert_eq!(order("10", "1e1"), Ordering::Equal);
        assert_eq!(order("-2", "-10"), Ordering::Greater);
        assert_eq!(order("0.1", "0.09"), Ordering::Greater);
        assert_eq!(order("0", "-0.0"), Ordering::Equal);
        assert_eq!(compare_varint(&[0, 0, 5], &[5]), Ordering::Equal);
        assert_eq!(compare_varint(&[0xff, 0x7f], &[0x80]), Ordering::Less);
    }
}
