//! The keys that Ollama 0.32 reads in each kind of request (`api/types.go`, `openai/openai.go`): the ones that no other
//! spelling may stand for.

/// The keys that Ollama acts on in a request of one kind.
#[derive(Debug)]
pub struct KnownKeys {
    /// At the top level.
    pub top: &'static [&'static str],
    /// In objects at the top level: the object's key, and the keys in it.
    pub nested: &'static [(&'static str, &'static [&'static str])],
}

/// The sampling options, and after them others.
macro_rules! sampling {
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
            // Older ones, which clients still send and Ollama 0.32 passes over.
            "mirostat",
            "mirostat_eta",
            "mirostat_tau",
            "penalize_newline",
            "tfs_z",
            $($other),*
        ]
    };
}

/// The options that change one answer and nothing that others share.
pub const SAMPLING: &[&str] = sampling!();

/// What `options` may hold: sampling, and what loads the model anew.
const OPTIONS: &[&str] =
    sampling!("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict");

/// The keys of `POST /api/chat`.
pub(crate) const CHAT: KnownKeys = KnownKeys {
    top: &[
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

/// The keys of `POST /api/generate`.
pub(crate) const GENERATE: KnownKeys = KnownKeys {
    top: &[
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

/// The keys of `POST /api/embed`.
pub(crate) const EMBED: KnownKeys = KnownKeys {
    top: &["model", "input", "keep_alive", "truncate", "dimensions", "options"],
    nested: &[("options", OPTIONS)],
};

/// The keys of `POST /v1/chat/completions`.
pub(crate) const OPENAI_CHAT: KnownKeys = KnownKeys {
    top: &[
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
    nested: &[("stream_options", &["include_usage"])],
};
