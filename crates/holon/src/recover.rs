//! `holon recover`: what to do when a majority of the voters of the metadata group is lost for good. Works on the data
//! directory of a node that does not run.

use crate::cli::print;
use crate::settings::Settings;
use holon_base::NodeId;
use holon_edge::{Clock, DataDir, DiskPool, run_on_disk};
use holon_metadata::{Identity, LogPosition, begin_anew, load_or_create, look};
use std::process::ExitCode;
use std::sync::Arc;

const WHAT_NOW: &str = "
Nothing was changed. If a majority of these voters is lost for good: run this on each node that is left, all of them stopped, and
choose the one whose log ends last (the higher term; of equal terms the higher entry). Run `holon recover --begin-anew` there, and
only there: its log becomes the truth, and changes that only the lost nodes knew of are gone. Those must not come back with
their data.
";

const BEGUN: &str = "
This node alone votes now. Start it, then the others; then give up the lost ones (`holon cluster forget NODE`) or replace them
(`holon start --join … --replace NODE`).
";

pub fn run(settings: &Settings, clock: Clock, anew: bool) -> Result<ExitCode, String> {
    let shown = settings.data_dir.display();
    if !settings.data_dir.join("node").exists() {
        return Err(format!(
            "{shown} is not the data directory of a node: nothing to recover; name it with --data-dir"
        ));
    }
    let data = Arc::new(DataDir::open(&settings.data_dir).map_err(|error| error.to_string())?);
    let pool = DiskPool::new(settings.disk_threads);
    let task = move |disk| -> holon_kernel::LocalFuture<Result<(Identity, LogPosition), String>> {
        Box::pin(async move {
            let identity = load_or_create(&disk, NodeId(0)).await.map_err(|error| error.to_string())?;
            let cluster = identity.cluster.as_ref().ok_or("this node belongs to no cluster yet")?;
            let (node, founder) = (identity.node, cluster.founder);
            let found = if anew { begin_anew(&disk, node, founder).await } else { look(&disk, node, founder).await };
            Ok((identity, found.map_err(|error| error.to_string())?))
        })
    };
    let (identity, position) = run_on_disk(&data, &pool, clock, task).ok_or("the disk does not answer")??;
    print(&(describe(&identity, &position) + if anew { BEGUN } else { WHAT_NOW }));
    Ok(ExitCode::SUCCESS)
}

fn describe(identity: &Identity, position: &LogPosition) -> String {
    let row = |name: &str, value: String| format!("{name:<10}{value}\n");
    let mut text = row("node", identity.node.to_string());
    text += &row("log ends", format!("in term {} at entry {}", position.last_term, position.last_index));
    text += &row("committed", format!("up to entry {} at least", position.committed));
    let voter = |node: &NodeId| match *node == identity.node {
        true => format!("{node} (this node)"),
        false => node.to_string(),
    };
    text + &row("voters", position.voters.iter().map(voter).collect::<Vec<_>>().join(", "))
}
