//! What can be tuned, and the formulas of SWIM and Lifeguard that follow from it.

use crate::limits::MESSAGE_BYTES_MIN;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// One member is probed each interval (the protocol period of SWIM).
    pub probe_interval: Duration,
    /// After so long without an answer others are asked to probe. Above the round trip of nearly all pairs.
    pub probe_timeout: Duration,
    /// How many others are asked (k of SWIM §3.1).
    pub indirect_probes: usize,
    /// The shortest suspicion lasts so many probe intervals, times log10 of the cluster's size (α of Lifeguard §IV).
    pub suspicion_multiplier: u32,
    /// The longest, unconfirmed suspicion is so many times the shortest (β of Lifeguard §IV).
    pub suspicion_max_multiplier: u32,
    /// Independent confirmations that bring a suspicion down to its shortest (K of Lifeguard §IV).
    pub suspicion_confirmations: u32,
    /// While there is news, it is sent each interval, beside riding on probes.
    pub gossip_interval: Duration,
    /// To so many members each time.
    pub gossip_fan_out: usize,
    /// A piece of news is sent so many times, times log10 of the cluster's size, by each node (λ of SWIM §4.1).
    pub retransmit_multiplier: u32,
    /// No message is longer, bytes: one datagram without fragments.
    pub message_bytes_max: usize,
    /// The whole list is compared with one random live member at start and each interval.
    pub full_sync_interval: Duration,
    /// The list is compared with one random member that seems dead, so that a healed partition merges by itself.
    pub dead_probe_interval: Duration,
    /// Highest value of the local health multiplier (S of Lifeguard §IV): a node in trouble is so much more patient.
    pub local_health_max: u32,
    /// A bug put in on purpose, to see the checkers find it. `None` outside tests.
    pub planted: Option<PlantedBug>,
}

/// Bugs the machine can be told to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A node that hears of its own death says nothing.
    RefutationDropped,
    /// Any claim is taken, however old its incarnation.
    OldClaimsTaken,
    /// Nobody compares lists with members that seem dead.
    DeadNeverProbed,
    /// A suspicion that runs out is forgotten.
    SuspicionForgotten,
    /// A machine that slept takes the time asleep for silence of the others.
    PauseIgnored,
    /// What others say of a member's death counts more than that it was heard.
    HearsayBelieved,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_probes: 3,
            suspicion_multiplier: 4,
            suspicion_max_multiplier: 6,
            suspicion_confirmations: 2,
            gossip_interval: Duration::from_millis(200),
            gossip_fan_out: 3,
            retransmit_multiplier: 4,
            message_bytes_max: 1_400,
            full_sync_interval: Duration::from_secs(30),
            dead_probe_interval: Duration::from_secs(10),
            local_health_max: 8,
            planted: None,
        }
    }
}

/// At least 1, so that small clusters are not left without any patience.
fn log10_at_least_1(members: usize) -> f64 {
    (members.max(1) as f64).log10().max(1.0)
}

impl Options {
    /// How often one node sends one piece of news.
    pub fn retransmits(&self, members: usize) -> u32 {
        (f64::from(self.retransmit_multiplier) * ((members + 1) as f64).log10().ceil()).max(1.0) as u32
    }

    /// How long a suspicion lasts before death is declared, after `confirmations` by others than the first suspect
    /// (Lifeguard §IV-B). With too few members to confirm, the shortest.
    pub fn suspicion(&self, members: usize, confirmations: usize) -> Duration {
        let shortest = self.suspicion_shortest(members).as_secs_f64();
        let wanted = self.suspicion_confirmations as usize;
        if wanted == 0 || members < wanted + 3 {
            return Duration::from_secs_f64(shortest);
        }
        let longest = shortest * f64::from(self.suspicion_max_multiplier.max(1));
        let share = ((confirmations + 1) as f64).ln() / ((wanted + 1) as f64).ln();
        Duration::from_secs_f64((longest - (longest - shortest) * share).max(shortest))
    }

    /// However many confirm it.
    pub fn suspicion_shortest(&self, members: usize) -> Duration {
        let intervals = f64::from(self.suspicion_multiplier) * log10_at_least_1(members);
        Duration::from_secs_f64(self.probe_interval.as_secs_f64() * intervals)
    }

    /// The length messages keep to.
    pub fn message_bytes(&self) -> usize {
        self.message_bytes_max.max(MESSAGE_BYTES_MIN)
    }
}
