//! Keeps one value for each backend, such as its client.

use std::sync::Arc;

use parking_lot::RwLock;

use super::BackendSource;
use crate::backend::Backend;

type Build<T> = Box<dyn Fn(&Backend) -> Option<T> + Send + Sync>;

/// One value for each backend of a source. A value is built when its backend appears, and is
/// dropped when its backend has vanished and no caller holds it any more.
pub struct PerBackend<T> {
    source: BackendSource,
    build: Build<T>,
    built: RwLock<Built<T>>,
}

struct Built<T> {
    /// The backends for which the values were built.
    backends: Arc<[Backend]>,
    /// The name of the backend of each value.
    names: Vec<String>,
    values: Arc<[Arc<T>]>,
}

impl<T> PerBackend<T> {
    /// Builds the values of the known backends. Fails if `build` does. A later failure of `build` is
    /// logged, and its backend is not used.
    pub fn new<E: std::error::Error>(
        source: BackendSource,
        build: impl Fn(&Backend) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let backends = source.current();
        let values = backends.iter().map(|backend| Ok(Arc::new(build(backend)?))).collect::<Result<_, E>>()?;
        let names = backends.iter().map(Backend::name).collect();
        let build: Build<T> = Box::new(move |backend| match build(backend) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(backend = backend.name(), %error, "cannot use a backend");
                None
            }
        });
        Ok(Self { source, build, built: RwLock::new(Built { backends, names, values }) })
    }

    /// Returns the values of the known backends.
    #[must_use]
    pub fn current(&self) -> Arc<[Arc<T>]> {
        let backends = self.source.current();
        {
            let built = self.built.read();
            if Arc::ptr_eq(&built.backends, &backends) {
                return Arc::clone(&built.values);
            }
        }
        let mut built = self.built.write();
        // Another caller may have been faster, with later backends.
        let backends = self.source.current();
        if !Arc::ptr_eq(&built.backends, &backends) {
            *built = self.rebuild(&built, backends);
        }
        Arc::clone(&built.values)
    }

    /// The source of the backends.
    #[must_use]
    pub fn source(&self) -> &BackendSource {
        &self.source
    }

    fn rebuild(&self, before: &Built<T>, backends: Arc<[Backend]>) -> Built<T> {
        let value = |backend: &Backend| {
            let name = backend.name();
            let kept = before.names.iter().position(|other| *other == name).map(|at| Arc::clone(&before.values[at]));
            Some((name, kept.or_else(|| (self.build)(backend).map(Arc::new))?))
        };
        let (names, values): (Vec<_>, Vec<_>) = backends.iter().filter_map(value).unzip();
        Built { backends, names, values: values.into() }
    }
}
