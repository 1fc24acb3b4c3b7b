//! Properties that hold for every input. Each function panics if its input breaks one.
//!
//! The fuzz targets in `ollama/fuzz` look for such inputs. The tests try the targets' corpora, and
//! random changes of them.

mod bodies;
mod names;
mod patterns;
mod responses;

pub use bodies::bodies_are_scanned_as_serde_json_parses_them;
pub use names::every_form_of_a_name_parses_to_that_name;
pub use patterns::patterns_match_as_a_naive_matcher_does;
pub use responses::chunking_does_not_change_a_response;

#[cfg(test)]
mod tests;
