//! Bugs put in on purpose, of all crates that have some, by name.

use holon_kernel::plant as kernel;
use holon_replica::plant as replica;
use holon_store::plant as store;

#[derive(Clone, Copy, Debug, Default)]
pub struct Plants {
    kernel: kernel::Plants,
    store: store::Plants,
    replica: replica::Plants,
}

impl Plants {
    /// From a comma-separated list.
    ///
    /// # Errors
    /// The name that is not one.
    pub fn parse(list: &str) -> Result<Plants, String> {
        let mut plants = Plants::default();
        let mut of_store = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "accept_old_maps" => plants.kernel.accept_old_maps = true,
                "ignore_clocks" => plants.kernel.ignore_clocks = true,
                "trust_own_clock" => plants.kernel.trust_own_clock = true,
                "skip_gates" => plants.kernel.skip_gates = true,
                name if plants.replica.put(name) => {}
                name => of_store.push(name),
            }
        }
        plants.store = store::Plants::parse(&of_store.join(","))?;
        Ok(plants)
    }

    /// From now on, on this thread, these and no others.
    pub fn set(self) {
        kernel::set(self.kernel);
        store::set(self.store);
        replica::set(self.replica);
    }
}
