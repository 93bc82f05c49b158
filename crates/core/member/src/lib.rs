//! Who is in the cluster and who seems alive: gossip with failure suspicion, as a machine without IO. It decides nothing.
