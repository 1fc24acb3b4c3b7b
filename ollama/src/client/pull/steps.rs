//! The steps of a pull, as Ollama reports them: the latest line of each.

use serde::{Deserialize, Serialize};

use super::PullEvent;

/// Maximum number of steps. A model has a few layers, and one made of many tensors some thousand.
const MAX_STEPS: usize = 256;
/// The status of the last line of a pull.
const SUCCESS: &str = "success";

/// A step of a pull: a layer, or another action. It serializes to a line of Ollama's response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullStep {
    /// The action, such as `pulling manifest` or `pulling 797b70c4edf8`.
    pub status: String,
    /// The digest of the layer, `sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Size of the layer, in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub total: u64,
    /// Bytes received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub completed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl PullStep {
    /// The step that a pull ends with.
    #[must_use]
    pub fn success() -> Self {
        Self::action(SUCCESS)
    }

    fn action(status: &str) -> Self {
        Self { status: status.to_owned(), digest: None, total: 0, completed: 0 }
    }
}

/// The steps of a pull, in the order of their first lines.
///
/// Keeps at most 256 steps: the first ones of a longer pull are dropped. No figure decreases, even
/// if a later attempt starts again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PullSteps(Vec<PullStep>);

impl PullSteps {
    /// Returns the steps in order.
    pub fn iter(&self) -> impl Iterator<Item = &PullStep> {
        self.0.iter()
    }

    /// Applies an event.
    pub fn update(&mut self, event: &PullEvent) {
        let step = match event {
            PullEvent::Status(status) => PullStep::action(status),
            PullEvent::Layer { digest, completed, total } => PullStep {
                status: format!("pulling {}", short_digest(digest)),
                digest: Some(digest.clone()),
                total: *total,
                completed: *completed,
            },
            PullEvent::Success => PullStep::success(),
        };
        if let Some(known) = self.0.iter_mut().find(|known| known.status == step.status) {
            known.total = known.total.max(step.total);
            known.completed = known.completed.max(step.completed);
            return;
        }
        if self.0.len() == MAX_STEPS {
            self.0.remove(0);
        }
        self.0.push(step);
    }

    /// Returns the steps that are new or have changed since `earlier`, in order.
    pub fn changed_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a PullStep> {
        self.0.iter().filter(|step| !earlier.0.contains(step))
    }

    /// Returns the events that lead to these steps, for another sum of the same pull.
    pub fn layers(&self) -> impl Iterator<Item = PullEvent> {
        self.0.iter().filter_map(|step| {
            let digest = step.digest.clone()?;
            Some(PullEvent::Layer { digest, completed: step.completed, total: step.total })
        })
    }
}

/// Returns the 12 digits by which Ollama prints a digest.
fn short_digest(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(digit: char, completed: u64) -> PullEvent {
        PullEvent::Layer { digest: format!("sha256:{}", digit.to_string().repeat(64)), completed, total: 100 }
    }

    fn lines<'a>(steps: impl Iterator<Item = &'a PullStep>) -> Vec<String> {
        steps.map(|step| serde_json::to_string(step).expect("JSON")).collect()
    }

    fn steps(events: &[PullEvent]) -> PullSteps {
        let mut steps = PullSteps::default();
        for event in events {
            steps.update(event);
        }
        steps
    }

    #[test]
    fn steps_have_the_form_of_ollamas_lines() {
        let manifest = PullEvent::Status("pulling manifest".to_owned());
        let steps = steps(&[manifest, layer('a', 0), layer('b', 7), layer('b', 100), PullEvent::Success]);
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let expected = [
            r#"{"status":"pulling manifest"}"#.to_owned(),
            format!(r#"{{"status":"pulling aaaaaaaaaaaa","digest":"sha256:{a}","total":100}}"#),
            format!(r#"{{"status":"pulling bbbbbbbbbbbb","digest":"sha256:{b}","total":100,"completed":100}}"#),
            r#"{"status":"success"}"#.to_owned(),
        ];
        assert_eq!(lines(steps.iter()), expected);
        let stored = serde_json::to_string(&steps).expect("JSON");
        assert_eq!(serde_json::from_str::<PullSteps>(&stored).expect("steps"), steps);
    }

    #[test]
    fn only_changed_steps_are_reported_again() {
        let earlier = steps(&[layer('a', 100), layer('b', 7)]);
        let mut now = earlier.clone();
        now.update(&layer('b', 8));
        now.update(&layer('c', 0));
        let changed: Vec<_> = now.changed_since(&earlier).map(|step| step.status.as_str()).collect();
        assert_eq!(changed, ["pulling bbbbbbbbbbbb", "pulling cccccccccccc"]);
        assert_eq!(now.changed_since(&now).count(), 0);
    }

    #[test]
    fn a_second_attempt_does_not_decrease_a_figure() {
        let steps = steps(&[layer('a', 60), layer('a', 20)]);
        assert_eq!(steps.iter().map(|step| step.completed).collect::<Vec<_>>(), [60]);
    }

    #[test]
    fn the_number_of_steps_is_bounded() {
        let events: Vec<_> = (0..300).map(|number| PullEvent::Status(format!("step {number}"))).collect();
        let steps = steps(&events);
        assert_eq!(steps.iter().count(), MAX_STEPS);
        assert_eq!(steps.iter().last().map(|step| step.status.as_str()), Some("step 299"));
    }
}
