//! How long parsing takes: `cargo run --release -p holon-cql-language --example parse_speed`.

#![allow(clippy::disallowed_methods)] // measuring is what this is for

use holon_cql_language::parse_statement;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 200_000;

fn main() {
    let statements = [
        ("bound INSERT", "INSERT INTO ks.t (a, b, c) VALUES (?, ?, ?)"),
        ("INSERT", "INSERT INTO flights (year, month, carrier, delay, origin) VALUES (2013, 1, 'UA', -4.5, 'EWR')"),
        ("SELECT", "SELECT a, b, count(*) FROM ks.t WHERE k = 1 AND c > 'x' ORDER BY c DESC LIMIT 100"),
        ("UPDATE", "UPDATE t USING TTL 60 SET a = a + 1, m['k'] = 'v' WHERE k = 5b6962dd-3f90-4c93-8f61-eabfa4a803e2"),
    ];
    for (name, text) in statements {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let _ = black_box(parse_statement(black_box(text)));
        }
        let nanoseconds = start.elapsed().as_nanos() / u128::from(ROUNDS);
        println!("{name:>12}: {nanoseconds} ns for {} bytes", text.len());
    }
}
