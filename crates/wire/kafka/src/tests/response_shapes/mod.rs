//! The shapes of the answers, as Kafka describes them, field by field, without tagged fields that have a meaning.

mod admin;
mod data;

use crate::apis::Api;
use crate::shape::Shape;

/// Of all but Produce and Fetch.
pub(super) fn all() -> impl Iterator<Item = (Api, Shape)> {
    data::SHAPES.iter().chain(admin::SHAPES).copied()
}
