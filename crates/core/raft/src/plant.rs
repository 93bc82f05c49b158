//! Planted bugs, for the checkers only: each breaks a promise of the protocol so that a run can show that it would be
//! noticed. Behind the cargo feature `plant`; without it the questions below are constants and the code is gone.

use crate::options::Options;

/// Which promise to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// Elect and commit with one voter less than a majority.
    pub quorum_minus_one: bool,
    /// Send votes before they are durable: a forgotten promise.
    pub vote_forgotten: bool,
    /// Commit entries of older terms by counting copies (figure 8 of the paper).
    pub commit_older_terms: bool,
    /// Answer reads without a round of heartbeats: a lease held too long.
    pub read_without_round: bool,
}

#[cfg(feature = "plant")]
pub(crate) fn plants(options: &Options) -> Plants {
    options.plants
}

#[cfg(not(feature = "plant"))]
pub(crate) const fn plants(_: &Options) -> Plants {
    Plants { quorum_minus_one: false, vote_forgotten: false, commit_older_terms: false, read_without_round: false }
}
