// drift: compares a release of Ollama with Paddock's tables. `make drift` runs it.
module paddock.tests/drift

go 1.24
