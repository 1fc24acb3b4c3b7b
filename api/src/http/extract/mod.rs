//! Extractors of the management API. A handler checks the caller's permission first, and reads the
//! query and the body afterwards.

pub(crate) mod deserialize;
mod lazy_body;
mod params;
mod revalidate;
mod unique_keys;

pub(crate) use lazy_body::{LazyBody, NoBody};
pub(crate) use params::{Id, NoQuery, Query, within};
pub(crate) use revalidate::Revalidate;
