package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// tables is what Paddock knows about Ollama. tests/src/ollama_tables.rs prints it.
type tables struct {
	// Endpoints are the routes that Paddock serves.
	Endpoints []endpoint `json:"endpoints"`
	// Forbidden are paths that Paddock rejects with 403, with all paths below them.
	Forbidden []string `json:"forbidden"`
	// Unserved are paths that Paddock rejects with 404, with all paths below them.
	Unserved []string `json:"unserved"`
	// Metered are the fields of token counts that Paddock reads.
	Metered []string `json:"metered"`
	// Unmetered are the fields beside them that it ignores.
	Unmetered []string `json:"unmetered"`
}

// endpoint is a route that Paddock serves. Fields is nil if its request has no body.
type endpoint struct {
	Method string       `json:"method"`
	Path   string       `json:"path"`
	Fields *knownFields `json:"fields"`
}

func (e endpoint) String() string { return e.Method + " " + e.Path }

// knownFields are the fields of a request that Paddock knows.
type knownFields struct {
	TopLevel []string            `json:"top_level"`
	Nested   map[string][]string `json:"nested"`
}

func readTables(in io.Reader) (tables, error) {
	var read tables
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return tables{}, fmt.Errorf("Paddock's tables on standard input: %w", err)
	}
	if len(read.Endpoints) == 0 || len(read.Metered) == 0 {
		return tables{}, errors.New("Paddock's tables on standard input are empty")
	}
	return read, nil
}
