//! What Paddock must reach and wants to reach, and whether a run did.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::markdown::table;

/// A limit of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {}", short(*limit)),
            Self::AtLeast(limit) => write!(f, ">= {}", short(*limit)),
        }
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A figure beside what it must be and what it should be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    measure: &'static str,
    unit: &'static str,
    figure: f64,
    must: Bound,
    goal: Bound,
    verdict: &'static str,
}

impl Target {
    pub(crate) fn new(measure: &'static str, unit: &'static str, figure: f64, must: Bound, goal: Bound) -> Self {
        let verdict = match (must.is_met(figure), goal.is_met(figure)) {
            (_, true) => "goal met",
            (true, false) => "met",
            (false, false) => "missed",
        };
        Self { measure, unit, figure, must, goal, verdict }
    }
}

/// The targets as a table in Markdown.
pub(crate) fn markdown(targets: &[Target]) -> String {
    let rows = targets.iter().map(|target| {
        let figures =
            [short(target.figure), target.must.to_string(), target.goal.to_string(), target.verdict.to_owned()];
        (format!("{}, {}", target.measure, target.unit), figures.to_vec())
    });
    format!("## Targets\n\n{}", table("measure", &["figure", "must", "goal", "verdict"], rows))
}

/// A figure with as many digits as matter.
fn short(figure: f64) -> String {
    let decimals = if figure.abs() >= 100.0 || figure.fract() == 0.0 { 0 } else { 2 };
    format!("{figure:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::{Bound, Target};

    #[test]
    fn a_verdict_compares_with_both_bounds() {
        let verdict = |figure| Target::new("", "", figure, Bound::AtMost(2.0), Bound::AtMost(1.0)).verdict;
        assert_eq!([0.5, 1.5, 2.5].map(verdict), ["goal met", "met", "missed"]);
        let verdict = |figure| Target::new("", "", figure, Bound::AtLeast(1.0), Bound::AtLeast(2.0)).verdict;
        assert_eq!([0.5, 1.5, 2.5].map(verdict), ["missed", "met", "goal met"]);
    }
}
