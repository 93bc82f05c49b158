//! Where tablets live: the ring of slots, zones respected, and the steps that change it. Pure functions of their inputs.
