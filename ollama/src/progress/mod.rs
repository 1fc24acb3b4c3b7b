//! The progress of a pull, summed over its layers.

use std::collections::HashMap;

use crate::client::PullEvent;

/// How far a pull has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// 0 to 100; 100 only after success.
    pub percent: u8,
    /// Bytes that have arrived, over all layers seen.
    pub completed_bytes: u64,
    /// Bytes of all layers seen; Ollama tells of a layer only when it begins it, so this grows.
    pub total_bytes: u64,
}

/// Sums the events of a pull. No figure it gives ever goes backwards, not even over a second attempt.
#[derive(Debug, Clone, Default)]
pub struct PullProgress {
    layers: HashMap<String, Layer>,
    reported: Progress,
}

#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    completed: u64,
    total: u64,
}

impl PullProgress {
    /// Starts where an earlier pull of the same model had come to: Ollama keeps what has arrived.
    #[must_use]
    pub fn resume(reported: Progress) -> Self {
        Self { layers: HashMap::new(), reported }
    }

    /// Takes one event and returns the progress after it.
    pub fn update(&mut self, event: &PullEvent) -> Progress {
        match event {
            PullEvent::Status(_) => {}
            PullEvent::Layer { digest, completed, total } => {
                let layer = self.layers.entry(digest.clone()).or_default();
                layer.total = layer.total.max(*total);
                layer.completed = layer.completed.max(*completed).min(layer.total);
                self.sum();
            }
            PullEvent::Success => {
                let reported = &mut self.reported;
                reported.completed_bytes = reported.completed_bytes.max(reported.total_bytes);
                reported.percent = 100;
            }
        }
        self.reported
    }

    /// The progress after the last event.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.reported
    }

    fn sum(&mut self) {
        let (mut completed, mut total) = (0_u64, 0_u64);
        for layer in self.layers.values() {
            completed = completed.saturating_add(layer.completed);
            total = total.saturating_add(layer.total);
        }
        let reported = &mut self.reported;
        reported.completed_bytes = reported.completed_bytes.max(completed);
        reported.total_bytes = reported.total_bytes.max(total);
        // Not 100: verifying and writing the manifest are still to come, and may fail.
        let percent = u128::from(completed) * 100 / u128::from(total.max(1));
        let percent = u8::try_from(percent.min(99)).expect("at most 99");
        reported.percent = reported.percent.max(percent);
    }
}

#[cfg(test)]
mod tests;
