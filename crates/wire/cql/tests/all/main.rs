//! Tests of the whole codec through its public interface, as one binary so that they link once.

mod fixtures;
mod framing;
mod hostile;
mod oracle;
mod round_trip;
mod strategies;
mod values;
