//! What a replica proposes, by what it sees. Each decides for itself: of proposals that contradict each other the first counts.

use super::leadership::{Change, Leadership};
use holon_base::NodeId;

/// A partition as one of its replicas sees it.
pub struct View<'a> {
    pub me: NodeId,
    /// By the map, in its order; the first is to lead if it can.
    pub replicas: &'a [NodeId],
    /// Whether a node seems alive; this one is.
    pub is_alive: &'a dyn Fn(NodeId) -> bool,
    /// This node was elected since it was started. Before that it does not lead: what it had not synced it may have given away.
    pub leads_since_start: bool,
    /// Nodes that have kept up with this one for a while, if it leads.
    pub keep_up: &'a dyn Fn(NodeId) -> bool,
}

impl View<'_> {
    fn living(&self) -> impl Iterator<Item = NodeId> {
        self.replicas.iter().copied().filter(|node| *node == self.me || (self.is_alive)(*node))
    }
}

/// What this replica is to propose; `None`: all is well, or another one has to.
pub fn decide(current: Option<&Leadership>, view: &View<'_>) -> Option<Change> {
    let Some(current) = current else {
        let leads = view.living().next() == Some(view.me);
        return leads.then(|| Change::Begin { leader: view.me, in_sync: view.replicas.to_vec() });
    };
    let elect = |leader: NodeId| {
        let lives = |node: &NodeId| *node == leader || *node == view.me || (view.is_alive)(*node);
        let in_sync = current.in_sync.iter().copied().filter(lives);
        let is_in = current.in_sync.contains(&leader);
        let in_sync = if is_in { in_sync.collect() } else { vec![leader] };
        Change::Elect { version: current.version, leader, in_sync }
    };
    let is_placed = |node: NodeId| view.replicas.contains(&node);
    if current.leader == view.me {
        if !view.leads_since_start {
            return Some(elect(view.me));
        }
        let can = |node: &NodeId| current.in_sync.contains(node) && (view.keep_up)(*node);
        let better = view.living().take_while(|node| *node != view.me).find(can);
        return better.map(elect);
    }
    if is_placed(current.leader) && (view.is_alive)(current.leader) {
        return None;
    }
    let in_sync = view.living().find(|node| current.in_sync.contains(node));
    let next = in_sync.or_else(|| view.living().find(|node| current.eligible.contains(node)));
    // A leader that was placed elsewhere hands over itself, as long as it is alive and somebody else is in sync.
    let hands_over = (view.is_alive)(current.leader) && in_sync.is_some();
    (next == Some(view.me) && !hands_over).then(|| elect(view.me))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn ask(current: Option<&Leadership>, me: NodeId, alive: &[NodeId]) -> Option<Change> {
        let is_alive = |node: NodeId| alive.contains(&node);
        let view = View { me, replicas: &[A, B, C], is_alive: &is_alive, leads_since_start: true, keep_up: &is_alive };
        decide(current, &view)
    }

    fn led(leader: NodeId, in_sync: &[NodeId], eligible: &[NodeId]) -> Leadership {
        Leadership { version: 3, epoch: 1, leader, in_sync: in_sync.to_vec(), eligible: eligible.to_vec() }
    }

    #[test]
    fn one_of_those_that_can_proposes_itself() {
        assert_eq!(ask(None, A, &[B]), Some(Change::Begin { leader: A, in_sync: vec![A, B, C] }));
        assert_eq!(ask(None, B, &[A]), None);
        assert!(ask(None, B, &[C]).is_some());
        let current = led(A, &[A, B, C], &[]);
        assert_eq!((ask(Some(&current), B, &[A, C]), ask(Some(&current), C, &[B])), (None, None));
        let elect = |leader, in_sync: &[NodeId]| Some(Change::Elect { version: 3, leader, in_sync: in_sync.to_vec() });
        assert_eq!(ask(Some(&current), B, &[C]), elect(B, &[B, C]));
        assert_eq!(ask(Some(&led(A, &[A, C], &[])), B, &[C]), None, "C is in sync");
        assert_eq!(ask(Some(&led(A, &[A], &[B])), B, &[C]), elect(B, &[B]));
        assert_eq!(ask(Some(&led(A, &[A], &[B])), C, &[]), None);
        assert_eq!(ask(Some(&led(B, &[A, B], &[])), B, &[A]), elect(A, &[A, B]), "the first one is to lead");
        assert_eq!(ask(Some(&led(B, &[B, C], &[])), B, &[A, C]), None, "it is not in sync");
    }

    #[test]
    fn who_leads_elsewhere_than_the_map_says_hands_over() {
        let current = led(NodeId(9), &[NodeId(9), B], &[]);
        assert_eq!(ask(Some(&current), B, &[NodeId(9), A, C]), None);
        let view = View {
            me: NodeId(9),
            replicas: &[A, B, C],
            is_alive: &|_| true,
            leads_since_start: true,
            keep_up: &|_| true,
        };
        let handed = Some(Change::Elect { version: 3, leader: B, in_sync: vec![NodeId(9), B] });
        assert_eq!(decide(Some(&current), &view), handed);
        assert!(ask(Some(&current), B, &[A, C]).is_some(), "it is dead");
    }
}
