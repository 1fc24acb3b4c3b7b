//! When each watch last heard from the API server.
//!
//! A watch receives at least a bookmark every minute. The watcher of `kube` hides bookmarks, so a
//! layer below the client observes the bytes of the responses.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::{Layer, Service};

/// What a watch observes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchName {
    /// The plural name of the resource, such as `apikeys`. Of a watch for objects with a label, also
    /// the label: two watches of Secrets differ only in it.
    pub(crate) resource: String,
    /// The watched namespace. `None` stands for all.
    pub(crate) namespace: Option<String>,
}

impl WatchName {
    pub(crate) fn new(resource: &str, label: Option<&str>, namespace: Option<&str>) -> Self {
        let resource = label.map_or_else(|| resource.to_owned(), |label| format!("{resource} with {label}"));
        Self { resource, namespace: namespace.map(str::to_owned) }
    }

    /// Returns the watch that a request lists or watches for. `None` for other requests.
    fn of_request<B>(request: &Request<B>) -> Option<Self> {
        if request.method() != Method::GET {
            return None;
        }
        let segments: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let below_version = match segments[..] {
            ["api", _, ..] => &segments[2..],
            ["apis", _, _, ..] => &segments[3..],
            _ => return None,
        };
        let label = request.uri().query().and_then(selecting_label);
        match *below_version {
            ["namespaces", namespace, resource] => Some(Self::new(resource, label.as_deref(), Some(namespace))),
            [resource] => Some(Self::new(resource, label.as_deref(), None)),
            _ => None,
        }
    }
}

/// Returns the label of a selector `label=true` in a query that the client of `kube` has encoded.
fn selecting_label(query: &str) -> Option<String> {
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector="))?;
    let (label, _) = selector.split_once("%3D")?;
    Some(label.replace("%2F", "/"))
}

/// The time of the last event, bookmark or list of each running watch. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchActivity(Arc<Mutex<BTreeMap<WatchName, Instant>>>);

impl WatchActivity {
    /// Starts to measure the age of the watch.
    pub(crate) fn start(&self, name: WatchName) {
        self.start_at(name, Instant::now());
    }

    /// Starts to measure the age of a watch that last heard something at this time.
    pub(crate) fn start_at(&self, name: WatchName, last: Instant) {
        self.0.lock().insert(name, last);
    }

    /// Forgets all watches, because they have stopped.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Returns how long each watch has been silent.
    pub(crate) fn ages(&self) -> Vec<(WatchName, Duration)> {
        self.0.lock().iter().map(|(name, last)| (name.clone(), last.elapsed())).collect()
    }

    /// Returns the watch that has been silent for the longest time, and for how long.
    pub(crate) fn oldest(&self) -> Option<(WatchName, Duration)> {
        self.ages().into_iter().max_by_key(|(_, age)| *age)
    }

    fn note(&self, name: &WatchName) {
        if let Some(last) = self.0.lock().get_mut(name) {
            *last = Instant::now();
        }
    }
}

/// Observes the responses of a client.
#[derive(Clone, Debug)]
pub(crate) struct ObserveWatches(pub(crate) WatchActivity);

impl<S> Layer<S> for ObserveWatches {
    type Service = ObservedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObservedService { inner, activity: self.0.clone() }
    }
}

/// The service below [`ObserveWatches`].
#[derive(Clone, Debug)]
pub(crate) struct ObservedService<S> {
    inner: S,
    activity: WatchActivity,
}

impl<S, Q, R> Service<Request<Q>> for ObservedService<S>
where
    S: Service<Request<Q>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let watch = WatchName::of_request(&request).map(|name| (self.activity.clone(), name));
        let response = self.inner.call(request);
        async move {
            let response = response.await?;
            // A client error is an answer, too: the watch hears why it may not watch.
            if let Some((activity, name)) = &watch
                && !response.status().is_server_error()
            {
                activity.note(name);
            }
            Ok(response.map(|inner| ObservedBody { inner, watch }))
        }
        .boxed()
    }
}

/// A response body that notes each frame of a watch.
#[derive(Debug)]
pub(crate) struct ObservedBody<B> {
    inner: B,
    watch: Option<(WatchActivity, WatchName)>,
}

impl<B: Body + Unpin> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(Some(Ok(_))), Some((activity, name))) = (&polled, &self.watch) {
            activity.note(name);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready};

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/apis/paddock.dev/v1alpha1/namespaces/a/apikeys?watch=true", Some(("apikeys", Some("a"))))]
    #[case("/apis/paddock.dev/v1alpha1/apikeys?limit=500", Some(("apikeys", None)))]
    #[case("/api/v1/namespaces/a/secrets?watch=true", Some(("secrets", Some("a"))))]
    #[case(
        "/api/v1/secrets?&labelSelector=paddock.dev%2Fmanaged%3Dtrue&watch=true",
        Some(("secrets with paddock.dev/managed", None))
    )]
    #[case("/api/v1/namespaces/a/secrets/secrets", None)]
    #[case("/api/v1/namespaces/kube-system", None)]
    #[case("/readyz", None)]
    fn the_watch_of_a_request(#[case] uri: &str, #[case] expected: Option<(&str, Option<&str>)>) {
        let request = Request::get(uri).body(()).unwrap();
        let expected = expected.map(|(resource, namespace)| WatchName::new(resource, None, namespace));
        assert_eq!(WatchName::of_request(&request), expected);
        assert_eq!(WatchName::of_request(&Request::post(uri).body(()).unwrap()), None);
    }

    #[tokio::test]
    async fn only_answers_reset_the_age_of_a_watch() {
        const AGE: Duration = Duration::from_secs(5);
        let activity = WatchActivity::default();
        let name = WatchName::new("apikeys", None, None);
        activity.start_at(name.clone(), Instant::now() - AGE);
        let age_after = async |status: u16| {
            let inner = tower::service_fn(move |_: Request<()>| {
                ready(Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap()))
            });
            let request = Request::get("/apis/paddock.dev/v1alpha1/apikeys?watch=true").body(()).unwrap();
            let _ = ObserveWatches(activity.clone()).layer(inner).call(request).await;
            activity.oldest().unwrap().1
        };
        assert!(age_after(500).await >= AGE);
        assert!(age_after(403).await < AGE);
        assert_eq!(activity.oldest().unwrap().0, name);
        activity.clear();
        assert_eq!(activity.oldest(), None);
    }
}
