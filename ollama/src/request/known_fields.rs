//! The fields that Ollama 0.32 to 0.34 reads in each request (`api/types.go`, `openai/*.go`,
//! `anthropic/anthropic.go`). `make drift` compares them with another release; docs/testing.md has
//! the steps.
//!
//! The scan rejects every key that Ollama would take for one of these fields but that is spelled
//! differently.

/// The fields that Ollama reads in one kind of request.
#[derive(Debug)]
pub struct KnownFields {
    /// The fields of the top-level object.
    pub top_level: &'static [&'static str],
    /// The objects in it whose fields are read too: the key of each, and its fields.
    pub nested: &'static [(&'static str, &'static [&'static str])],
}

/// The sampling options, followed by the given ones.
macro_rules! sampling_and {
    ($($other:literal),*) => {
        &[
            "num_keep",
            "seed",
            "num_predict",
            "top_k",
            "top_p",
            "min_p",
            "typical_p",
            "repeat_last_n",
            "temperature",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
            "stop",
            // Older options, which clients still send and Ollama 0.32 ignores.
            "mirostat",
            "mirostat_eta",
            "mirostat_tau",
            "penalize_newline",
            "tfs_z",
            $($other),*
        ]
    };
}

/// The options that change a single response and nothing that callers share.
pub const SAMPLING_OPTIONS: &[&str] = sampling_and!();

/// All fields of `options`: sampling, and the options that make Ollama reload the model.
const OPTIONS: &[&str] =
    sampling_and!("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict");

/// The fields of `POST /api/chat`.
pub(crate) const CHAT: KnownFields = KnownFields {
    top_level: &[
        "model",
        "messages",
        "stream",
        "format",
        "keep_alive",
        "tools",
        "options",
        "think",
        "truncate",
        "shift",
        "logprobs",
        "top_logprobs",
    ],
    nested: &[("options", OPTIONS)],
};

/// The fields of `POST /api/generate`.
pub(crate) const GENERATE: KnownFields = KnownFields {
    top_level: &[
        "model",
        "prompt",
        "suffix",
        "system",
        "template",
        "context",
        "stream",
        "raw",
        "format",
        "keep_alive",
        "images",
        "options",
        "think",
        "truncate",
        "shift",
        "logprobs",
        "top_logprobs",
    ],
    nested: &[("options", OPTIONS)],
};

/// The fields of `POST /api/embed`.
pub(crate) const EMBED: KnownFields = KnownFields {
    top_level: &["model", "input", "keep_alive", "truncate", "dimensions", "options"],
    nested: &[("options", OPTIONS)],
};

/// The fields of `POST /api/embeddings`.
pub(crate) const EMBEDDINGS: KnownFields =
    KnownFields { top_level: &["model", "prompt", "keep_alive", "options"], nested: &[("options", OPTIONS)] };

/// The fields of `POST /api/show`.
pub(crate) const SHOW: KnownFields =
    KnownFields { top_level: &["model", "system", "template", "verbose", "options", "name"], nested: &[] };

/// The fields of `POST /api/pull`.
pub(crate) const PULL: KnownFields =
    KnownFields { top_level: &["model", "insecure", "username", "password", "stream", "name"], nested: &[] };

/// The fields of `DELETE /api/delete`.
pub(crate) const DELETE: KnownFields = KnownFields { top_level: &["model", "name"], nested: &[] };

/// The fields of `POST /v1/completions`.
pub(crate) const OPENAI_COMPLETION: KnownFields = KnownFields {
    top_level: &[
        "model",
        "prompt",
        "frequency_penalty",
        "max_tokens",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "suffix",
        "logprobs",
    ],
    nested: STREAM_OPTIONS,
};

/// The fields of `POST /v1/embeddings`.
pub(crate) const OPENAI_EMBED: KnownFields =
    KnownFields { top_level: &["model", "input", "dimensions", "encoding_format"], nested: &[] };

/// The fields of `POST /v1/responses` and `POST /v1/responses/compact`.
pub(crate) const RESPONSES: KnownFields = KnownFields {
    top_level: &[
        "model",
        "background",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "reasoning",
        "temperature",
        "text",
        "top_p",
        "truncation",
        "tools",
        "stream",
        // Since 0.34.
        "think",
    ],
    nested: &[],
};

/// The fields of `POST /v1/messages`.
pub(crate) const MESSAGES: KnownFields = KnownFields {
    top_level: &[
        "model",
        "max_tokens",
        "messages",
        "system",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "tools",
        "tool_choice",
        "thinking",
        "metadata",
        "output_config",
    ],
    nested: &[],
};

/// The fields of `POST /v1/messages/count_tokens`.
pub(crate) const COUNT_TOKENS: KnownFields =
    KnownFields { top_level: &["model", "messages", "system", "tools", "thinking"], nested: &[] };

/// The fields of `stream_options` in OpenAI's API.
const STREAM_OPTIONS: &[(&str, &[&str])] = &[("stream_options", &["include_usage"])];

/// The fields of `POST /v1/chat/completions`.
pub(crate) const OPENAI_CHAT: KnownFields = KnownFields {
    top_level: &[
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "seed",
        "stop",
        "temperature",
        "frequency_penalty",
        "presence_penalty",
        "top_p",
        "response_format",
        "tools",
        "reasoning",
        "reasoning_effort",
        "logprobs",
        "top_logprobs",
    ],
    nested: STREAM_OPTIONS,
};
