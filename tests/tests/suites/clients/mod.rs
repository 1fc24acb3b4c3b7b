//! The clients that users bring: each makes the same calls at Ollama and at Paddock, and must get
//! the same results, byte for byte. The scripts are in `tests/clients`.

mod differences;
mod script;

use std::time::Duration;

use anyhow::{Result, ensure};
use paddock_store::clock::{Clock as _, SystemClock};
use paddock_tests::{
    database::{Database, Engine},
    eventually::eventually,
    ollama::{CHAT_MODEL, Ollama},
    paddock::Paddock,
    story::{soak_or, story},
};
use rstest::rstest;

use differences::assert_same;
use script::{Runtime, Script};

/// The chat model with a template that has tools.
const TOOL_MODEL: &str = "smollm2-tools:135m";
/// The chat model with a template that has thoughts.
const THINKING_MODEL: &str = "smollm2-thinking:135m";

const TOOL_TEMPLATE: &str = r#"{{- if .Tools }}<|im_start|>system
Answer with one call, as {"name": "f", "parameters": {}}, of: {{ .Tools }}<|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"#;

const THINKING_TEMPLATE: &str = "{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ if .Think }}<think>{{ end }}";

#[rstest]
#[case::ollama_python("ollama_python.py", Runtime::Python)]
#[case::openai_python("openai_python.py", Runtime::Python)]
#[case::anthropic_python("anthropic_python.py", Runtime::Python)]
#[case::langchain("langchain_client.py", Runtime::Python)]
#[case::open_webui("open_webui.py", Runtime::Python)]
#[case::ollama_js("ollama.mjs", Runtime::Node)]
#[case::openai_js("openai.mjs", Runtime::Node)]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_same_from_paddock_as_from_ollama(#[case] file: &'static str, #[case] runtime: Runtime) {
    story(compare(file, runtime)).await;
}

/// Only in `make soak`, which installs LlamaIndex.
#[tokio::test(flavor = "multi_thread")]
async fn llama_index_gets_the_same_from_paddock_as_from_ollama() {
    story(async { if soak_or(true, false) { compare("llamaindex.py", Runtime::LlamaIndex).await } else { Ok(()) } })
        .await;
}

/// Runs a script at Ollama and at Paddock, and asserts that both got the same.
async fn compare(file: &'static str, runtime: Runtime) -> Result<()> {
    let script = Script::prepare(file, runtime)?;
    // Requests of other tests would change the cached prompts, and with them the last digits of
    // probabilities.
    let ollama = Ollama::with_models().await?;
    next_second().await?;
    ollama.create_with_template(TOOL_MODEL, CHAT_MODEL, TOOL_TEMPLATE).await?;
    next_second().await?;
    ollama.create_with_template(THINKING_MODEL, CHAT_MODEL, THINKING_TEMPLATE).await?;
    let database = Database::new(Engine::Sqlite).await?;
    let (paddock, admin) = Paddock::api(database.url(), ollama.url()).await?;
    let user = admin.create_workload().await?;

    let direct = script.run(ollama.url(), "unused").await?;
    ollama.unload_models().await?;
    let through_paddock = script.run(paddock.url(), user.key()).await?;
    assert_same(file, &direct, &through_paddock)
}

/// Waits until the second of the clock changes. Ollama lists the models of one second in any order.
async fn next_second() -> Result<()> {
    let second = || SystemClock.now().seconds();
    let first = second();
    eventually("the next second", Duration::from_secs(5), async || {
        ensure!(second() > first, "still {first}");
        Ok(())
    })
    .await
}
