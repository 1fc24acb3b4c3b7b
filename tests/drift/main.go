// Command drift compares the source of a release of Ollama with Paddock's tables: routes, fields of
// requests, and token counts of answers.
//
// It reads the tables from standard input, as `paddock-tests ollama-tables` prints them. It exits
// with 1 if Ollama has anything that Paddock does not know, and with 2 if it cannot compare.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// errUnknown means that the comparison found something that Paddock does not know.
var errUnknown = errors.New("Ollama has something that Paddock does not know; docs/testing.md says what to do with each finding")

func main() {
	err := run(os.Args[1:], os.Stdin, os.Stdout)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUnknown):
		fmt.Fprintln(os.Stderr, "drift:", err)
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "drift:", err)
		os.Exit(2)
	}
}

func run(arguments []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("drift", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Usage: paddock-tests ollama-tables | drift [-source FOLDER] VERSION")
		flags.PrintDefaults()
	}
	folder := flags.String("source", "", "read Ollama's source from this folder instead of downloading it")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("give one version, such as v0.34.0 or latest")
	}
	tables, err := readTables(in)
	if err != nil {
		return err
	}
	root, version := *folder, flags.Arg(0)
	if root == "" {
		if root, version, err = download(version); err != nil {
			return err
		}
	}
	comparison, err := compare(newSource(root), tables)
	if err != nil {
		return fmt.Errorf("Ollama %s: %w", version, err)
	}
	if err := comparison.print(out, version); err != nil {
		return err
	}
	if comparison.hasUnknown() {
		return errUnknown
	}
	return nil
}
