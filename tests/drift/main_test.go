package main

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

// paddockTables knows everything that ollamaFiles has.
const paddockTables = `{
	"endpoints": [
		{"method": "GET", "path": "/v1/models/{name}", "fields": null},
		{"method": "POST", "path": "/api/chat", "fields": {"top_level": ["model", "options"], "nested": {"options": ["seed"]}}}
	],
	"forbidden": ["/api/push"],
	"unserved": ["/api/user"],
	"metered": ["eval_count", "input_tokens"],
	"unmetered": ["total_duration"]
}`

func ollamaFiles() map[string]string {
	return map[string]string{
		"server/routes.go": `package server

func register(r *gin.Engine) {
	r.HEAD("/v1/models/:model", h)
	r.GET("/v1/models/:model", h)
	r.POST("/api/chat", h)
	r.POST("/api/push", h)
	r.DELETE("/api/user/keys/:key", h)
}
`,
		"api/types.go": `package api

type ChatRequest struct {
	Model   string         ` + "`json:\"model\"`" + `
	Options map[string]any ` + "`json:\"options\"`" + `
	Debug   bool           ` + "`json:\"_debug\"`" + `
}

type Options struct {
	Seed int ` + "`json:\"seed\"`" + `
}

type Metrics struct {
	EvalCount     int ` + "`json:\"eval_count\"`" + `
	TotalDuration int ` + "`json:\"total_duration\"`" + `
}

type EmbedResponse struct {
	Model string ` + "`json:\"model\"`" + `
}
`,
		"openai/openai.go": `package openai

type Usage struct{}

type EmbeddingUsage struct{}

type ResponsesUsage struct{}
`,
		"anthropic/anthropic.go": `package anthropic

type Usage struct {
	InputTokens int ` + "`json:\"input_tokens\"`" + `
}

type DeltaUsage struct{}
`,
	}
}

// report compares Paddock's tables with Ollama after an edit. `edit` is empty, or a file, its old
// text and its new text.
func report(t *testing.T, tables string, edit ...string) (string, error) {
	t.Helper()
	files := maps.Clone(ollamaFiles())
	if len(edit) == 3 {
		if !strings.Contains(files[edit[0]], edit[1]) {
			t.Fatalf("%s does not contain %q", edit[0], edit[1])
		}
		files[edit[0]] = strings.Replace(files[edit[0]], edit[1], edit[2], 1)
	}
	var out strings.Builder
	err := run([]string{"-source", sourceOf(t, files).root, "v1"}, strings.NewReader(tables), &out)
	return out.String(), err
}

// hasRow returns whether a row of a report consists of these cells.
func hasRow(report string, cells ...string) bool {
	for line := range strings.Lines(report) {
		if strings.Join(strings.Fields(line), " ") == strings.Join(cells, " ") {
			return true
		}
	}
	return false
}

func TestKnownReleaseHasNoFindingThatNeedsADecision(t *testing.T) {
	text, err := report(t, paddockTables)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, row := range [][]string{
		{"served", "route", "HEAD /v1/models/{model}", "server/routes.go:4"},
		{"served", "route", "POST /api/chat", "server/routes.go:6"},
		{"refused 403", "route", "POST /api/push", "server/routes.go:7"},
		{"refused 404", "route", "DELETE /api/user/keys/{key}", "server/routes.go:8"},
		{"refused 400", "field", "_debug", "api/types.go:6", "POST /api/chat"},
	} {
		if !hasRow(text, row...) {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
}

func TestUnknownPartsOfOllamaFailWithTheirPlace(t *testing.T) {
	for name, test := range map[string]struct{ edit, row []string }{
		"route": {
			[]string{"server/routes.go", "r.POST(\"/api/push\"", "r.POST(\"/api/pushes\""},
			[]string{"UNKNOWN", "route", "POST /api/pushes", "server/routes.go:7"},
		},
		"method of a served path": {
			[]string{"server/routes.go", "r.POST(\"/api/push\"", "r.PUT(\"/api/chat\""},
			[]string{"UNKNOWN", "route", "PUT /api/chat", "server/routes.go:7"},
		},
		"field": {
			[]string{"api/types.go", "Debug   bool           `json:\"_debug\"`", "Budget int `json:\"budget\"`"},
			[]string{"UNKNOWN", "field", "budget", "api/types.go:6", "POST /api/chat"},
		},
		"option": {
			[]string{"api/types.go", "Seed int", "Gpu int `json:\"gpu\"`\nSeed int"},
			[]string{"UNKNOWN", "field", "options.gpu", "api/types.go:10", "POST /api/chat"},
		},
		"count": {
			[]string{"anthropic/anthropic.go", "\"input_tokens\"", "\"thinking_tokens\""},
			[]string{"UNKNOWN", "count", "thinking_tokens", "anthropic/anthropic.go:4", "anthropic.Usage"},
		},
		"struct of a request": {
			[]string{"api/types.go", "ChatRequest", "TalkRequest"},
			[]string{"UNREADABLE", "request", "struct api.ChatRequest", "POST /api/chat"},
		},
		"struct of counts": {
			[]string{"api/types.go", "Metrics", "Numbers"},
			[]string{"UNREADABLE", "count", "struct api.Metrics"},
		},
		"decoder of a request": {
			[]string{"api/types.go", "type Options", "func (c *ChatRequest) UnmarshalJSON(data []byte) error { return nil }\n\ntype Options"},
			[]string{"UNREADABLE", "request", "api.ChatRequest.UnmarshalJSON", "POST /api/chat"},
		},
		"registration": {
			[]string{"server/routes.go", "r.POST(\"/api/push\"", "r.POST(path"},
			[]string{"UNREADABLE", "route", "a registration of routes", "server/routes.go:7"},
		},
	} {
		text, err := report(t, paddockTables, test.edit...)
		if !errors.Is(err, errUnknown) || !hasRow(text, test.row...) {
			t.Errorf("%s: %v, and no row %q in\n%s", name, err, test.row, text)
		}
	}
}

func TestPartsThatOllamaHasNoMoreDoNotFail(t *testing.T) {
	for name, test := range map[string]struct {
		edit []string
		rows [][]string
	}{
		"route": {
			[]string{"server/routes.go", "r.POST(\"/api/chat\", h)", ""},
			[][]string{{"gone", "route", "POST /api/chat"}},
		},
		"refused path": {
			[]string{"server/routes.go", "r.POST(\"/api/push\", h)", ""},
			[][]string{{"gone", "route", "/api/push (refused)"}},
		},
		"fields": {
			[]string{"api/types.go", "Seed int `json:\"seed\"`", ""},
			[][]string{{"gone", "field", "options.seed", "POST /api/chat"}},
		},
		"counts": {
			[]string{"api/types.go", "EvalCount     int `json:\"eval_count\"`", ""},
			[][]string{{"gone", "count", "eval_count"}},
		},
	} {
		text, err := report(t, paddockTables, test.edit...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, row := range test.rows {
			if !hasRow(text, row...) {
				t.Errorf("%s: no row %q in\n%s", name, row, text)
			}
		}
	}
}

func TestEndpointsWithoutAStructFail(t *testing.T) {
	text, err := report(t, strings.Replace(paddockTables, "\"/api/chat\"", "\"/api/new\"", 1))
	row := []string{"UNREADABLE", "request", "POST /api/new (not in tests/drift/structs.go)"}
	if !errors.Is(err, errUnknown) || !hasRow(text, row...) {
		t.Errorf("%v, and no row %q in\n%s", err, row, text)
	}
}

func TestMalformedInputIsAnErrorOfItsOwn(t *testing.T) {
	for _, tables := range []string{"", "{}", `{"endpoint": []}`} {
		if _, err := report(t, tables); err == nil || errors.Is(err, errUnknown) {
			t.Errorf("%q: %v", tables, err)
		}
	}
	for _, arguments := range [][]string{{}, {"v1", "v2"}, {"-source", t.TempDir(), "v1"}} {
		err := run(arguments, strings.NewReader(paddockTables), &strings.Builder{})
		if err == nil || errors.Is(err, errUnknown) {
			t.Errorf("%q: %v", arguments, err)
		}
	}
}
