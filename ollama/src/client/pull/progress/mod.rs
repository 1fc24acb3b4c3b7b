//! Progress of a pull, summed over the layers of the model.

use std::collections::HashMap;

use crate::client::PullEvent;

/// The progress of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Percentage from 0 to 100. It is 100 only after success.
    pub percent: u8,
    /// Bytes received, over all known layers.
    pub completed_bytes: u64,
    /// Size of all known layers, in bytes. It grows, because Ollama reports a layer only when it
    /// begins to pull it.
    pub total_bytes: u64,
}

/// Sums the events of a pull. No figure ever decreases, even if a later attempt starts again.
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
    /// Continues a pull that has reported this progress, with the last event of each layer.
    #[must_use]
    pub fn resume(reported: Progress, layers: impl Iterator<Item = PullEvent>) -> Self {
        let mut resumed = Self { reported, ..Self::default() };
        layers.for_each(|layer| {
            resumed.update(&layer);
        });
        resumed
    }

    /// Applies an event and returns the new progress.
    pub fn update(&mut self, event: &PullEvent) -> Progress {
        match event {
            PullEvent::Status(_) => {}
            PullEvent::Layer { digest, completed, total } => {
                let layer = self.layers.entry(digest.clone()).or_default();
                layer.total = layer.total.max(*total);
                layer.completed = layer.completed.max(*completed).min(layer.total);
                self.update_sums();
            }
            PullEvent::Success => {
                let reported = &mut self.reported;
                reported.completed_bytes = reported.completed_bytes.max(reported.total_bytes);
                reported.percent = 100;
            }
        }
        self.reported
    }

    /// Returns the progress after the last event.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.reported
    }

    fn update_sums(&mut self) {
        let (mut completed, mut total) = (0_u64, 0_u64);
        for layer in self.layers.values() {
            completed = completed.saturating_add(layer.completed);
            total = total.saturating_add(layer.total);
        }
        let reported = &mut self.reported;
        reported.completed_bytes = reported.completed_bytes.max(completed);
        reported.total_bytes = reported.total_bytes.max(total);
        // At most 99, because Ollama still has to verify the layers and write the manifest.
        let percent = u128::from(completed) * 100 / u128::from(total.max(1));
        let percent = u8::try_from(percent.min(99)).expect("at most 99");
        reported.percent = reported.percent.max(percent);
    }
}

#[cfg(test)]
mod tests;
