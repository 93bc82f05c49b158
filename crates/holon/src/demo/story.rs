//! The order of what happens. What happens in an act is in `acts`.

use super::acts;
use super::stage::Stage;
use std::rc::Rc;

/// A stretch of the story for which requests are counted by themselves.
pub struct Phase {
    pub title: &'static str,
    pub about: &'static str,
    /// Else it belongs to the act before.
    pub opens_act: bool,
}

pub const LOAD: usize = 1;
pub const STEADY: usize = 2;
pub const KILL: usize = 3;
pub const BACK: usize = 4;
pub const JOIN: usize = 5;
pub const CUT: usize = 6;
pub const HEAL: usize = 7;
pub const HEALED: usize = 8;
pub const CHECK: usize = 9;

const fn act(title: &'static str, about: &'static str) -> Phase {
    Phase { title, about, opens_act: true }
}

const fn part(title: &'static str, about: &'static str) -> Phase {
    Phase { title, about, opens_act: false }
}

pub const PHASES: [Phase; 10] = [
    part("the cluster starts", "each node is a process of its own, with three replicas of every row among them"),
    act("load", "flights go in at QUORUM, a batch a partition"),
    act("steady", "reads and writes at QUORUM, some conditional statements, through every node"),
    act("a node is killed", "kill -9 of node 2: whoever asks another node is to notice nothing"),
    act("it comes back", "node 2 starts again: the others send it what it missed"),
    act("a node joins", "one more node: tablets move to it while all goes on"),
    act("a node is cut off", "nothing passes between node 3 and the others: it must refuse, they must serve"),
    act("it is healed", "node 3 hears the others again, serves, and catches up"),
    part("it is healed", "node 3 serves again"),
    part("it is healed", "the load is over: everything is read again through every node"),
];

pub const ACTS: usize = 7;

/// One an act, and that nothing was lost.
pub const PROMISES: usize = ACTS + 1;

/// Tells it all.
///
/// # Errors
/// What keeps it from going on: it is not a promise that is broken then, but all that were to come are not kept.
pub async fn tell(stage: &Rc<Stage>) -> Result<(), String> {
    acts::start_cluster(stage).await?;
    acts::load(stage).await?;
    let workers = stage.load.start();
    acts::steady(stage).await;
    acts::kill(stage).await;
    acts::back(stage).await?;
    acts::join(stage).await?;
    let hints = acts::cut(stage).await;
    acts::heal(stage, hints).await;
    stage.load.stop();
    for worker in workers {
        worker.await.map_err(|error| format!("a client failed: {error}"))?;
    }
    acts::check(stage).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_acts_as_are_told() {
        assert_eq!(PHASES.iter().filter(|phase| phase.opens_act).count(), ACTS);
        assert!(!PHASES[0].opens_act && !PHASES[CHECK].opens_act && PHASES[KILL].title.contains("killed"));
    }
}
