//! Random operations and the shadow model that predicts their results.
