//! The suites of Paddock, one module each, in one executable so that they are linked once.

mod api;
mod bench;
mod clients;
mod commands;
mod contract;
mod deploy;
mod documentation;
mod e2e;
mod faults;
mod gateway;
mod migrations;
mod models;
mod operator;
mod shared_limits;
mod store;
mod testbed;
mod web;

/// The allocator of the executable, so that allocations take the same time here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
