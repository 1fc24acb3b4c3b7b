package main

import (
	"slices"
	"testing"
)

const apiTypes = `package api

import (
	"time"

	"github.com/ollama/ollama/types/model"
)

type Request struct {
	Model string ` + "`json:\"model\"`" + `
	Keep  *Duration ` + "`json:\"keep_alive,omitempty\"`" + `
	A, B  int
	Inner Inner ` + "`json:\",omitempty\"`" + `
	Skipped int ` + "`json:\"-\"`" + `
	Dash    int ` + "`json:\"-,\"`" + `
	hidden  int ` + "`json:\"hidden\"`" + `
	*Runner
	Tools ` + "`json:\"tools\"`" + `
	model.Shared
	Wait time.Duration ` + "`json:\"wait\"`" + `
}

type Inner struct {
	Depth int ` + "`json:\"depth\"`" + `
	Again *Inner ` + "`json:\"again\"`" + `
	List []struct {
		Leaf int ` + "`json:\"leaf\"`" + `
	} ` + "`json:\"list\"`" + `
}

type Runner struct {
	NumCtx int ` + "`json:\"num_ctx\"`" + `
}

type Tools []string

func (t *Tools) UnmarshalJSON(data []byte) error { return nil }

func (r *Runner) UnmarshalJSON(data []byte) error { return nil }
`

func apiSource(t *testing.T) *source {
	return sourceOf(t, map[string]string{
		"api/types.go":          apiTypes,
		"types/model/shared.go": "package model\n\ntype Shared struct{ Name string `json:\"name\"` }\n",
	})
}

func names(fields []field) []string {
	var names []string
	for _, field := range fields {
		names = append(names, field.name)
	}
	return names
}

func TestFieldsHaveTheNamesOfEncodingJSON(t *testing.T) {
	fields, err := apiSource(t).fields(structName{"api", "Request"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"model", "keep_alive", "A", "B", "Inner", "-", "num_ctx", "tools", "name", "wait"}
	if got := names(fields); !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	if fields[0].at != "api/types.go:10" {
		t.Errorf("the first field is at %s", fields[0].at)
	}
}

func TestFieldsBelowIncludeThoseOfContainedStructs(t *testing.T) {
	fields, err := apiSource(t).fieldsBelow(structName{"api", "Inner"})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(fields); !slices.Equal(got, []string{"depth", "again", "list", "leaf"}) {
		t.Errorf("%q", got)
	}
}

func TestTypeThatIsNoStructIsMissing(t *testing.T) {
	for _, name := range []string{"Tools", "Absent"} {
		if _, err := apiSource(t).fields(structName{"api", name}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDecodersAreFound(t *testing.T) {
	for name, want := range map[string]bool{"Runner": true, "Request": false} {
		if got := apiSource(t).hasDecoder(structName{"api", name}); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
