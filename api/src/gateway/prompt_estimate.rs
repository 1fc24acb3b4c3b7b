//! Estimates the tokens of a prompt: for the reservation of the request, and for its usage if the
//! response ends before Ollama reports them. Without an estimate, a client that disconnects early
//! would never be charged for its prompt.

use std::{collections::HashMap, sync::Arc};

use paddock_ollama::{ModelName, Usage};
use parking_lot::Mutex;

/// The tokens per byte of a model without a complete request. English text has about four bytes per
/// token.
const DEFAULT_RATIO: f64 = 0.25;
/// The bounds of the tokens per byte that one request adds to the average. Without bounds, a client
/// could falsify the estimates for other clients, with text that the model does not read or count.
const RATIOS: std::ops::RangeInclusive<f64> = 0.05..=1.0;
/// The weight of the latest request in the average.
const WEIGHT: f64 = 0.2;
/// The maximum number of models with an average.
const MAX_MODELS: usize = 1024;

/// The average number of prompt tokens per byte for each model, over its complete requests.
#[derive(Clone, Debug, Default)]
pub(super) struct PromptEstimator {
    ratios: Arc<Mutex<HashMap<String, f64>>>,
}

/// The estimate of one request.
#[derive(Clone, Debug)]
pub(super) struct PromptEstimate {
    estimator: PromptEstimator,
    model: String,
    bytes: usize,
}

impl PromptEstimator {
    /// Begins the estimate of a request whose model reads `bytes` bytes.
    pub(super) fn request(&self, model: &ModelName, bytes: usize) -> PromptEstimate {
        PromptEstimate { estimator: self.clone(), model: model.as_str().to_owned(), bytes }
    }
}

impl PromptEstimate {
    /// Sets the estimated prompt tokens if Ollama reported no counts. Adds reported counts to the
    /// average of the model.
    pub(super) fn complete(&self, usage: &mut Usage) {
        if usage.is_estimated {
            usage.prompt_tokens = usage.prompt_tokens.max(self.tokens());
        } else if usage.prompt_tokens > 0 {
            self.learn(usage.prompt_tokens);
        }
    }

    /// Returns the usage of a request that was sent to Ollama, and whose response never began.
    pub(super) fn of_unanswered(&self) -> Usage {
        Usage { prompt_tokens: self.tokens(), is_estimated: true, ..Usage::default() }
    }

    /// Returns the estimated tokens of the prompt.
    #[expect(clippy::cast_precision_loss, reason = "a prompt has less than 2^52 bytes")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is small and not negative"
    )]
    pub(super) fn tokens(&self) -> u64 {
        let ratio = self.estimator.ratios.lock().get(&self.model).copied().unwrap_or(DEFAULT_RATIO);
        (self.bytes as f64 * ratio).ceil() as u64
    }

    #[expect(clippy::cast_precision_loss, reason = "a prompt has less than 2^52 bytes and tokens")]
    fn learn(&self, tokens: u64) {
        if self.bytes == 0 {
            return;
        }
        let latest = (tokens as f64 / self.bytes as f64).clamp(*RATIOS.start(), *RATIOS.end());
        let mut ratios = self.estimator.ratios.lock();
        if let Some(ratio) = ratios.get_mut(&self.model) {
            *ratio += WEIGHT * (latest - *ratio);
        } else if ratios.len() < MAX_MODELS {
            ratios.insert(self.model.clone(), latest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(estimator: &PromptEstimator, bytes: usize) -> PromptEstimate {
        estimator.request(&ModelName::parse("m").unwrap(), bytes)
    }

    #[test]
    fn a_new_model_has_the_ratio_of_english_text() {
        assert_eq!(estimate(&PromptEstimator::default(), 401).of_unanswered().prompt_tokens, 101);
    }

    #[test]
    fn estimates_follow_what_complete_requests_report() {
        let estimator = PromptEstimator::default();
        estimate(&estimator, 100).complete(&mut Usage { prompt_tokens: 50, ..Usage::default() });
        assert_eq!(estimate(&estimator, 200).of_unanswered().prompt_tokens, 100);
        for _ in 0..100 {
            estimate(&estimator, 100).complete(&mut Usage { prompt_tokens: 10, ..Usage::default() });
        }
        assert_eq!(estimate(&estimator, 1000).of_unanswered().prompt_tokens, 101);
    }

    #[test]
    fn one_request_cannot_teach_an_absurd_ratio() {
        let estimator = PromptEstimator::default();
        estimate(&estimator, 1).complete(&mut Usage { prompt_tokens: 1_000_000, ..Usage::default() });
        assert_eq!(estimate(&estimator, 1000).of_unanswered().prompt_tokens, 1000);
        let estimator = PromptEstimator::default();
        estimate(&estimator, 1_000_000).complete(&mut Usage { prompt_tokens: 1, ..Usage::default() });
        assert_eq!(estimate(&estimator, 1000).of_unanswered().prompt_tokens, 50);
    }

    #[test]
    fn a_reported_usage_stays_as_it_is() {
        let mut usage = Usage { prompt_tokens: 7, completion_tokens: 2, ..Usage::default() };
        estimate(&PromptEstimator::default(), 1000).complete(&mut usage);
        assert_eq!(usage, Usage { prompt_tokens: 7, completion_tokens: 2, ..Usage::default() });
    }

    #[test]
    fn an_estimated_usage_gets_the_tokens_of_its_prompt() {
        let mut usage = Usage { completion_tokens: 2, is_estimated: true, ..Usage::default() };
        estimate(&PromptEstimator::default(), 40).complete(&mut usage);
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (10, 2));
    }
}
