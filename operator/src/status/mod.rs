//! The parts of a report that all kinds share: conditions and events.

pub(crate) mod conditions;
pub(crate) mod events;
