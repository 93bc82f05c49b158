//! Carries out what a change of topology asks of this node: on shard 0, which sends each tablet's part to the shard that has
//! it, and reports to the log when it is done.
//!
//! ```text
//!   entry applied ─▶ Topology::next_work ─▶ fill | switch | clean on the tablet's shard ─▶ report proposed
//! ```
//!
//! Nothing of it is remembered: whoever starts again asks again, and does again what was not reported. So a node may be
//! killed at any moment.

use crate::cluster_command::ClusterCommand;
use crate::limits::{FILLS_MAX, WORK_PAUSE, WORK_TIMEOUT};
use crate::service::{CLEAN, FILL, METADATA_SERVICE, Metadata};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput, TabletId};
use holon_kernel::{Address, CallError, Class, Fill, Scope, Target};
use holon_placement::Work;
use std::collections::BTreeSet;

/// What is under way: the tablet, and which kind of work.
pub(crate) type UnderWay = BTreeSet<(TabletId, u8)>;

fn kind(work: &Work) -> (TabletId, u8) {
    match work {
        Work::Stream { tablet, .. } => (*tablet, 0),
        Work::Switch { tablet, .. } => (*tablet, 1),
        Work::Clean { tablet, .. } => (*tablet, 2),
    }
}

impl Metadata {
    /// Shard 0: there may be work.
    pub(crate) fn moves_changed(&self) {
        self.members_ticket.take().into_iter().for_each(|completer| completer.complete(()));
        if !self.running.get() {
            return;
        }
        let work = match self.cluster.borrow().topology() {
            Some(topology) => topology.next_work(self.shard.node()),
            None => return,
        };
        for work in work {
            let kind = kind(&work);
            let fills = self.under_way.borrow().iter().filter(|(_, kind)| *kind == 0).count();
            if kind.1 == 0 && fills >= FILLS_MAX || !self.under_way.borrow_mut().insert(kind) {
                continue;
            }
            let me = self.me();
            self.shard.spawn(Scope::Node, Class::Foreground, async move {
                let done = me.carry_out(&work).await;
                if let Err(reason) = done {
                    me.tell(format!("tablet {} is not moved yet ({reason}); trying again", kind.0));
                    me.shard.sleep(WORK_PAUSE).await;
                }
                me.under_way.borrow_mut().remove(&kind);
                // Whatever was left out, or came back, is looked at anew.
                me.moves_changed();
            });
        }
    }

    async fn carry_out(&self, work: &Work) -> Result<(), String> {
        // While the tablets of an entry are opened the machine has it, and this shard does not show it yet. What it asks
        // for waits: a source that is asked by the map from before answers while it still takes writes by that map.
        let (node, index) = (self.shard.node(), self.applied().max(work.since()));
        match work {
            Work::Stream { tablet, sources, enough, instead_of, .. } => {
                let payload = encode_fill(index, *tablet, sources, *enough, *instead_of);
                self.ask_tablets_shard(*tablet, FILL, payload).await?;
            }
            Work::Switch { .. } => {
                // Each shard refuses from here on what was routed by an older map.
                self.settle_at(index).await.map_err(|error| error.to_string())?;
            }
            Work::Clean { tablet, .. } => {
                let mut payload = ByteWriter::new();
                payload.put_u64(index);
                payload.put_u64(tablet.0);
                self.ask_tablets_shard(*tablet, CLEAN, payload.freeze()).await?;
            }
        }
        // For a phase that is over meanwhile it counts for nothing.
        let report = work.report(node);
        let command = ClusterCommand::Placement(report).encode();
        // Refused: it was reported before. Not answered: it is looked at anew.
        let proposed = self.commit(METADATA_SERVICE, command).await;
        proposed.map(|_| ()).ok_or_else(|| "the metadata group does not answer".to_string())
    }

    async fn ask_tablets_shard(
        &self,
        tablet: TabletId,
        verb: holon_kernel::Verb,
        payload: Bytes,
    ) -> Result<(), String> {
        let to = Address { node: self.shard.node(), shard: tablet.shard(self.shard.shards()) };
        let deadline = self.shard.now() + WORK_TIMEOUT;
        match self.shard.call(to, Target::Service(METADATA_SERVICE), verb, payload, deadline).await {
            Ok(_) => Ok(()),
            Err(CallError::Failed(reason)) => Err(String::from_utf8_lossy(&reason).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// On the tablet's shard.
    pub(crate) async fn fill_here(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let failed = |text: String| CallError::Failed(Bytes::from(text));
        let (index, tablet, fill) = decode_fill(payload).map_err(|short| failed(short.to_string()))?;
        self.wait_applied(index).await;
        let Some(descriptor) = self.cluster.borrow().descriptor(tablet) else { return Err(CallError::NotHere) };
        let service = self.shard.service(descriptor.service).ok_or(CallError::NotHere)?;
        let fill = Fill { tablet: descriptor, ..fill };
        let (change, progress) = self.copy_begins(tablet);
        let filled = service.fill_tablet(fill, progress).await;
        self.copy_ends(change, tablet, filled.is_ok());
        filled.map(|()| Bytes::new()).map_err(failed)
    }

    /// On the tablet's shard.
    pub(crate) async fn clean_here(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let bad = |short: ShortInput| CallError::Failed(Bytes::from(short.to_string()));
        let mut input = ByteReader::new(payload);
        let (index, tablet) = (input.u64().map_err(bad)?, TabletId(input.u64().map_err(bad)?));
        self.wait_applied(index).await;
        // It may have come back meanwhile.
        let gone = if self.is_held_here(tablet) { None } else { self.cluster.borrow().descriptor(tablet) };
        if let Some(descriptor) = gone {
            self.remove_tablet(descriptor).await;
        }
        Ok(Bytes::new())
    }
}

fn encode_fill(index: u64, tablet: TabletId, sources: &[NodeId], enough: usize, instead_of: Option<NodeId>) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u64(index);
    out.put_u64(tablet.0);
    out.put_varint(enough as u64);
    out.put_u128(instead_of.map_or(0, |node| node.0));
    out.put_varint(sources.len() as u64);
    sources.iter().for_each(|node| out.put_u128(node.0));
    out.freeze()
}

fn decode_fill(payload: Bytes) -> Result<(u64, TabletId, Fill), ShortInput> {
    let mut input = ByteReader::new(payload);
    let (index, tablet) = (input.u64()?, TabletId(input.u64()?));
    let (enough, instead_of) = (input.varint()? as usize, input.u128()?);
    let count = input.count()?;
    let sources = (0..count).map(|_| input.u128().map(NodeId)).collect::<Result<Vec<_>, _>>()?;
    let placeless = holon_kernel::TabletDescriptor {
        id: tablet,
        service: holon_base::ServiceId(0),
        group: holon_base::GroupId(0),
        ordinal: 0,
        count: 0,
    };
    let instead_of = (instead_of != 0).then_some(NodeId(instead_of));
    Ok((index, tablet, Fill { tablet: placeless, sources, enough, instead_of }))
}
