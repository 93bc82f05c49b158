//! Sessions of the CQL protocol, one file a request.
