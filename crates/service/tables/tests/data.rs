//! Statements and their rows, as text: what Cassandra answers is what is written here.
//!
//! ```text
//!   INSERT INTO t (k, v) VALUES (?, ?) <- 1, 'a'
//!   SELECT * FROM t
//!       [k | v]
//!       1 | "a"
//!   FLUSH   COMPACT   CRASH   NOW seconds   PAGES rows statement   BATCH kind; statement; …   PLAN statement
//! ```
//!
//! Each script is played twice: with tablets reached directly, and by bytes as from another shard.
//! `REBUILD=1 cargo test -p holon-tables --test data` writes the answers anew; read the difference.

mod data_world;

use data_world::World;

const INDENT: &str = "    ";

fn play(script: &str, local: bool) -> String {
    let mut world = World::new(local);
    world.ok("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    world.ok("USE k");
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with(INDENT) {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for answer in world.run(line).lines() {
            out.push_str(&format!("{INDENT}{answer}\n"));
        }
    }
    out
}

fn check(name: &str) {
    let path = format!("{}/tests/data_transcripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(&path).expect("the transcript");
    let played = play(&script, true);
    assert_eq!(played, play(&script, false), "{name}: tablets of other shards answer as those of this one");
    if std::env::var_os("REBUILD").is_some() {
        std::fs::write(&path, &played).expect("written");
    }
    let expected = std::fs::read_to_string(&path).expect("the transcript");
    for (number, (is, should)) in played.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "{name}.txt:{}", number + 1);
    }
    assert_eq!(played.lines().count(), expected.lines().count(), "{name}");
}

macro_rules! transcripts {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

transcripts!(
    keys,
    types,
    collections,
    deletions,
    statics,
    conditions,
    foreign,
    relations,
    selection,
    refusals,
    batches,
    counters,
    pages
);
