//! An API server that answers from a table, and records the requests.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use http_body::Body as _;
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A request that the mock has received.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// The method and the path, such as `PATCH /apis/paddock.dev/v1alpha1/.../ada/status`.
    pub(super) line: String,
    pub(super) body: Value,
}

/// The mock. By default it returns its object, with the finalizers and the status that a request
/// sets.
#[derive(Clone, Default)]
pub(super) struct MockApiServer {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    object: Value,
    received: Vec<Received>,
    /// The end of a request line, and its answer.
    answers: Vec<(String, u16, Value)>,
}

impl MockApiServer {
    /// Sets the object.
    pub(super) fn set_object(&self, object: Value) {
        self.state.lock().object = object;
    }

    /// Answers requests whose line ends so.
    pub(super) fn answer(&self, line_end: &str, status: u16, body: Value) {
        self.state.lock().answers.push((line_end.to_owned(), status, body));
    }

    /// Returns the requests so far, without events, and forgets them.
    pub(super) fn take(&self) -> Vec<Received> {
        let mut received = std::mem::take(&mut self.state.lock().received);
        received.retain(|request| !request.line.ends_with("/events"));
        received
    }

    /// Returns a client of the mock.
    pub(super) fn client(&self) -> Client {
        let state = Arc::clone(&self.state);
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(respond(&state, request).await) }
        });
        Client::new(service, "default")
    }
}

async fn respond(state: &Mutex<State>, request: Request<Body>) -> Response<Body> {
    let line = format!("{} {}", request.method(), request.uri().path());
    let body = read(request.into_body()).await;
    let mut state = state.lock();
    state.received.push(Received { line: line.clone(), body: body.clone() });
    let answer = state.answers.iter().find(|(end, ..)| line.ends_with(end));
    let changed = || {
        let mut object = state.object.clone();
        for pointer in ["/metadata/finalizers", "/status"] {
            if let (Some(value), Some(field)) = (body.pointer(pointer), object.pointer_mut(pointer)) {
                *field = value.clone();
            }
        }
        object
    };
    let (status, mut answer) = answer.map_or_else(|| (200, changed()), |(_, status, body)| (*status, body.clone()));
    if status == 200 {
        answer["metadata"]["resourceVersion"] = "2".into();
    } else {
        answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                        "message": answer, "reason": "Mocked"});
    }
    let bytes = serde_json::to_vec(&answer).expect("JSON");
    Response::builder().status(status).body(Body::from(bytes)).expect("a valid response")
}

async fn read(mut body: Body) -> Value {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        bytes.extend(frame.into_data().unwrap_or_default());
    }
    serde_json::from_slice(&bytes).unwrap_or_default()
}
