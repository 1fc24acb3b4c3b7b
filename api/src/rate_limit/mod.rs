//! How many requests a minute a user and a key may make.
//!
//! Each user has one bucket for its keys and one for its sessions; each key with a limit of its own
//! has another. A request must fit into every bucket that concerns it. The buckets are checked once
//! per request, after authentication and before any work. With a Redis all replicas share the
//! buckets; without one, or while it is unavailable, each process counts in [`memory`].

mod bucket;
pub(crate) mod headers;
mod limiter;
mod memory;
pub(crate) mod quota;
mod redis;
mod script;

pub(crate) use bucket::{BUCKETS_CAPACITY, bucket_cache};
pub use bucket::{BucketKey, BucketRequest, CountedRequest};
pub(crate) use limiter::{Exceeded, RateLimiter};
pub use memory::Memory;
pub use quota::{LimitStatus, Quota};
pub(crate) use redis::RedisLimiter;
pub use script::{RedisScript, ScriptReply};
