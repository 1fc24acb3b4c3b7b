package main

import (
	"os"
	"path/filepath"
	"testing"
)

// sourceOf writes files, by path, and returns them as the source of an Ollama.
func sourceOf(t *testing.T, files map[string]string) *source {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return newSource(root)
}
