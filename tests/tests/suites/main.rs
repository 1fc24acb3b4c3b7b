//! The suites of Paddock, one module each, in one executable so that they are linked once.

mod api;
mod commands;
mod e2e;
mod gateway;
mod operator;
mod store;
mod testbed;
