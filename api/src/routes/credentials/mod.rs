//! API keys: one file for each operation.

pub(super) mod change;
pub(super) mod end_grace;
pub(super) mod issue;
pub(super) mod list;
pub(super) mod revoke;
pub(super) mod revoke_many;
pub(super) mod rotate;
pub(super) mod show;
mod view;
