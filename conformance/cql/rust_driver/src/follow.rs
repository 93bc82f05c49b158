//! What the driver knows of a cluster that it was shown one node of, printed whenever it has changed: `hosts …` and
//! `columns …` of one table, until stdin ends.

use crate::Outcome;
use scylla::client::session_builder::SessionBuilder;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub async fn follow(address: &str, table: &str) -> Outcome {
    let (keyspace, table) = table.split_once('.').ok_or("it takes KEYSPACE.TABLE")?;
    let session = SessionBuilder::new().known_node(address).build().await?;
    let mut said = HashMap::new();
    let mut tell = |what: &'static str, words: BTreeSet<String>| {
        let line = words.into_iter().collect::<Vec<_>>().join(" ");
        if said.insert(what, line.clone()) != Some(line.clone()) {
            println!("{what} {line}");
        }
    };
    let ended = stdin_ended();
    while !ended.load(Ordering::Relaxed) {
        let state = session.get_cluster_state();
        tell("hosts", state.get_nodes_info().iter().map(|node| node.address.ip().to_string()).collect());
        if let Some(found) = state.get_keyspace(keyspace).and_then(|keyspace| keyspace.tables.get(table)) {
            tell("columns", found.columns.keys().cloned().collect());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn stdin_ended() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    std::thread::spawn(move || {
        // However it ends, it has ended.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        told.store(true, Ordering::Relaxed);
    });
    ended
}
