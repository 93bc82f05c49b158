//! Sizes as people write them.

/// `512MiB`, `4GiB`, `1.5g`, `1073741824`: powers of 1024, whatever the spelling of the unit.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let bytes = number * (1u64 << shift) as f64;
    (bytes < 2f64.powi(60)).then_some(bytes as u64)
}

pub fn show_bytes(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("1024", 1024), ("4GiB", 4 << 30), ("4 gb", 4 << 30), ("1.5m", 3 << 19), ("0", 0)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "4 parsecs", "-1", "1e9", "9999999999TiB", "1.2.3"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        assert_eq!(
            (show_bytes(3 << 19), show_bytes(4 << 30), show_bytes(7)),
            ("1.5 MiB".into(), "4 GiB".into(), "7 bytes".into())
        );
    }
}
