//! Paddock's test harness: the real servers of the testbed, stand-ins that can be told what to do, and what the suites of this crate are written with.
//!
//! A test is a [`story::story`]; it asks for the servers it needs, such as [`postgres::Postgres::shared`], and is skipped by name where the testbed lacks one.

pub mod bench;
pub mod database;
pub mod demo;
pub mod disk;
pub mod eventually;
pub mod fake_ollama;
pub mod flood;
pub mod kubernetes;
pub mod nginx;
pub mod ollama;
pub mod paddock;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod registry;
pub mod release;
pub mod sentinel;
pub mod servers;
pub mod shared;
pub mod story;
pub mod testbed;
pub mod usage;
pub mod way;
pub mod workload;
