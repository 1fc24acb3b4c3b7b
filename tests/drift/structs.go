package main

// requests are the structs into which Ollama decodes the bodies of requests, by path.
var requests = map[string]structName{
	"/api/chat":                 {"api", "ChatRequest"},
	"/api/delete":               {"api", "DeleteRequest"},
	"/api/embed":                {"api", "EmbedRequest"},
	"/api/embeddings":           {"api", "EmbeddingRequest"},
	"/api/generate":             {"api", "GenerateRequest"},
	"/api/pull":                 {"api", "PullRequest"},
	"/api/show":                 {"api", "ShowRequest"},
	"/v1/chat/completions":      {"openai", "ChatCompletionRequest"},
	"/v1/completions":           {"openai", "CompletionRequest"},
	"/v1/embeddings":            {"openai", "EmbedRequest"},
	"/v1/messages":              {"anthropic", "MessagesRequest"},
	"/v1/messages/count_tokens": {"anthropic", "CountTokensRequest"},
	"/v1/responses":             {"openai", "ResponsesRequest"},
	// Ollama forwards the body to /v1/responses.
	"/v1/responses/compact": {"openai", "ResponsesRequest"},
}

// nestedRequests are the structs of objects in requests, by key. Ollama declares `options` as a map,
// and decodes it into this struct later.
var nestedRequests = map[string]structName{
	"options":        {"api", "Options"},
	"stream_options": {"openai", "StreamOptions"},
}

// answer is a struct with the token counts of an answer.
type answer struct {
	structName
	// content are its fields that are no counts.
	content []string
}

var answers = []answer{
	{structName{"api", "Metrics"}, nil},
	{structName{"api", "EmbedResponse"}, []string{"model", "embeddings"}},
	{structName{"openai", "Usage"}, nil},
	{structName{"openai", "EmbeddingUsage"}, nil},
	{structName{"openai", "ResponsesUsage"}, nil},
	{structName{"anthropic", "Usage"}, nil},
	{structName{"anthropic", "DeltaUsage"}, nil},
}
