//! Paddock's test harness: the real servers of the testbed, scripted stand-ins, and the helpers of
//! the suites in this crate.
//!
//! A test is a [`story::story`]. It asks for the servers it needs, such as
//! [`postgres::Postgres::shared`]. Where the testbed lacks one, the test is skipped and named.

pub mod certificates;
pub mod chaos_proxy;
pub mod database;
pub mod demo;
pub mod disk;
pub mod dns_server;
pub mod eventually;
pub mod fake_ollama;
pub mod ipv6_forwarder;
pub mod kubernetes;
pub mod login_load;
pub mod network;
pub mod nginx;
pub mod ollama;
pub mod ollama_tables;
pub mod paddock;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod random;
pub mod raw_upstream;
pub mod reaper;
pub mod recorded_answers;
pub mod recording_proxy;
pub mod redis;
pub mod registry;
pub mod release;
pub mod servers;
pub mod shared_servers;
pub mod stopped_clock;
pub mod story;
pub mod testbed;
pub mod usage_rows;
pub mod workload;
pub mod write_gate;
