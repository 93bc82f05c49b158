//! The services of this binary: one line each. Numbers are stored in data directories and never change their meaning.

use crate::memory::MemoryShares;
use crate::settings::Settings;
use holon_base::ServiceId;
use holon_kernel::{Service, Shard};
use holon_metadata::Metadata;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a service is made from, on each shard.
pub struct ServiceContext<'a> {
    pub shard: &'a Rc<Shard>,
    pub metadata: &'a Rc<Metadata>,
    pub settings: &'a Settings,
    pub shares: MemoryShares,
}

pub struct Registration {
    pub id: ServiceId,
    /// The name of its door, and the key of the setting that moves it.
    pub door: &'static str,
    pub door_key: &'static str,
    pub door_address: fn(&Settings) -> SocketAddr,
    pub make: fn(&ServiceContext<'_>) -> Rc<dyn Service>,
}

pub const SERVICES: &[Registration] = &[];
