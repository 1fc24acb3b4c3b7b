package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// order is the order of the report. Findings that need a decision stand at its end.
var order = []string{
	servedStatus, forbiddenStatus, unservedStatus, reservedStatus, goneStatus, unreadableStatus, unknownStatus,
}

// print writes the comparison as a table.
func (c *comparison) print(out io.Writer, version string) error {
	sorted := slices.Clone(c.findings)
	slices.SortStableFunc(sorted, func(a, b finding) int {
		return slices.Index(order, a.status) - slices.Index(order, b.status)
	})
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STATUS\tKIND\tWHAT\tIN OLLAMA'S SOURCE\tREQUEST OR ANSWER")
	undecided := 0
	for _, found := range sorted {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", found.status, found.kind, found.what, found.at, strings.Join(found.in, ", "))
		if found.needsDecision() {
			undecided++
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(out, strings.TrimRight(line, " \n"))
	}
	_, err := fmt.Fprintf(out, "\nOllama %s: %d fields of requests and %d of token counts are known; %d findings need a decision.\n",
		version, c.known["field"], c.known["count"], undecided)
	return err
}
