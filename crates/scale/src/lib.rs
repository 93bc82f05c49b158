//! How the cluster's machines grow with the number of nodes: gossip and placement, the code that nodes run, at sizes
//! from ten to 75,000, in one thread.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`world`] | many gossip machines on a modelled network |
//! | [`gossip`] | crashes, joins and idle time in such a world, as figures |
//! | [`memory`] | what one node keeps of the cluster |
//! | [`placement`] | how even the ring is and what a join moves |
//! | [`report`], [`plot`] | the figures as tables and as a picture |
//!
//! What it is not: a measurement of real networks, processors under load or sockets; it counts what the machines send
//! and when they know. `docs/SCALE.md` says what is modelled and what came out.

mod calendar;
pub mod figures;
pub mod gossip;
pub mod memory;
pub mod placement;
pub mod plot;
pub mod process;
pub mod report;
pub mod world;
