//! The tablet map of one node: which groups of tablets exist. Where a tablet lives follows from its id
//! ([`TabletId::shard`]); with many nodes the map will also say on which.

use holon_base::{GroupId, ServiceId, TabletId};
use holon_kernel::{MetadataEffect, TabletDescriptor};
use std::collections::BTreeMap;

/// The tablets of one table (topic, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: GroupId,
    pub service: ServiceId,
    pub tablets: u32,
}

impl Group {
    pub fn descriptors(self) -> impl Iterator<Item = TabletDescriptor> {
        (0..self.tablets).map(move |ordinal| TabletDescriptor {
            id: TabletId::new(self.id, ordinal),
            service: self.service,
            group: self.id,
            ordinal,
            count: self.tablets,
        })
    }
}

#[derive(Default)]
pub(crate) struct TabletMap {
    groups: BTreeMap<GroupId, Group>,
}

impl TabletMap {
    /// Applies what a service made of the entry at `index`; gives what was added and what was removed.
    pub(crate) fn apply(
        &mut self,
        index: u64,
        service: ServiceId,
        effect: &MetadataEffect,
    ) -> (Option<Group>, Vec<Group>) {
        let removed = effect.remove_groups.iter().filter_map(|id| match self.groups.get(id) {
            Some(group) if group.service == service => self.groups.remove(id),
            _ => None, // of another service, or gone: a service disposes of its own groups only
        });
        let removed = removed.collect();
        let made = effect.create_tablets.as_ref();
        let added = made.map(|made| Group { id: GroupId(index), service, tablets: made.count });
        if let Some(group) = added {
            self.groups.insert(group.id, group);
        }
        (added, removed)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = Group> {
        self.groups.values().copied()
    }
}
