package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ollamaModule is the path of Ollama's Go module.
const ollamaModule = "github.com/ollama/ollama"

// download downloads a version of Ollama into Go's module cache. It returns the folder of the
// source, and the version that `latest` stands for.
func download(version string) (folder, resolved string, err error) {
	workdir, err := os.MkdirTemp("", "drift-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(workdir)
	if err := os.WriteFile(filepath.Join(workdir, "go.mod"), []byte("module drift\n"), 0o600); err != nil {
		return "", "", err
	}

	var stdout, stderr bytes.Buffer
	command := exec.Command("go", "mod", "download", "-json", ollamaModule+"@"+version)
	command.Dir = workdir
	command.Env = append(os.Environ(), "GOWORK=off")
	command.Stdout, command.Stderr = &stdout, &stderr
	failure := command.Run()

	// The command reports most failures in its JSON.
	var module struct{ Version, Dir, Error string }
	if err := json.Unmarshal(stdout.Bytes(), &module); err == nil && module.Error != "" {
		return "", "", fmt.Errorf("cannot download Ollama %s: %s", version, module.Error)
	}
	if failure != nil || module.Dir == "" {
		return "", "", fmt.Errorf("cannot download Ollama %s: %v: %s", version, failure, bytes.TrimSpace(stderr.Bytes()))
	}
	return module.Dir, module.Version, nil
}
