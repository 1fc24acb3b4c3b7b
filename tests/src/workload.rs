//! A workload as `envFrom: secretRef` configures it: it knows the variables of an issued Secret and
//! a model's name, and nothing else of Paddock.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::testbed::Part;

const CURL: &str = r#"exec curl --silent --show-error --fail-with-body --no-buffer "$OLLAMA_HOST/api/chat" \
  --header "Authorization: Bearer $OLLAMA_API_KEY" --header "Content-Type: application/json" \
  --data "{\"model\": \"$MODEL\", \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}], \"options\": {\"num_predict\": 16}}"
"#;

const OLLAMA_SDK: &str = r#"
import os, ollama
messages = [{"role": "user", "content": "Say hello."}]
parts = 0
for part in ollama.chat(model=os.environ["MODEL"], messages=messages, stream=True, options={"num_predict": 16}):
    print(part.message.content, end="", flush=True)
    parts += 1
assert parts > 1 and part.done, (parts, part)
print()
"#;

const OPENAI_SDK: &str = r#"
import os, openai
messages = [{"role": "user", "content": "Say hello."}]
parts = 0
for part in openai.OpenAI().chat.completions.create(model=os.environ["MODEL"], messages=messages, stream=True, max_tokens=16):
    print(part.choices[0].delta.content or "", end="", flush=True)
    parts += 1
assert parts > 1 and part.choices[0].finish_reason, (parts, part)
print()
"#;

/// The variables of a Secret, and the model to chat with.
pub struct Workload {
    environment: BTreeMap<String, String>,
    model: String,
}

impl Workload {
    /// Reads a Secret as `kubectl get --output=json` prints it.
    pub fn new(secret: &str, model: &str) -> Result<Self> {
        let secret: Value = serde_json::from_str(secret)?;
        let data = secret["data"].as_object().context("the Secret has no data")?;
        let decode = |(name, value): (&String, &Value)| {
            let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default())?;
            Ok((name.clone(), String::from_utf8(bytes)?))
        };
        Ok(Self { environment: data.iter().map(decode).collect::<Result<_>>()?, model: model.to_owned() })
    }

    /// A streamed chat by curl in Ollama's dialect. Its output is the lines of the answer.
    #[must_use]
    pub fn curl(&self) -> Command {
        self.command("sh", CURL)
    }

    /// A streamed chat by the ollama SDK. Its output is the text of the answer.
    ///
    /// Errors: the testbed has no Python.
    pub fn ollama_sdk(&self) -> Result<Command> {
        Ok(self.command(&Part::Python.locate()?.to_string_lossy(), OLLAMA_SDK))
    }

    /// A streamed chat by the openai SDK. Its output is the text of the answer.
    ///
    /// Errors: the testbed has no Python.
    pub fn openai_sdk(&self) -> Result<Command> {
        Ok(self.command(&Part::Python.locate()?.to_string_lossy(), OPENAI_SDK))
    }

    fn command(&self, interpreter: &str, script: &str) -> Command {
        let mut command = Command::new(interpreter);
        command.args(["-c", script]).env_clear().envs(&self.environment).env("MODEL", &self.model);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}
