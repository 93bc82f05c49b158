//! Text to tokens, one at a time and without allocating.
//!
//! A token is a kind and a range of bytes; its text is decoded only when a tree needs it, and its line and column are
//! counted only when an error message needs them ([`Position::of`]), because that is rare and the lexer is on the path
//! of every unprepared statement. The lexer cannot fail: what is no token becomes [`TokenKind::Invalid`], which no rule
//! of the grammar accepts.
//!
//! The tokens are those of Cassandra's `Lexer.g`, with one kindness: a line comment may end the text without a newline.

use crate::keyword::Keyword;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A word that is a keyword; many may stand as names.
    Keyword(Keyword),
    /// A word that is no keyword.
    Word,
    /// `"…"`, not empty.
    QuotedName,
    /// `""`: the name of the value column of some tables of old.
    EmptyQuotedName,
    /// `'…'`.
    String,
    /// `$$…$$`.
    DollarString,
    /// `-?[0-9]+`.
    Integer,
    Float,
    NegativeNan,
    NegativeInfinity,
    True,
    False,
    Uuid,
    /// `0x…`.
    Blob,
    Duration,
    LeftParenthesis,
    RightParenthesis,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Plus,
    Minus,
    PlusEqual,
    MinusEqual,
    Star,
    Slash,
    Percent,
    Comma,
    Semicolon,
    Colon,
    Dot,
    /// `..`.
    Range,
    QuestionMark,
    /// The end of the text.
    End,
    Invalid(Fault),
}

/// Why a piece of text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    UnexpectedCharacter,
    UnterminatedString,
    UnterminatedDollarString,
    UnterminatedQuotedName,
    UnterminatedComment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// Byte at which the token starts.
    pub start: usize,
    /// Byte after its last.
    pub end: usize,
}

/// A place in a text as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// Characters before it on the line, from 0.
    pub column: usize,
}

impl Position {
    /// The position of a byte of `text`. Takes time in proportion to `offset`.
    pub fn of(text: &str, offset: usize) -> Position {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Position { line, column: before.get(line_start..).unwrap_or("").chars().count() }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Copying a lexer is how the parser looks ahead.
#[derive(Debug, Clone, Copy)]
pub struct Lexer<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, offset: 0 }
    }

    /// The text of a token as it was written.
    pub fn text(&self, token: Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or("")
    }

    /// Line and column of a token.
    pub fn position(&self, token: Token) -> Position {
        Position::of(self.text, token.start)
    }

    /// The byte at which the next token or blank starts.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Reads on from a byte that starts a token or lies inside an operator.
    pub(crate) fn seek(&mut self, offset: usize) {
        self.offset = offset;
    }

    /// The next token; [`TokenKind::End`] for ever once the text is used up.
    pub fn next_token(&mut self) -> Token {
        if let Err(start) = self.skip_blank() {
            self.offset = self.text.len();
            return Token { kind: TokenKind::Invalid(Fault::UnterminatedComment), start, end: self.text.len() };
        }
        let start = self.offset;
        let (kind, length) = scan(self.text.as_bytes().get(start..).unwrap_or(&[]));
        let mut end = (start + length).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        self.offset = end;
        Token { kind, start, end }
    }

    /// Skips one run of white space, or one comment; false if there is none. An unterminated comment is no blank.
    pub(crate) fn skip_one_blank(&mut self) -> bool {
        let bytes = self.text.as_bytes().get(self.offset..).unwrap_or(&[]);
        let length = match bytes {
            [b' ' | b'\t' | b'\n' | b'\r', ..] => run(bytes, |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')),
            [b'-', b'-', ..] | [b'/', b'/', ..] => run(bytes, |byte| !matches!(byte, b'\n' | b'\r')),
            [b'/', b'*', rest @ ..] => match rest.windows(2).position(|pair| pair == b"*/") {
                Some(inside) => inside + 4,
                None => return false,
            },
            _ => return false,
        };
        self.offset += length;
        true
    }

    fn skip_blank(&mut self) -> Result<(), usize> {
        while self.skip_one_blank() {}
        let unterminated = self.text.as_bytes().get(self.offset..).is_some_and(|bytes| bytes.starts_with(b"/*"));
        if unterminated { Err(self.offset) } else { Ok(()) }
    }
}

/// How many bytes from the front satisfy `holds`.
fn run(bytes: &[u8], holds: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !holds(*byte)).unwrap_or(bytes.len())
}

fn digits(bytes: &[u8]) -> usize {
    run(bytes, |byte| byte.is_ascii_digit())
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or(&[])
}

/// The kind and the length of the token at the front of `bytes`, which do not start with a blank.
fn scan(bytes: &[u8]) -> (TokenKind, usize) {
    let Some(first) = bytes.first().copied() else { return (TokenKind::End, 0) };
    let second = bytes.get(1).copied().unwrap_or(0);
    match first {
        b'a'..=b'z' | b'A'..=b'Z' => scan_word(bytes),
        b'0'..=b'9' => scan_number(bytes),
        b'\'' => scan_quoted(bytes, b'\'', TokenKind::String, Fault::UnterminatedString),
        b'"' => match scan_quoted(bytes, b'"', TokenKind::QuotedName, Fault::UnterminatedQuotedName) {
            (TokenKind::QuotedName, 2) => (TokenKind::EmptyQuotedName, 2),
            other => other,
        },
        b'$' if second == b'$' => match tail(bytes, 2).windows(2).position(|pair| pair == b"$$") {
            Some(inside) => (TokenKind::DollarString, inside + 4),
            None => (TokenKind::Invalid(Fault::UnterminatedDollarString), bytes.len()),
        },
        b'-' => scan_minus(bytes, second),
        b'(' => (TokenKind::LeftParenthesis, 1),
        b')' => (TokenKind::RightParenthesis, 1),
        b'[' => (TokenKind::LeftBracket, 1),
        b']' => (TokenKind::RightBracket, 1),
        b'{' => (TokenKind::LeftBrace, 1),
        b'}' => (TokenKind::RightBrace, 1),
        b'<' if second == b'=' => (TokenKind::LessOrEqual, 2),
        b'<' => (TokenKind::Less, 1),
        b'>' if second == b'=' => (TokenKind::GreaterOrEqual, 2),
        b'>' => (TokenKind::Greater, 1),
        b'=' => (TokenKind::Equal, 1),
        b'!' if second == b'=' => (TokenKind::NotEqual, 2),
        b'+' if second == b'=' => (TokenKind::PlusEqual, 2),
        b'+' => (TokenKind::Plus, 1),
        b'*' => (TokenKind::Star, 1),
        b'/' => (TokenKind::Slash, 1),
        b'%' => (TokenKind::Percent, 1),
        b',' => (TokenKind::Comma, 1),
        b';' => (TokenKind::Semicolon, 1),
        b':' => (TokenKind::Colon, 1),
        b'.' if second == b'.' => (TokenKind::Range, 2),
        b'.' => (TokenKind::Dot, 1),
        b'?' => (TokenKind::QuestionMark, 1),
        _ => (TokenKind::Invalid(Fault::UnexpectedCharacter), 1),
    }
}

/// `'…'` or `"…"`, where a doubled quote stands for one.
fn scan_quoted(bytes: &[u8], quote: u8, kind: TokenKind, fault: Fault) -> (TokenKind, usize) {
    let mut at = 1;
    loop {
        at += run(tail(bytes, at), |byte| byte != quote);
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(_), Some(next)) if *next == quote => at += 2,
            (Some(_), _) => return (kind, at + 1),
            (None, _) => return (TokenKind::Invalid(fault), bytes.len()),
        }
    }
}

fn scan_word(bytes: &[u8]) -> (TokenKind, usize) {
    let length = word_length(bytes);
    let word = bytes.get(..length).unwrap_or(bytes);
    if length == 8 && is_uuid(bytes) {
        return (TokenKind::Uuid, UUID_LENGTH);
    }
    if word.first() == Some(&b'P')
        && let Some(duration) = iso_duration(bytes)
    {
        return (TokenKind::Duration, duration);
    }
    let kind = match Keyword::of(word) {
        Some(keyword) => TokenKind::Keyword(keyword),
        None if word.eq_ignore_ascii_case(b"true") => TokenKind::True,
        None if word.eq_ignore_ascii_case(b"false") => TokenKind::False,
        None => TokenKind::Word,
    };
    (kind, length)
}

fn word_length(bytes: &[u8]) -> usize {
    run(bytes, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A minus sign, or a constant that starts with one.
fn scan_minus(bytes: &[u8], second: u8) -> (TokenKind, usize) {
    let rest = tail(bytes, 1);
    match second {
        b'=' => (TokenKind::MinusEqual, 2),
        b'0'..=b'9' => {
            let (kind, length) = scan_decimal(rest);
            (kind, length + 1)
        }
        b'P' => iso_duration(rest).map_or((TokenKind::Minus, 1), |length| (TokenKind::Duration, length + 1)),
        b'n' | b'N' | b'i' | b'I' => {
            let word = rest.get(..word_length(rest)).unwrap_or(rest);
            match Keyword::of(word) {
                Some(Keyword::Nan) => (TokenKind::NegativeNan, 1 + word.len()),
                Some(Keyword::Infinity) => (TokenKind::NegativeInfinity, 1 + word.len()),
                _ => (TokenKind::Minus, 1),
            }
        }
        _ => (TokenKind::Minus, 1),
    }
}

fn scan_number(bytes: &[u8]) -> (TokenKind, usize) {
    if bytes.get(8) == Some(&b'-') && is_uuid(bytes) {
        return (TokenKind::Uuid, UUID_LENGTH);
    }
    if let [b'0', b'x' | b'X', hexadecimal @ ..] = bytes {
        return (TokenKind::Blob, 2 + run(hexadecimal, |byte| byte.is_ascii_hexdigit()));
    }
    scan_decimal(bytes)
}

/// An integer, a float or a duration without sign. `bytes` start with a digit.
fn scan_decimal(bytes: &[u8]) -> (TokenKind, usize) {
    let whole = digits(bytes);
    if let Some(unit) = duration_unit(tail(bytes, whole)) {
        let mut length = whole + unit;
        loop {
            let more = digits(tail(bytes, length));
            match duration_unit(tail(bytes, length + more)) {
                Some(unit) if more > 0 => length += more + unit,
                _ => return (TokenKind::Duration, length),
            }
        }
    }
    let mut length = whole;
    match tail(bytes, whole) {
        // `1...2` is `1.` and a range, `1..2` is `1` and a range.
        [b'.', b'.', b'.', ..] => return (TokenKind::Float, whole + 1),
        [b'.', b'.', ..] => return (TokenKind::Integer, whole),
        [b'.', fraction @ ..] => length += 1 + digits(fraction),
        _ => {}
    }
    if let [b'e' | b'E', exponent @ ..] = tail(bytes, length) {
        let sign = usize::from(matches!(exponent, [b'+' | b'-', ..]));
        let count = digits(tail(exponent, sign));
        if count > 0 {
            return (TokenKind::Float, length + 1 + sign + count);
        }
    }
    (if length > whole { TokenKind::Float } else { TokenKind::Integer }, length)
}

/// The length of the unit of a duration at the front: y, mo, w, d, h, m, s, ms, us, µs, ns, in any case.
fn duration_unit(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'm' | b'M', b'o' | b'O' | b's' | b'S', ..] => Some(2),
        [b'u' | b'U' | b'n' | b'N', b's' | b'S', ..] => Some(2),
        // µ is U+00B5, two bytes of UTF-8.
        [0xC2, 0xB5, b's' | b'S', ..] => Some(3),
        [b'y' | b'Y' | b'w' | b'W' | b'd' | b'D' | b'h' | b'H' | b'm' | b'M' | b's' | b'S', ..] => Some(1),
        _ => None,
    }
}

/// The length of an ISO 8601 duration at the front, which is upper case and starts with P. A word that goes on after
/// it, such as `P1Days`, is a name.
fn iso_duration(bytes: &[u8]) -> Option<usize> {
    let length = iso_alternative(bytes).or_else(|| iso_designators(bytes))?;
    let goes_on = bytes.get(length).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (!goes_on).then_some(length)
}

/// `PYYYY-MM-DDThh:mm:ss`.
fn iso_alternative(bytes: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"P0000-00-00T00:00:00";
    let candidate = bytes.get(..FORM.len())?;
    let fits = candidate.iter().zip(FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    fits.then_some(FORM.len())
}

/// `PnYnMnDTnHnMnS` with parts left out, or `PnW`.
fn iso_designators(bytes: &[u8]) -> Option<usize> {
    let mut length = 1;
    let parts = |length: &mut usize, designators: &[u8]| {
        let mut seen = 0;
        for designator in designators {
            let count = digits(tail(bytes, *length));
            if count > 0 && bytes.get(*length + count) == Some(designator) {
                *length += count + 1;
                seen += 1;
            }
        }
        seen
    };
    if parts(&mut length, b"W") > 0 {
        return Some(length);
    }
    let dates = parts(&mut length, b"YMD");
    let mut times = 0;
    if bytes.get(length) == Some(&b'T') {
        let mut with_time = length + 1;
        times = parts(&mut with_time, b"HMS");
        if times > 0 {
            length = with_time;
        }
    }
    (dates + times > 0).then_some(length)
}

const UUID_LENGTH: usize = 36;

/// Whether the front has the form of a UUID: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(bytes: &[u8]) -> bool {
    let Some(candidate) = bytes.get(..UUID_LENGTH) else { return false };
    candidate.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}
