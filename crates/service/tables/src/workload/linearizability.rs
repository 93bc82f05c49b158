//! Whether a history of one object is linearizable: whether its calls can be put in an order in which each takes effect at one
//! moment between its beginning and its end, and answers as the object would.
//!
//! The search is that of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993) as Lowe improved it (*Testing for
//! Linearizability*, 2017): a list of beginnings and ends, in which calls are lifted out and put back, and a memory
//! of which sets of calls, in which state, have led nowhere. A call without an answer may take effect at any time after it began,
//! or never.
//!
//! (The crate `porcupine-rs` does the same and brings eighty others with it, a benchmark harness among them.)

use std::collections::BTreeSet;

/// An object with a state.
pub trait Model {
    type State: Clone + Ord;
    type Call;

    /// The state after the call; `None`: it cannot have been answered so in this state.
    fn step(state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// One call: what was asked and answered, and when. Times are of one clock and all different.
#[derive(Clone, Debug)]
pub struct Timed<C> {
    pub begin: u64,
    /// `None`: no answer ever came.
    pub end: Option<u64>,
    pub call: C,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// No order fits. Calls by their place in the history: at best these took effect, and then none of those could.
    Not {
        done: Vec<usize>,
        stuck: Vec<usize>,
    },
    /// Not decided within the steps allowed.
    GaveUp,
}

const NONE: usize = usize::MAX;

/// Beginnings and ends in the order of time: entry `2 * call` begins, `2 * call + 1` ends.
struct List {
    next: Vec<usize>,
    previous: Vec<usize>,
    first: usize,
}

impl List {
    fn new(order: &[usize], size: usize) -> List {
        let mut list = List { next: vec![NONE; size], previous: vec![NONE; size], first: NONE };
        list.first = order.first().copied().unwrap_or(NONE);
        for pair in order.windows(2) {
            list.next[pair[0]] = pair[1];
            list.previous[pair[1]] = pair[0];
        }
        list
    }

    fn take(&mut self, entry: usize) {
        let (previous, next) = (self.previous[entry], self.next[entry]);
        if previous == NONE {
            self.first = next
        } else {
            self.next[previous] = next
        }
        if next != NONE {
            self.previous[next] = previous;
        }
    }

    /// Puts back what was taken last.
    fn put_back(&mut self, entry: usize) {
        let (previous, next) = (self.previous[entry], self.next[entry]);
        if previous == NONE {
            self.first = entry
        } else {
            self.next[previous] = entry
        }
        if next != NONE {
            self.previous[next] = entry;
        }
    }
}

/// Searches for an order, in `steps_max` steps at most.
pub fn check<M: Model>(history: &[Timed<M::Call>], initial: M::State, steps_max: u64) -> Verdict {
    let mut order: Vec<(u64, usize)> = Vec::with_capacity(history.len() * 2);
    for (call, timed) in history.iter().enumerate() {
        order.push((timed.begin, 2 * call));
        order.extend(timed.end.map(|end| (end, 2 * call + 1)));
    }
    order.sort_unstable();
    let order: Vec<usize> = order.into_iter().map(|(_, entry)| entry).collect();
    let mut list = List::new(&order, history.len() * 2);
    let mut unanswered = history.iter().filter(|timed| timed.end.is_some()).count();
    let mut done = vec![0u64; history.len().div_ceil(64)];
    let mut seen: BTreeSet<(Vec<u64>, M::State)> = BTreeSet::new();
    let mut taken: Vec<(usize, M::State)> = Vec::new();
    let (mut state, mut steps) = (initial, 0);
    let mut best = Verdict::Not { done: Vec::new(), stuck: Vec::new() };
    let mut best_length = 0;
    let mut entry = list.first;
    while unanswered > 0 {
        steps += 1;
        if steps > steps_max {
            return Verdict::GaveUp;
        }
        if entry != NONE && entry.is_multiple_of(2) {
            let call = entry / 2;
            if let Some(after) = M::step(&state, &history[call].call) {
                done[call / 64] |= 1 << (call % 64);
                if seen.insert((done.clone(), after.clone())) {
                    taken.push((call, std::mem::replace(&mut state, after)));
                    list.take(entry);
                    if history[call].end.is_some() {
                        list.take(entry + 1);
                        unanswered -= 1;
                    }
                    entry = list.first;
                    continue;
                }
                done[call / 64] &= !(1 << (call % 64));
            }
            entry = list.next[entry];
            continue;
        }
        // An end: its call had to take effect before. Nothing that could come first fits.
        if taken.len() >= best_length {
            best_length = taken.len();
            best = told(&list, &taken);
        }
        let Some((call, before)) = taken.pop() else { return best };
        state = before;
        done[call / 64] &= !(1 << (call % 64));
        if history[call].end.is_some() {
            list.put_back(2 * call + 1);
            unanswered += 1;
        }
        list.put_back(2 * call);
        entry = list.next[2 * call];
    }
    Verdict::Linearizable
}

fn told<S>(list: &List, taken: &[(usize, S)]) -> Verdict {
    let mut stuck = Vec::new();
    let mut entry = list.first;
    while entry != NONE && entry.is_multiple_of(2) {
        stuck.push(entry / 2);
        entry = list.next[entry];
    }
    Verdict::Not { done: taken.iter().map(|(call, _)| *call).collect(), stuck }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_base::Random;

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Write(u8),
        Read(u8),
    }

    struct Cell;

    impl Model for Cell {
        type State = u8;
        type Call = Call;

        fn step(state: &u8, call: &Call) -> Option<u8> {
            match call {
                Call::Write(value) => Some(*value),
                Call::Read(value) => (value == state).then_some(*state),
            }
        }
    }

    fn timed(begin: u64, end: impl Into<Option<u64>>, call: Call) -> Timed<Call> {
        Timed { begin, end: end.into(), call }
    }

    #[test]
    fn what_overlaps_may_take_effect_in_any_order_and_what_does_not_may_not() {
        let write = timed(1, 10, Call::Write(1));
        let ok = |history: &[Timed<Call>]| check::<Cell>(history, 0, 1_000_000) == Verdict::Linearizable;
        assert!(ok(&[write.clone(), timed(2, 3, Call::Read(0)), timed(4, 5, Call::Read(1))]));
        assert!(ok(&[write.clone(), timed(2, 3, Call::Read(0)), timed(4, 5, Call::Read(0))]));
        // Once it was seen, it stays.
        assert!(!ok(&[write.clone(), timed(2, 3, Call::Read(1)), timed(4, 5, Call::Read(0))]));
        // It is over before the read begins.
        assert!(!ok(&[write, timed(11, 12, Call::Read(0))]));
    }

    #[test]
    fn a_call_without_an_answer_takes_effect_late_or_never() {
        let write = timed(1, None, Call::Write(1));
        let ok = |history: &[Timed<Call>]| check::<Cell>(history, 0, 1_000_000) == Verdict::Linearizable;
        assert!(ok(&[write.clone(), timed(2, 3, Call::Read(0)), timed(100, 101, Call::Read(1))]));
        assert!(ok(&[write.clone(), timed(2, 3, Call::Read(0)), timed(100, 101, Call::Read(0))]));
        // Not before it began, and once only.
        assert!(!ok(&[timed(5, None, Call::Write(1)), timed(2, 3, Call::Read(1))]));
        let once = [write, timed(2, 3, Call::Read(1)), timed(4, 5, Call::Write(0)), timed(6, 7, Call::Read(1))];
        assert!(!ok(&once));
    }

    /// All orders, one by one: slow, and plain enough to be believed.
    fn by_hand(history: &[Timed<Call>], state: u8, left: &mut Vec<usize>) -> bool {
        if left.iter().all(|call| history[*call].end.is_none()) {
            return true;
        }
        for at in 0..left.len() {
            let call = left[at];
            let late = left.iter().any(|other| history[*other].end.is_some_and(|end| end < history[call].begin));
            if late {
                continue;
            }
            if let Some(after) = Cell::step(&state, &history[call].call) {
                left.remove(at);
                let fits = by_hand(history, after, left);
                left.insert(at, call);
                if fits {
                    return true;
                }
            }
        }
        false
    }

    #[test]
    fn agrees_with_trying_all_orders() {
        let mut random = Random::new(7);
        let mut both = [0, 0];
        for _ in 0..3_000 {
            let mut times: Vec<u64> = (0..14).collect();
            for at in (1..times.len()).rev() {
                times.swap(at, random.below(at as u64 + 1) as usize);
            }
            let history: Vec<Timed<Call>> = (0..7)
                .map(|number| {
                    let (one, other) = (times[2 * number], times[2 * number + 1]);
                    let value = random.below(3) as u8;
                    let call = if random.chance(1, 2) { Call::Write(value) } else { Call::Read(value) };
                    let end = Some(one.max(other)).filter(|_| !random.chance(1, 6));
                    timed(one.min(other), end, call)
                })
                .collect();
            let expected = by_hand(&history, 0, &mut (0..history.len()).collect());
            let found = check::<Cell>(&history, 0, 1_000_000);
            assert_eq!(found == Verdict::Linearizable, expected, "{history:?}: {found:?}");
            both[usize::from(expected)] += 1;
        }
        assert!(both[0] > 300 && both[1] > 300, "{both:?}");
    }
}
