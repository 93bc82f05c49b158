//! (being written)

pub mod accounts;
pub mod bcrypt;
