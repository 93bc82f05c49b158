//! Rust text with its comments and literals blanked out, so that words in prose do not count as code.
//!
//! Not a parser: it knows comments, strings, characters and lifetimes, and keeps every newline where it was.

/// `text` with the inside of comments and of string and character literals replaced by blanks.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = match (byte, bytes.get(at + 1)) {
            (b'/', Some(b'/')) => line_end(bytes, at),
            (b'/', Some(b'*')) => block_comment_end(bytes, at),
            (b'"', _) => string_end(bytes, at + 1),
            (b'r' | b'b' | b'c', _) if !in_word(bytes, at) => literal_end(bytes, at),
            (b'\'', _) => character_end(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for blank in out.iter_mut().take(end.min(bytes.len())).skip(at) {
            if *blank != b'\n' {
                *blank = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn in_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && bytes.get(at - 1).is_some_and(|before| before.is_ascii_alphanumeric() || *before == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |offset| at + offset)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The end of a string whose first character is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a literal with a prefix (`b"…"`, `r#"…"#`, `br"…"`, `b'…'`), or `at` when there is none.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let mut next = at;
    let mut raw = false;
    while let Some(byte @ (b'r' | b'b' | b'c')) = bytes.get(next) {
        raw |= *byte == b'r';
        next += 1;
    }
    let hashes = bytes.iter().skip(next).take_while(|byte| **byte == b'#').count();
    match bytes.get(next + hashes) {
        Some(b'"') if raw => {
            let closing = format!("\"{}", "#".repeat(hashes));
            let rest = &bytes[next + hashes + 1..];
            let found = rest.windows(closing.len()).position(|window| window == closing.as_bytes());
            found.map_or(bytes.len(), |offset| next + hashes + 1 + offset + closing.len())
        }
        Some(b'"') if hashes == 0 => string_end(bytes, next + 1),
        Some(b'\'') if hashes == 0 && next == at + 1 => character_end(bytes, next),
        _ => at,
    }
}

/// The end of a character literal, or `at` when the quote begins a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let rest = bytes.iter().skip(at + 3);
        return rest.take(12).position(|byte| *byte == b'\'').map_or(at, |offset| at + 3 + offset + 1);
    }
    // One character of up to four bytes, then the closing quote.
    let width = match bytes.get(at + 1) {
        Some(first) if *first >= 0xf0 => 4,
        Some(first) if *first >= 0xe0 => 3,
        Some(first) if *first >= 0xc0 => 2,
        _ => 1,
    };
    if bytes.get(at + 1 + width) == Some(&b'\'') { at + 2 + width } else { at }
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn words_in_prose_are_blanked_and_lines_kept() {
        let text = "let a = \"std::fs\"; // tokio\n/* std::net\n /* x */ */ b'\"'; let c = r#\"a\"b\"#; fn f<'a>(x: &'a u8) {}\n'\\''; '{' é";
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.len(), text.len());
        for word in ["std::fs", "tokio", "std::net", "a\"b", "'{'"] {
            assert!(!code.contains(word), "{word} is left in {code}");
        }
        for word in ["let a =", "let c =", "fn f<'a>(x: &'a u8) {}", "é"] {
            assert!(code.contains(word), "{word} is gone from {code}");
        }
    }
}
