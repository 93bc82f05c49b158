//! Every bound of the service, named, with its unit and its reason.
