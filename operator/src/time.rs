//! Times as the Kubernetes API writes them.

use k8s_openapi::jiff;
use paddock_store::clock::Timestamp;

/// A time of the Kubernetes API. It has whole seconds.
pub(crate) type K8sTime = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Converts a time to the Kubernetes form, rounded down to the second.
pub(crate) fn to_k8s_time(time: Timestamp) -> K8sTime {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::from_second(time.seconds()).unwrap_or_default(),
    )
}

/// Converts a time of the Kubernetes API.
pub(crate) fn from_k8s_time(time: &K8sTime) -> Timestamp {
    Timestamp::from_micros(time.0.as_microsecond())
}
