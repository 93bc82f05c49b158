//! Bytes: what is written is read, hostile bytes are refused without a panic, and today's bytes stay readable.

use bytes::Bytes;
use holon_base::{GroupId, NodeId, TabletId, crc32c};
use holon_placement::{
    ChangeKind, DecodeError, Entry, GroupPlacement, NodeInfo, Refused, Replication, Ring, RingError, Topology,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn node(number: u128) -> NodeId {
    NodeId((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

/// Two data centres, grown, split and shrunk.
fn sample() -> Topology {
    let place = |number: u128| NodeInfo::new(&format!("dc{}", number / 8), &format!("r{}", number % 3), 4);
    let mut ring = Ring::first(node(0), place(0)).unwrap();
    for number in 1..12 {
        ring = ring.with_slots(ring.slots_wanted()).unwrap();
        ring = ring.with_node(node(number), place(number)).unwrap();
    }
    let mut topology = Topology::of_ring(ring.without(node(4)).unwrap());
    for (index, entry) in entries(place(2)).into_iter().enumerate() {
        topology.apply(index as u64 + 1, &entry).unwrap();
    }
    topology
}

fn entries(info: NodeInfo) -> Vec<Entry> {
    let factors = BTreeMap::from([("dc0".to_string(), 3), ("dc1".to_string(), 2)]);
    let network = Replication::NetworkTopology { factors };
    vec![
        Entry::CreateGroup {
            group: GroupId(7),
            placement: GroupPlacement { replication: network.clone(), tablets: 64 },
        },
        Entry::CreateGroup {
            group: GroupId(8),
            placement: GroupPlacement { replication: Replication::Everywhere, tablets: 1 },
        },
        Entry::Start(ChangeKind::Join { node: node(77), info }),
        Entry::Streamed { tablet: TabletId::new(GroupId(8), 0), node: node(77), since: 3 },
        Entry::Switched { tablet: TabletId::new(GroupId(8), 0), node: node(1), since: 300 },
        Entry::Cleaned { tablet: TabletId::new(GroupId(8), 0), node: node(2), since: u64::MAX },
        Entry::Forget { node: node(3) },
        Entry::Cancel { started: 3 },
    ]
}

#[test]
fn what_is_written_is_read() {
    let topology = sample();
    assert_eq!(Topology::decode(topology.encode()), Ok(topology.clone()));
    assert_eq!(Ring::decode(topology.ring().encode()).as_ref(), Ok(topology.ring()));
    let info = NodeInfo::new("dc0", "r1", 3);
    let groups = BTreeMap::from([(GroupId(7), Replication::Local), (GroupId(9), Replication::Simple { factor: 2 })]);
    let more = [
        ChangeKind::Drain { node: node(1) },
        ChangeKind::Replace { dead: node(1), new: node(2), info: info.clone() },
        ChangeKind::Relocate { node: node(1), info: info.clone() },
        ChangeKind::SetReplication { groups },
        ChangeKind::Split { slots: 1024 },
    ];
    let removed = [Entry::RemoveGroup { group: GroupId(7) }];
    for entry in entries(info).into_iter().chain(more.map(Entry::Start)).chain(removed) {
        assert_eq!(Entry::decode(entry.encode()), Ok(entry.clone()));
        for cut in 0..entry.encode().len() {
            assert!(Entry::decode(entry.encode().slice(..cut)).is_err(), "{entry:?} cut at {cut}");
        }
    }
}

/// Every node computes the same ring, in every version: a difference here needs a new version of the entries.
#[test]
fn rings_and_snapshots_are_what_they_were() {
    let topology = sample();
    let ring = topology.ring().encode();
    assert_eq!((ring.len(), crc32c(&ring)), RING);
    let snapshot = topology.encode();
    assert_eq!((snapshot.len(), crc32c(&snapshot)), SNAPSHOT);
}

const RING: (usize, u32) = (790, 2791238692);
const SNAPSHOT: (usize, u32) = (2561, 1378521014);

#[test]
fn newer_versions_and_impossible_values_are_told_apart() {
    for decoded in [
        Ring::decode(Bytes::from_static(&[9])).map(drop),
        Topology::decode(Bytes::from_static(&[9])).map(drop),
        Entry::decode(Bytes::from_static(&[9])).map(drop),
    ] {
        assert_eq!(decoded, Err(DecodeError::Version(9)));
    }
    let mut topology = sample();
    let placement = GroupPlacement { replication: Replication::Simple { factor: 0 }, tablets: 1 };
    let create = |group: u64, placement: &GroupPlacement| Entry::CreateGroup {
        group: GroupId(group),
        placement: placement.clone(),
    };
    assert_eq!(topology.apply(100, &create(20, &placement)), Err(Refused::InvalidPlacement));
    assert_eq!(topology.apply(99, &create(20, &placement)), Err(Refused::Old(99)));
    let one = GroupPlacement { replication: Replication::Simple { factor: 1 }, tablets: 1 };
    assert_eq!(topology.apply(101, &create(u64::MAX, &one)), Err(Refused::InvalidPlacement));
    let ring = topology.ring().clone();
    assert_eq!(ring.without(node(55)), Err(RingError::Unknown(node(55))));
    assert_eq!(ring.with_slots(48), Err(RingError::Slots(48)));
    assert_eq!(ring.with_node(node(55), NodeInfo::new("", "r", 1)), Err(RingError::InvalidInfo));
    let first = Ring::first(node(0), NodeInfo::new("d", "r", 1)).unwrap();
    assert_eq!(first.without(node(0)), Err(RingError::LastNode(node(0))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn hostile_bytes_do_no_harm(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        with_sample(|snapshot, ring| {
            for bytes in [snapshot, ring] {
                let mut bytes = bytes.to_vec();
                for (index, value) in &changes {
                    let at = index.index(bytes.len());
                    bytes[at] = *value;
                }
                let cut = cut.index(bytes.len() * 4); // most are whole
                bytes.truncate(cut.max(1));
                let bytes = Bytes::from(bytes);
                if let Ok(ring) = Ring::decode(bytes.clone()) {
                    // Whatever is accepted can be used.
                    let bigger = ring.with_node(node(1000), NodeInfo::new("dc0", "r9", 1));
                    if let Ok(bigger) = bigger {
                        assert!(!bigger.tokens_of(node(1000)).is_empty());
                    }
                    ring.with_slots(ring.slots()).unwrap();
                }
                if let Ok(mut topology) = Topology::decode(bytes) {
                    let tablet = TabletId::new(GroupId(7), 3);
                    topology.replicas(tablet);
                    topology.next_work(node(77));
                    let started = topology.change().map_or(0, |change| change.started);
                    let _ = topology.apply(u64::MAX, &Entry::Cancel { started });
                    topology.replicas(tablet);
                }
            }
            let _ = Entry::decode(Bytes::from([&[1u8][..], &noise].concat()));
            let _ = Ring::decode(Bytes::from([&[1u8, 4][..], &noise].concat()));
        });
    }
}

fn with_sample(check: impl Fn(&Bytes, &Bytes)) {
    static SAMPLE: std::sync::OnceLock<(Bytes, Bytes)> = std::sync::OnceLock::new();
    let (snapshot, ring) = SAMPLE.get_or_init(|| {
        let topology = sample();
        (topology.encode(), topology.ring().encode())
    });
    check(snapshot, ring);
}
