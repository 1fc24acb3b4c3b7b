//! The differences between the results of a client at Ollama and at Paddock.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

const IGNORED: &str = "/http/0/headers/x-paddock-ignored";
/// The content type, and what the client makes of the body.
const OWN_ERROR: &[&str] = &["/http/0/headers/content-type", "/http/0/body", "/result/message"];

/// A documented difference.
struct Known {
    /// A part of the script's name. Empty: every script.
    script: &'static str,
    /// A part of the call's name. Empty: every call.
    call: &'static str,
    /// The JSON pointers of the members of a transcript that may differ.
    members: &'static [&'static str],
}

/// All documented differences. Each must occur: a script with such a call fails without one.
const KNOWN: &[Known] = &[
    // Users do not see the prompts of a model's owner.
    Known { script: "", call: "show", members: &["/http/0/body", "/result/modelfile", "/result/template"] },
    // Paddock answers for a missing model, as for a model that the key may not use.
    Known { script: "", call: "missing model", members: OWN_ERROR },
    // Paddock says in Anthropic's format that Ollama 0.32 cannot count tokens.
    Known { script: "anthropic", call: "count of tokens", members: OWN_ERROR },
    // Paddock removes `keep_alive` and the options that make Ollama load the model anew.
    Known { script: "ollama", call: "kept in memory", members: &[IGNORED] },
    Known { script: "open_webui", call: "advanced parameters", members: &[IGNORED] },
    Known { script: "langchain", call: "", members: &[IGNORED] },
    // Its first response describes the model.
    Known { script: "langchain", call: "validated model", members: &["/http/1/headers/x-paddock-ignored"] },
    Known { script: "llamaindex", call: "", members: &[IGNORED] },
];

impl Known {
    fn is_about(&self, script: &str, call: &str) -> bool {
        script.contains(self.script) && call.contains(self.call)
    }
}

/// Asserts that a script got the same from both servers, except for documented differences.
///
/// Errors: the first undocumented difference, or a documented one that did not occur.
pub(super) fn assert_same(script: &str, direct: &[Value], through_paddock: &[Value]) -> Result<()> {
    let (calls, theirs) = (names(direct)?, names(through_paddock)?);
    ensure!(!calls.is_empty() && calls == theirs, "{script}: {calls:?} are not {theirs:?}");
    let mut occurred = BTreeSet::new();
    for ((call, direct), through_paddock) in calls.iter().zip(direct).zip(through_paddock) {
        let mut members = Vec::new();
        find_differences(direct, through_paddock, "", &mut members);
        for member in &members {
            let is_known = |known: &Known| known.is_about(script, call) && known.members.contains(&member.as_str());
            let known: Vec<usize> = (0..KNOWN.len()).filter(|&row| is_known(&KNOWN[row])).collect();
            ensure!(
                !known.is_empty(),
                "{script}: {call}: {}",
                described(member, direct, through_paddock, members.len())
            );
            occurred.extend(known);
        }
    }
    for (row, known) in KNOWN.iter().enumerate() {
        let is_expected = calls.iter().any(|call| known.is_about(script, call));
        ensure!(!is_expected || occurred.contains(&row), "{script}: {:?} do not differ any more", known.members);
    }
    Ok(())
}

/// The names of the calls.
fn names(transcripts: &[Value]) -> Result<Vec<&str>> {
    transcripts.iter().map(|transcript| transcript["call"].as_str().context("a call without a name")).collect()
}

/// Finds the JSON pointers of the members that differ. An absent member counts as null.
fn find_differences(direct: &Value, through_paddock: &Value, at: &str, found: &mut Vec<String>) {
    match (direct, through_paddock) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names {
                let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                find_differences(&of(left), &of(right), &format!("{at}/{name}"), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (place, (left, right)) in left.iter().zip(right).enumerate() {
                find_differences(left, right, &format!("{at}/{place}"), found);
            }
        }
        _ if direct == through_paddock => {}
        _ => found.push(at.to_owned()),
    }
}

/// Describes one difference, of `count` in a call.
fn described(member: &str, direct: &Value, through_paddock: &Value, count: usize) -> String {
    let of = |transcript: &Value| transcript.pointer(member).unwrap_or(&Value::Null).to_string();
    let mut text = format!("{member} differs\n  Ollama:  {}\n  Paddock: {}", of(direct), of(through_paddock));
    if count > 1 {
        let _ = write!(text, "\n  and {} more members of this call", count - 1);
    }
    text
}

fn transcript(call: &str, body: &str) -> Value {
    json!({"call": call, "result": [1], "http": [{"headers": {}, "body": body}]})
}

#[test]
fn equal_transcripts_pass() {
    let calls = [transcript("chat", "a")];
    assert!(assert_same("openai.mjs", &calls, &calls).is_ok());
}

#[test]
fn the_first_difference_is_named_with_both_values() {
    let direct = [transcript("list", "a"), transcript("chat", "b")];
    let through_paddock = [transcript("list", "a"), transcript("chat", "c")];
    let error = assert_same("openai.mjs", &direct, &through_paddock).expect_err("a difference").to_string();
    for part in ["openai.mjs: chat: /http/0/body", "\"b\"", "\"c\""] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_documented_difference_must_occur() {
    let (direct, through_paddock) = ([transcript("show", "a")], [transcript("show", "b")]);
    assert!(assert_same("ollama.mjs", &direct, &through_paddock).is_ok());
    assert!(assert_same("ollama.mjs", &direct, &direct).is_err());
}

#[test]
fn a_missing_call_or_frame_is_a_difference() {
    let all = [transcript("list", "a"), transcript("chat", "b")];
    assert!(assert_same("openai.mjs", &all, &all[..1]).is_err());
    let mut shorter = all.clone();
    shorter[1]["result"] = json!([]);
    assert!(assert_same("openai.mjs", &all, &shorter).is_err());
}
