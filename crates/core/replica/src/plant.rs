//! Planted bugs, for the checkers only: each breaks a promise of replication so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

#[cfg(feature = "plant")]
use std::cell::Cell;

/// Which promise to break on this thread's coordinators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Ask one replica less than a majority.
    pub majority_minus_one: bool,
    /// Answer reads before the replicas that differed agree.
    pub skip_read_repair: bool,
    /// Trust the rows of a page behind the end of another replica's.
    pub trust_short_reads: bool,
    /// Take the page of the first replica, whatever the digests of the others say.
    pub ignore_digests: bool,
    /// A batch whose coordinator is gone stays as it is.
    pub forget_batches: bool,
    /// A transaction is answered when it is decided, before the replicas have it.
    pub answer_when_decided: bool,
    /// A transaction that comes twice is made twice.
    pub transact_twice: bool,
    /// The leader of a consensus group reads its own replica only.
    pub read_locally: bool,
    /// Deletions are forgotten whether all replicas have them or not.
    pub purge_unrepaired: bool,
    /// Replicas are said to be equal without looking.
    pub skip_compare: bool,
    /// What is damaged is dropped, and nothing copied.
    pub mend_without_copy: bool,
    /// A cut is taken while writes go on.
    pub cut_unheld: bool,
    /// Tablets are copied in large pages and without a limit.
    pub unthrottled_copy: bool,
}

const NONE: Plants = Plants {
    majority_minus_one: false,
    skip_read_repair: false,
    trust_short_reads: false,
    ignore_digests: false,
    forget_batches: false,
    answer_when_decided: false,
    transact_twice: false,
    read_locally: false,
    purge_unrepaired: false,
    skip_compare: false,
    mend_without_copy: false,
    cut_unheld: false,
    unthrottled_copy: false,
};

#[cfg(feature = "plant")]
thread_local! {
    static PLANTS: Cell<Plants> = const { Cell::new(NONE) };
}

#[cfg(feature = "plant")]
pub fn set(plants: Plants) {
    PLANTS.with(|cell| cell.set(plants));
}

/// What is planted on this thread.
#[cfg(feature = "plant")]
pub fn get() -> Plants {
    PLANTS.with(Cell::get)
}

/// Nothing is.
#[cfg(not(feature = "plant"))]
pub const fn get() -> Plants {
    NONE
}

impl Plants {
    /// Puts one in, by its name; false if there is none of this name.
    pub fn put(&mut self, name: &str) -> bool {
        match name {
            "majority_minus_one" => self.majority_minus_one = true,
            "skip_read_repair" => self.skip_read_repair = true,
            "trust_short_reads" => self.trust_short_reads = true,
            "ignore_digests" => self.ignore_digests = true,
            "forget_batches" => self.forget_batches = true,
            "answer_when_decided" => self.answer_when_decided = true,
            "transact_twice" => self.transact_twice = true,
            "read_locally" => self.read_locally = true,
            "purge_unrepaired" => self.purge_unrepaired = true,
            "skip_compare" => self.skip_compare = true,
            "mend_without_copy" => self.mend_without_copy = true,
            "cut_unheld" => self.cut_unheld = true,
            "unthrottled_copy" => self.unthrottled_copy = true,
            _ => return false,
        }
        true
    }
}
